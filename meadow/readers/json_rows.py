"""JSON Lines: each line alone, so that one bad line is one reject and the rest is kept."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

from meadow.readers.archives import open_input
from meadow.readers.json_value import MAX_ROW_BYTES, parse_object
from meadow.schema import Raw, Reason, Reject
from meadow.source import Input, Options


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The objects of each file in file order; a blank line is passed over.

    `_where` is `label:line`. Bad JSON, bad UTF-8, a lone surrogate, a repeated key, NaN, a line
    over 16 MiB and a line that is no object are rejects.

    Raises:
        FileError: A file is missing, truncated or damaged.
    """
    for item in inputs:
        yield from _read_file(item)


def _read_file(item: Input) -> Iterator[Raw | Reject]:
    with open_input(item) as file:
        number = 0
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
