"""A JSON array of objects, streamed: the form of the 2023 release and of ChatDoctor."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from meadow.errors import FileError
from meadow.readers.archives import open_binary, open_input
from meadow.readers.json_rows import DECODER, MAX_ROW_BYTES, check_object
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Input, Options

CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The objects of each array in file order; `_where` is `label#index`, counted from 0.

    A row with bad UTF-8 or a lone surrogate, or a value that is no object, is a reject.

    Raises:
        FileError: The file is missing, damaged, no JSON array, or its syntax breaks: after a break
            nobody can say where the next row begins.
    """
    for item in inputs:
        yield from _read_file(item)


def starts_with_2023_row(path: Path) -> bool:
    """Whether a file is an array of {instruction, input, output}, from its first bytes."""
    with open_binary(path) as file:
        head = file.read(4096).decode("utf-8", "replace").removeprefix("\ufeff")
    return re.match(r'\s*\[\s*\{\s*"(instruction|input|output)"\s*:', head) is not None


def _read_file(item: Input) -> Iterator[Raw | Reject]:
    # surrogateescape carries a bad byte through to its own row, where it is a reject
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with open_input(item) as file:
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
