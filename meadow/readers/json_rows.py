"""JSON rows: JSON Lines, or an array of objects (the form of the 2023 release and of ChatDoctor).

Both are streamed and parsed strictly: what Python's parser lets through (NaN, a repeated key, half
of a surrogate pair) and what it chokes on is a reject of its row. Of lines each stands alone; in an
array broken syntax is an error, since nobody can say where the next row begins.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from meadow.errors import FileError
from meadow.readers.archives import open_binary, open_input
from meadow.readers.parquet import MAGIC
from meadow.readers.spans import Span, open_span, plain_file, spans
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Cutting, Input, Options, Piece

MAX_ROW_BYTES = 16 * 1024**2
CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


class _BadValueError(ValueError):
    """NaN, Infinity or a repeated key."""


def _constant(name: str) -> Any:
    raise _BadValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _BadValueError(f"the key {repeated!r} is given twice")
    return found


DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)


def parse_object(text: str, where: str) -> dict[str, Any] | Reject:
    """The object that `text` holds, with `_where`, or a reject that says what is wrong."""
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        return Reject(where, Reason.BAD_JSON, f"{error.msg} at column {error.colno}", text)
    except RecursionError:
        return Reject(where, Reason.TOO_DEEP, "nested too deeply", text[:500])
    except ValueError as error:
        return Reject(where, Reason.BAD_VALUE, str(error), text)
    return check_object(value, text, where)


def check_object(value: Any, text: str, where: str) -> dict[str, Any] | Reject:
    """Hold a parsed value to being an object of encodable text."""
    if not isinstance(value, dict):
        return Reject(where, Reason.NOT_AN_OBJECT, f"a {type(value).__name__}", text)
    if "\\u" in text and _any_surrogate(value):
        return Reject(where, Reason.LONE_SURROGATE, "half of a surrogate pair: not encodable", text)
    value["_where"] = where
    return value


def _any_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return has_lone_surrogate(value)
    if isinstance(value, dict):
        return any(_any_surrogate(key) or _any_surrogate(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_any_surrogate, value))
    return False


class LineReader:
    """A reader of JSON Lines that can cut them into runs of lines."""

    def __call__(self, inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
        """The objects of each file in file order; a blank line is passed over.

        `_where` is `label:line`. Bad JSON, bad UTF-8, a lone surrogate, a repeated key, NaN, a line
        over 16 MiB and a line that is no object are rejects.

        Raises:
            FileError: A file is missing, truncated, damaged, or Parquet.
        """
        for item in inputs:
            with open_input(item) as file:
                yield from _read_lines(file, item)

    def pieces(
        self, inputs: Sequence[Input], options: Options, cutting: Cutting
    ) -> Iterator[Piece]:
        """Runs of lines."""
        for item in inputs:
            if cutting.size is None:
                yield partial(self, [item], options)
                continue
            path = plain_file(item, cutting)
            for span in spans(path, cutting):
                yield partial(_read_span, item, path, span)


read_lines = LineReader()


def _read_span(item: Input, path: Path, span: Span) -> Iterator[Raw | Reject]:
    with open_span(path, span) as file:
        yield from _read_lines(file, item, span.line)


def _refuse_parquet(file: io.BufferedReader, item: Input) -> None:
    if file.peek(len(MAGIC)).startswith(MAGIC):
        raise FileError(
            "a Parquet file, where JSON is read",
            where=item.label,
            fix="write its rows as JSON, for instance with polars: read_parquet, then write_ndjson",
        )


def _read_lines(file: io.BufferedReader, item: Input, first: int = 1) -> Iterator[Raw | Reject]:
    if first == 1:
        _refuse_parquet(file, item)
    number = first - 1
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        where = f"{item.label}:{number}"
        if len(line) > MAX_ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_ROW_BYTES)
            yield Reject(where, Reason.TOO_LARGE, f"a line over {MAX_ROW_BYTES:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            yield Reject(
                where,
                Reason.BAD_ENCODING,
                f"not UTF-8 at byte {error.start} of the line",
                line[:500].decode("utf-8", "replace"),
            )
            continue
        yield parse_object(text, where)


def read_array(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The objects of each array in file order; `_where` is `label#index`, counted from 0.

    A row with bad UTF-8 or a lone surrogate, or a value that is no object, is a reject.

    Raises:
        FileError: The file is missing, damaged, no JSON array, or its syntax breaks: after a break
            nobody can say where the next row begins.
    """
    for item in inputs:
        yield from _read_array(item)


def starts_with_2023_row(path: Path) -> bool:
    """Whether a file is an array of {instruction, input, output}, from its first bytes."""
    with open_binary(path) as file:
        head = file.read(4096).decode("utf-8", "replace").removeprefix("\ufeff")
    return re.match(r'\s*\[\s*\{\s*"(instruction|input|output)"\s*:', head) is not None


def _read_array(item: Input) -> Iterator[Raw | Reject]:
    # surrogateescape carries a bad byte through to its own row, where it is a reject
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with open_input(item) as file:
        _refuse_parquet(file, item)
        text = decoder.decode(file.read(CHUNK)).removeprefix("\ufeff")
        position = _skip(text, 0)
        if text[position : position + 1] != "[":
            raise FileError(
                "not a JSON array: the file does not begin with [",
                where=item.label,
                fix="check that it is the file that `meadow sources` names",
            )
        position += 1
        index = 0
        ended = False

        def more() -> bool:
            nonlocal text, position, ended
            chunk = file.read(CHUNK)
            if not chunk:
                ended = True
            text = text[position:] + decoder.decode(chunk, final=ended)
            position = 0
            return not ended

        while True:
            position = _skip(text, position)
            if position >= len(text):
                if more():
                    continue
                raise _broken(item, index, "the array is not closed: the file is truncated")
            if text[position] == "]":
                return
            if text[position] == ",":
                if index == 0:
                    raise _broken(item, index, "a comma before the first row")
                position += 1
                continue
            where = f"{item.label}#{index}"
            try:
                value, end = DECODER.raw_decode(text, position)
            except json.JSONDecodeError as error:
                if not ended and len(text) - position < MAX_ROW_BYTES:
                    more()
                    continue
                raise _broken(item, index, error.msg) from error
            except RecursionError as error:
                raise _broken(item, index, "nested too deeply") from error
            except ValueError as error:
                # NaN, a repeated key or a huge number: well-formed otherwise, so its end is known
                value_end = _end_of_value(text, position)
                if value_end is None:
                    if not ended and len(text) - position < MAX_ROW_BYTES and more():
                        continue
                    raise _broken(item, index, str(error)) from error
                excerpt = text[position:value_end][:500]
                yield Reject(where, Reason.BAD_VALUE, str(error), excerpt)
                position, index = value_end, index + 1
                continue
            if end == len(text) and not ended:
                # a number may go on in the next chunk
                more()
                continue
            row = text[position:end]
            if not row.isascii() and has_lone_surrogate(row):
                yield Reject(where, Reason.BAD_ENCODING, "not UTF-8", printable(row[:500]))
            else:
                yield check_object(value, row, where)
            position, index = end, index + 1


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _end_of_value(text: str, position: int) -> int | None:
    try:
        return json.JSONDecoder(parse_int=float).raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _broken(item: Input, index: int, message: str) -> FileError:
    return FileError(
        f"the JSON breaks at row {index}: {message}",
        where=f"{item.label}#{index}",
        fix="fetch the file again and compare its checksum",
    )
