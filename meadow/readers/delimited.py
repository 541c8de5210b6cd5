"""CSV, strictly: text stays text ("NA", "13"), nothing is skipped, an open quote is an error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from meadow.errors import FileError, UpstreamChangedError
from meadow.readers.archives import open_input
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Input, Options, Reader

MAX_FIELD = 16 * 1024**2
CHUNK = 256 * 1024


def with_header(required: Sequence[str]) -> Reader:
    """A reader of CSV files with a header; further columns are kept, missing ones are an error.

    Args:
        required: The columns that the converter needs.
    """

    def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        for item in inputs:
            yield from read_file(item, None, required)

    return read


def without_header(columns: Sequence[str]) -> Reader:
    """A reader of headerless CSV files: the first row is a row.

    Args:
        columns: The names of the columns, in order.
    """

    def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        for item in inputs:
            yield from read_file(item, columns, columns)

    return read


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
    csv.field_size_limit(MAX_FIELD)
    names = list(columns) if columns is not None else None
    line = 1
    with open_input(item) as binary:
        # surrogateescape carries a bad byte through to its own row, where it is a reject
        name = "utf-8-sig" if encoding == "utf-8" else encoding
        text = io.TextIOWrapper(binary, name, "surrogateescape", newline="")
        text._CHUNK_SIZE = CHUNK  # type: ignore[attr-defined]  # 8 KiB cost as much as the parsing
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                where, line = f"{item.label}:{line}", rows.line_num + 1
                if names is None:
                    names = row
                    _check_header(names, required, item.label)
                    continue
                if not row:
                    continue
                if len(row) > len(names) and not any(row[len(names) :]):
                    del row[len(names) :]  # a spreadsheet's empty columns behind the last one
                if len(row) != len(names):
                    detail = f"{len(row)} fields where {len(names)} were due"
                    whole = printable(delimiter.join(row)[:500])
                    yield Reject(where, Reason.BAD_CSV, detail, whole)
                elif not all(map(str.isascii, row)) and any(map(has_lone_surrogate, row)):
                    whole = printable(delimiter.join(row)[:500])
                    yield Reject(where, Reason.BAD_ENCODING, f"not {encoding.upper()}", whole)
                else:
                    raw: dict[str, str] = dict(zip(names, row, strict=True))
                    raw["_where"] = where
                    yield raw
        except csv.Error as error:
            raise FileError(
                f"the CSV breaks in the row that begins at line {line}: {error}",
                where=f"{item.label}:{line}",
                fix="a quote is open or stray there; repair the line or fetch the file again",
            ) from error
    if names is None:
        raise FileError("the CSV file is empty", where=item.label, fix="fetch it again")


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
