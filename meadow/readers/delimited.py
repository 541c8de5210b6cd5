"""CSV, strictly: text stays text ("NA", "13"), nothing is skipped, an open quote is an error."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.archives import open_input
from meadow.readers.spans import Span, open_span, plain_file, spans
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import CutError, Cutting, Input, Options, Piece

MAX_FIELD = 16 * 1024**2
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class CsvReader:
    """A reader of CSV files that can cut them into runs of rows.

    Args:
        required: The columns that the converter needs.
        columns: The names of the columns where no file has a header; None: each has one.
        delimiter: What stands between two fields.
        encoding: One in which the bytes below 128 are ASCII.
    """

    required: Sequence[str]
    columns: Sequence[str] | None = None
    delimiter: str = ","
    encoding: str = "utf-8"

    def __call__(self, inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        """The rows of all files."""
        for item in inputs:
            yield from read_file(item, self.columns, self.required, self.delimiter, self.encoding)

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
            text = _text(file, self.encoding)
            return next(csv.reader(text, delimiter=self.delimiter, strict=True), None)
        return None


def with_header(required: Sequence[str]) -> CsvReader:
    """A reader of CSV files with a header; further columns are kept, missing ones are an error.

    Args:
        required: The columns that the converter needs.
    """
    return CsvReader(required)


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
    with open_input(item) as file:
        yield from _rows(file, item.label, columns, required, delimiter, encoding)


def _read_span(item: Input, path: Path, span: Span, reader: CsvReader) -> Iterator[Raw | Reject]:
    """The rows of a range; one that ends inside a row was cut at a wrong place."""
    how = reader.columns, reader.required, reader.delimiter, reader.encoding
    with open_span(path, span) as file:
        try:
            yield from _rows(file, item.label, *how, span)
        except FileError as error:
            raise CutError(str(error)) from error


def _text(binary: io.BufferedReader, encoding: str, *, marked: bool = True) -> io.TextIOWrapper:
    """The text of a file, which may begin with a byte order mark."""
    name = "utf-8-sig" if marked and encoding == "utf-8" else encoding
    # surrogateescape carries a bad byte through to its own row, where it is a reject
    text = io.TextIOWrapper(binary, name, "surrogateescape", newline="")
    text._CHUNK_SIZE = CHUNK  # type: ignore[attr-defined]  # 8 KiB cost as much as the parsing
    return text


def _rows(
    binary: io.BufferedReader,
    label: str,
    columns: Sequence[str] | None,
    required: Sequence[str],
    delimiter: str = ",",
    encoding: str = "utf-8",
    span: Span | None = None,
) -> Iterator[Raw | Reject]:
    # the standard library's own limit of 128 KiB is below the longest answers
    csv.field_size_limit(MAX_FIELD)
    names = list(columns) if columns is not None else None
    first = line = span.line if span else 1
    text = _text(binary, encoding, marked=not (span and span.start))
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for row in rows:
            where, line = f"{label}:{line}", rows.line_num + first
            if names is None:
                names = row
                _check_header(names, required, label)
                continue
            if not row:
                continue
            if len(row) > len(names) and not any(row[len(names) :]):
                del row[len(names) :]  # a spreadsheet's empty columns behind the last one
            if len(row) != len(names):
                detail = f"{len(row)} fields where {len(names)} were due"
                whole = printable(delimiter.join(row)[:500])
                yield Reject(where, Reason.BAD_CSV, detail, whole)
            elif has_lone_surrogate("".join(row)):
                whole = printable(delimiter.join(row)[:500])
                yield Reject(where, Reason.BAD_ENCODING, f"not {encoding.upper()}", whole)
            else:
                raw: dict[str, str] = dict(zip(names, row, strict=True))
                raw["_where"] = where
                yield raw
    except csv.Error as error:
        raise FileError(
            f"the CSV breaks in the row that begins at line {line}: {error}",
            where=f"{label}:{line}",
            fix="a quote is open or stray there; repair the line or fetch the file again",
        ) from error
    if names is None:
        raise FileError("the CSV file is empty", where=label, fix="fetch it again")


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
