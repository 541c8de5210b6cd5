"""The examples of a source's TOML file, run: a raw row each, and what has to become of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from meadow.schema import Record, Reject, Style
from meadow.source import Options
from meadow.sources.own.form import Example, OwnSource
from meadow.sources.own.source import own_source
from meadow.text.clean import clean_record

FIELDS = (
    *("id", "instruction", "input", "output", "subset", "task", "license", "url", "source_id"),
    *("authors", "repairs", "meta"),
)
"""What an example can ask of a record."""


def example_faults(own: OwnSource) -> Iterator[str]:
    """What is not as the examples say, a line each; nothing where all are right."""
    for number, example in enumerate(own.example, 1):
        for fault in _faults(own, example):
            yield f"example {number}: {fault}"


def _faults(own: OwnSource, example: Example) -> Iterator[str]:
    source = own_source(own)
    options = Options(style=Style.MEADOW)
    assert source.upstream is not None
    (made,) = source.upstream.convert({**example.raw, "_where": "the example"}, options)
    if isinstance(made, Record):
        made = clean_record(made, source, options.style)
    if isinstance(made, Reject):
        if made.reason is not example.reject:
            yield f"is rejected: {made.reason.value}, {made.detail}"
        return
    if not isinstance(made, Record):
        return
    if example.reject is not None:
        yield f"is taken, and should be rejected: {example.reject.value}"
        return
    for name, wanted in example.row.items():
        if name not in FIELDS:
            yield f"row.{name} is no field; one of {', '.join(FIELDS)}"
        elif (found := _field(made, name, wanted)) != wanted:
            yield f"{name} is {found!r}, and should be {wanted!r}"


def _field(record: Record, name: str, wanted: Any) -> Any:
    """A field as TOML would write it; of `meta` the keys that are asked for."""
    if name == "meta":
        meta = json.loads(record.meta)
        return {key: meta.get(key) for key in wanted} if isinstance(wanted, dict) else meta
    if name == "authors":
        return [author.name for author in record.authors]
    found = getattr(record, name)
    if name == "repairs":
        return list(found)
    return "" if found is None else found
