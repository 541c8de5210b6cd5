"""JSON Lines: each line alone, so that one bad line is one reject and the rest is kept."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from typing import Any

from meadow.readers.archives import open_input
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate
from meadow.source import Input, Options

# Parse one JSON object strictly: what Python's parser lets through, and what it chokes on.


MAX_ROW_BYTES = 16 * 1024**2


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
