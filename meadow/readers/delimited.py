"""CSV, strictly: text stays text ("NA", "13"), nothing is skipped, an open quote is an error.

Blocks of a large file that are surely plain, each quotation mark where a field begins or ends and
each row as wide as the header, are cut into columns by their commas. Any other block goes to the
csv module, row by row; what comes out is the same.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.archives import open_input
from meadow.readers.spans import Span, open_span, plain_file, spans
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import CutError, Cutting, Input, Options, Piece

MAX_FIELD = 16 * 1024**2
BLOCK = 512 * 1024
_LEAST_BLOCK = 32 * 1024
"""A smaller block is not worth the detour."""


@dataclass(frozen=True, slots=True)
class CsvReader:
    """A reader of CSV files that can cut them into runs of rows.

    Args:
        required: The columns that the converter needs.
        columns: The names of the columns where no file has a header; None: each has one.
        delimiter: What stands between two fields.
        encoding: One in which the bytes below 128 are ASCII.
        used: The columns that rows are given with, where a file has them; None: all.
    """

    required: Sequence[str]
    columns: Sequence[str] | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    used: Sequence[str] | None = None

    def __call__(self, inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        """The rows of all files."""
        for item in inputs:
            with open_input(item) as file:
                yield from _rows(file, item.label, self)

    def pieces(
        self, inputs: Sequence[Input], options: Options, cutting: Cutting
    ) -> Iterator[Piece]:
        """Runs of rows; of a file whose header cannot be read, the file."""
        for item in inputs:
            if cutting.size is None or (names := self._names(item)) is None:
                yield partial(self, [item], options)
                continue
            path = plain_file(item, cutting)
            for span in spans(path, cutting, csv=True):
                # the header stands in the first range alone
                known = self.columns if span.start == 0 else names
                yield partial(_read_span, item, path, span, replace(self, columns=known))

    def _names(self, item: Input) -> Sequence[str] | None:
        if self.columns is not None:
            return self.columns
        # what is wrong with a header is said by whoever reads the whole file
        with contextlib.suppress(csv.Error), open_input(item) as file:
            return next(csv.reader(_Lines(file, self), delimiter=self.delimiter, strict=True), None)
        return None


def with_header(required: Sequence[str], used: Sequence[str] | None = None) -> CsvReader:
    """A reader of CSV files with a header; a missing column is an error.

    Args:
        required: The columns that the converter needs.
        used: Those that it looks at besides, where a file has them; None: all are kept.
    """
    return CsvReader(required, used=None if used is None else (*required, *used))


def read_file(
    item: Input,
    columns: Sequence[str] | None,
    required: Sequence[str],
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> Iterator[Raw | Reject]:
    """The rows of one file as {column: text}; `_where` is `label:line` of the row's first line.

    A row of another width or with bytes that are none of the encoding is a reject; empty fields
    behind the last column are none.

    Raises:
        FileError: An open quote, a stray quote or a field over 16 MiB: where the next row begins
            is then unknown, and guessing would swallow rows.
        UpstreamChangedError: A required column is missing.
    """
    return CsvReader(required, columns, delimiter, encoding)([item], Options())


def _read_span(item: Input, path: Path, span: Span, reader: CsvReader) -> Iterator[Raw | Reject]:
    """The rows of a range; one that ends inside a row was cut at a wrong place."""
    with open_span(path, span) as file:
        try:
            yield from _rows(file, item.label, reader, span)
        except FileError as error:
            raise CutError(str(error)) from error


class _Lines(Iterator[str]):
    """The lines of a file: in blocks of whole lines, and of a block one by one, as text."""

    def __init__(self, binary: io.BufferedReader, reader: CsvReader, span: Span | None = None):
        self._binary, self._encoding = binary, reader.encoding
        self._rest = binary.read(len(codecs.BOM_UTF8))
        if self._encoding == "utf-8" and not (span and span.start):
            self._rest = self._rest.removeprefix(codecs.BOM_UTF8)
        self._step = min(4096, BLOCK)
        """Bytes to read next; few at first, for who only wants the header."""
        self._lines: list[bytes] = []
        """Those of the block, where they are taken one by one; the next one last."""
        self.block = b""
        self.line = span.line if span else 1
        """The number of the next line."""

    def fill(self) -> bool:
        """Go on to the next block; False: there is none."""
        data = self._rest
        while True:
            # a line that is longer than many blocks is not looked at again with each of them
            more = self._binary.read(max(self._step, len(data)))
            self._step = BLOCK
            data += more
            # CR ends lines too, unless LF follows
            end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
            if end or not more:
                break
        self.block, self._rest = (data[:end], data[end:]) if more else (data, b"")
        return bool(self.block)

    def skip(self, size: int, lines: int) -> None:
        """Leave the block behind some of its bytes, which are so many lines."""
        self._rest = self.block[size:] + self._rest
        self.line += lines

    @property
    def at_end(self) -> bool:
        """Whether all lines of the block were taken."""
        return not self._lines

    def __next__(self) -> str:
        if not self._lines:
            if not self.block and not self.fill():
                raise StopIteration
            self._lines, self.block = self.block.splitlines(keepends=True)[::-1], b""
        self.line += 1
        # surrogateescape carries a bad byte through to its own row, where it is a reject
        return self._lines.pop().decode(self._encoding, "surrogateescape")


class _Plain(NamedTuple):
    """What a plain block holds.

    Args:
        size: Bytes of its whole rows; then a row begins that the block does not end.
        texts: Those of the columns that were asked for, row by row.
        lines: Before which of the block's lines each row begins, and how many there are.
    """

    size: int
    texts: list[str]
    lines: list[int]


def _plain(block: bytes, width: int, delimiter: str, wanted: Sequence[int]) -> _Plain | None:
    """The rows of a block that begins where a row does, where the csv module is sure to agree.

    Quotation marks are taken two by two. Where each first one stands at the beginning of a field,
    each second one at the end of one, and those that do not are two of neighbouring pairs, which
    mean one mark, the strict reader comes to the same pairs. What is between them is text, and any
    other delimiter ends a field. CR stands before LF alone, each row has the same width, and all is
    UTF-8.

    Args:
        block: UTF-8, as far as one knows.
        width: The number of columns.
        delimiter: What stands between two fields.
        wanted: The numbers of the columns to return.
    """
    if (
        not _LEAST_BLOCK <= len(block) <= MAX_FIELD
        or width < 2  # a blank line is no row
        or delimiter not in {",", ";", "\t", "|"}
    ):
        return None
    import numpy as np
    import polars as pl
    import pyarrow as pa

    bytes_, comma, quote, lf, cr = np.frombuffer(block, np.uint8), ord(delimiter), 34, 10, 13
    quotes = np.flatnonzero(bytes_ == quote)
    marks = np.flatnonzero((bytes_ == comma) | (bytes_ == lf))
    ends = marks[np.searchsorted(quotes, marks) % 2 == 0]  # an even number of marks before it
    last = np.flatnonzero(bytes_[ends] == lf)
    if not len(last) or not np.array_equal(last, np.arange(1, len(last) + 1) * width - 1):
        return None
    if not (bytes_[np.flatnonzero(bytes_[:-1] == cr) + 1] == lf).all():
        return None
    ends = ends[: last[-1] + 1]
    size = int(ends[-1]) + 1
    quotes = quotes[: np.searchsorted(quotes, size)]
    first, second = quotes[::2], quotes[1::2]
    doubled = second[:-1] + 1 == first[1:]
    before, after = bytes_[first - 1], bytes_[second + 1]
    # before the first byte numpy sees the last one
    opens = (before == comma) | (before == lf) | (first == 0)
    closes = (after == comma) | (after == lf) | (after == cr)
    if not (opens[:1].all() and closes[-1:].all()):
        return None
    if not ((opens[1:] | doubled).all() and (closes[:-1] | doubled).all()):
        return None
    starts = np.concatenate(([0], ends[:-1] + 1))
    ends[last] -= bytes_[ends[last] - 1] == cr
    quoted = bytes_[starts] == quote
    # fields and what is between them, by turns: Arrow's texts without a copy
    bounds = np.stack((starts + quoted, ends - quoted), axis=1).astype(np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(block)]
    pieces = pa.Array.from_buffers(pa.string(), bounds.size - 1, buffers)
    try:
        pieces.validate(full=True)
    except pa.ArrowInvalid:  # not UTF-8
        return None
    places = np.arange(len(last))[:, None] * width + np.array(wanted, np.int64)
    texts = pl.Series(pieces).gather(2 * places.ravel()).to_list()
    for field in dict.fromkeys(np.searchsorted(ends, second[:-1][doubled]).tolist()):
        row, column = divmod(field, width)
        if column in wanted:
            place = row * len(wanted) + wanted.index(column)
            texts[place] = texts[place].replace('""', '"')
    lines = np.searchsorted(marks[bytes_[marks] == lf], np.append(starts[::width], size))
    return _Plain(size, texts, lines.tolist())


def _rows(
    binary: io.BufferedReader, label: str, reader: CsvReader, span: Span | None = None
) -> Iterator[Raw | Reject]:
    # the standard library's own limit of 128 KiB is below the longest answers
    csv.field_size_limit(MAX_FIELD)
    delimiter, encoding = reader.delimiter, reader.encoding
    lines = _Lines(binary, reader, span)
    strict = csv.reader(lines, delimiter=delimiter, strict=True)
    names = list(reader.columns) if reader.columns is not None else None
    line = 1
    try:
        while lines.fill():
            line = lines.line  # where a row begins
            if names is not None and encoding == "utf-8":
                used = names if reader.used is None else reader.used
                kept = [at for at, name in enumerate(names) if name in used]
                if plain := _plain(lines.block, len(names), delimiter, kept):
                    keys = [*(names[at] for at in kept), "_where"]
                    places = [f"{label}:{lines.line + number}" for number in plain.lines[:-1]]
                    texts = [iter(plain.texts)] * len(kept)
                    for row_texts in zip(*texts, places, strict=True):
                        yield dict(zip(keys, row_texts, strict=True))
                    lines.skip(plain.size, plain.lines[-1])
                    continue
            for row in strict:
                where, line = f"{label}:{line}", lines.line
                if names is None:
                    names = row
                    _check_header(names, reader.required, label)
                elif row:
                    yield _checked(row, names, where, reader)
                if lines.at_end:
                    break
    except csv.Error as error:
        raise FileError(
            f"the CSV breaks in the row that begins at line {line}: {error}",
            where=f"{label}:{line}",
            fix="a quote is open or stray there; repair the line or fetch the file again",
        ) from error
    if names is None:
        raise FileError("the CSV file is empty", where=label, fix="fetch it again")


def _checked(row: list[str], names: Sequence[str], where: str, reader: CsvReader) -> Raw | Reject:
    """A row that the csv module read, with its place."""
    if len(row) > len(names) and not any(row[len(names) :]):
        del row[len(names) :]  # a spreadsheet's empty columns behind the last one
    whole = reader.delimiter.join(row)
    if len(row) != len(names):
        detail = f"{len(row)} fields where {len(names)} were due"
        return Reject(where, Reason.BAD_CSV, detail, printable(whole[:500]))
    if has_lone_surrogate(whole):
        detail = f"not {reader.encoding.upper()}"
        return Reject(where, Reason.BAD_ENCODING, detail, printable(whole[:500]))
    raw = dict(zip(names, row, strict=True))
    if reader.used is not None:
        raw = {name: raw[name] for name in reader.used if name in raw}
    raw["_where"] = where
    return raw


def _check_header(names: Sequence[str], required: Sequence[str], label: str) -> None:
    missing = [name for name in required if name not in names]
    if missing:
        raise UpstreamChangedError(
            f"needed columns are gone: {', '.join(missing)}",
            where=f"{label}:1",
            fix=f"found {', '.join(names)}; expected {', '.join(required)}",
        )
    if len(set(names)) != len(names):
        raise UpstreamChangedError("a column name stands twice", where=f"{label}:1")
