"""What a manifest must look like before anything in it is used.

A corpus can come from anybody: what is read from its MANIFEST.json goes into cards, reports, paths
and sums, so its types are held to the documented ones once, here. What is not documented is left
alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any, str], None]
_NAME = re.compile(r"[\w.-]{1,200}")
_LARGEST = 2**63


class ShapeError(TypeError):
    """A value that is not of the documented type; the message says where."""


def _fail(where: str, due: str) -> None:
    raise ShapeError(f"{where} is no {due}")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > 1_000_000:
        _fail(where, "text")
    elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        _fail(where, "text that can be written")


def _name(value: Any, where: str) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or not value.strip("."):
        _fail(where, "plain name")


def _count(value: Any, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        _fail(where, "count")


def _truth(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _fail(where, "truth value")


def _share(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        _fail(where, "share")


def _object(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        _fail(where, "object")


def _maybe(shape: Shape) -> Shape:
    def check(value: Any, where: str) -> None:
        if value is not None:
            shape(value, where)

    return check


def _list(shape: Shape, size: int | None = None) -> Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or (size is not None and len(value) != size):
            _fail(where, "list" if size is None else f"list of {size}")
        for index, item in enumerate(value):
            shape(item, f"{where}[{index}]")

    return check


def _map(shape: Shape, key: Shape = _text) -> Shape:
    def check(value: Any, where: str) -> None:
        _object(value, where)
        for name, item in value.items():
            key(name, f"a key of {where}")
            shape(item, f"{where}.{name[:80]}")

    return check


def _fields(needed: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with these fields, and any others."""

    def check(value: Any, where: str) -> None:
        _object(value, where)
        for name, shape in needed.items():
            if name not in value:
                _fail(f"{where}.{name}", "part of it")
            shape(value[name], f"{where}.{name}")
        for name, shape in (optional or {}).items():
            if name in value:
                shape(value[name], f"{where}.{name}")

    return check


def _texts(value: Any, where: str) -> None:
    (_text if isinstance(value, str) else _list(_text))(value, where)


def _rephrase_job(value: Any, where: str) -> None:
    _fields(
        {"model": _text, "prompt": _text, "prompt_sha256": _text, "items": _count,
         "rewritten": _count},
        {"review": _maybe(_fields({"error_rate": _share, "bad": _count, "marked": _count,
                                   "interval_95": _list(_share, 2)}))},
    )(value, where)  # fmt: skip
    for name, count in value.items():
        if name.startswith("kept_"):
            _count(count, f"{where}.{name}")


_COUNTS = _map(_count)
_FILE = _fields({"path": _text, "bytes": _count, "sha256": _text})
_SHARD = _fields({"path": _text, "rows": _count, "bytes": _count, "sha256": _text})
_EXAM = _fields(
    {},
    {
        "items": _count,
        "rows": _COUNTS,
        "items_found": _COUNTS,
        "remaining": _maybe(_fields({}, {"rows": _COUNTS})),
        "verdict": _maybe(_text),
    },
)
_PART = _fields(
    {"part": _text},
    {
        "found": _maybe(_count),
        "expected": _maybe(_count),
        "met": _maybe(_truth),
        "note": _maybe(_text),
    },
)
_DETAILS = _fields(
    {},
    {
        "contact": _text,
        "warnings": _texts,
        "arithmetic": _texts,
        "parts": _list(_PART),
        "contamination": _map(_EXAM),
        "rephrase": _map(_rephrase_job),
        "sidecars": _map(_map(_list(_SHARD), _name), _name),
    },
)
_SETTINGS = _fields(
    {},
    {"recipe": _maybe(_text), "sources": _list(_text), "options": _fields({}, {"style": _text})},
)
_ENTRY = _fields(
    {
        "rows_in": _count,
        "rows_out": _count,
        "rejected": _COUNTS,
        "repaired": _COUNTS,
        "inputs": _list(_FILE),
        "shards": _list(_SHARD),
        "quarantine": _FILE,
        "key": _text,
        "origin": _text,
        "facts": _map(_COUNTS),
    }
)
_STEP = _fields({"name": _text, "rows_in": _count, "rows_out": _count, "rejected": _COUNTS})
_MANIFEST = _fields(
    {
        "schema_version": _count,
        "stage": _text,
        "config_hash": _text,
        "settings": _SETTINGS,
        "sources": _map(_ENTRY, _name),
        "details": _DETAILS,
        "files": _list(_FILE),
        "versions": _map(_text),
    },
    {"configs": _map(_map(_list(_SHARD), _name), _name), "steps": _list(_STEP)},
)


def check_shape(document: Any) -> None:
    """Hold the document of a manifest to the documented types.

    Raises:
        ShapeError: A part is missing or of another type.
    """
    _MANIFEST(document, "MANIFEST")
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError) as error:
        raise ShapeError("a part of it cannot be written") from error
