"""Drain a source as a build does, and hold every row to what a shard and a quarantine need."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from meadow.schema import Fact, Raw, Record, Reject, arrow_schema, to_rows
from meadow.source import Input, Options, Origin
from meadow.sources import SOURCES
from meadow.text.clean import clean_record


def drain(origin: Origin, inputs: Sequence[Input], options: Options | None = None) -> Counter[str]:
    """Read and convert everything; what comes out must be writable, cleaned twice as once.

    Returns:
        How many rows, rejects and facts there were.
    """
    options = options or Options()
    found: Counter[str] = Counter()
    records: list[Record] = []
    for raw in origin.read(inputs, options):
        if isinstance(raw, Record):
            cleaned = clean_once(raw, options)
            found["row" if isinstance(cleaned, Record) else "reject"] += 1
            if isinstance(cleaned, Record):
                records.append(cleaned)
            continue
        if isinstance(raw, Reject | Fact):
            check_item(raw)
            found["reject" if isinstance(raw, Reject) else "fact"] += 1
            continue
        str(raw["_where"]).encode()
        for item in origin.convert(raw, options):
            if isinstance(item, Record):
                cleaned = clean_once(item, options)
                found["row" if isinstance(cleaned, Record) else "reject"] += 1
                if isinstance(cleaned, Record):
                    records.append(cleaned)
            else:
                check_item(item)
                found["reject" if isinstance(item, Reject) else "fact"] += 1
    check_records(records)
    return found


def clean_once(record: Record, options: Options) -> Record | Reject:
    """The record cleaned; cleaning it again must change nothing."""
    traits = SOURCES[record.source]
    cleaned = clean_record(record, traits, options.style)
    if isinstance(cleaned, Reject):
        check_item(cleaned)
        return cleaned
    again = clean_record(cleaned, traits, options.style)
    assert again == cleaned, f"cleaning twice differs: {_difference(cleaned, again)}"
    return cleaned


def _difference(one: Record, other: Record | Reject) -> str:
    if isinstance(other, Reject):
        return f"refused at the second time: {other}; was {one.output[:300]!r}"
    names = ("instruction", "input", "output", "meta")
    return "; ".join(
        f"{name} {getattr(one, name)[:400]!r} became {getattr(other, name)[:400]!r}"
        for name in names
        if getattr(one, name) != getattr(other, name)
    )


def check_item(item: Reject | Fact) -> None:
    """A reject is a line of the quarantine; a fact is counted under encodable names."""
    if isinstance(item, Reject):
        line = item.to_json()
        line.encode("utf-8")
        assert len(line.splitlines()) >= 1
        assert set(json.loads(line)) == {"where", "reason", "detail", "excerpt"}
    else:
        f"{item.group} {item.value}".encode()
        assert item.count >= 0


def check_records(records: Iterable[Record]) -> None:
    """Records fit the schema of a shard, and what is written is what was there."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = list(to_rows(records))
    if not rows:
        return
    table = pa.Table.from_pylist(rows, arrow_schema())
    table.validate(full=True)
    assert table.to_pylist() == rows
    for row in rows:
        assert row["output"].strip(), "an empty output"
        assert isinstance(json.loads(row["meta"]), dict)


def collected(rows: Iterable[Raw | Reject | Fact]) -> tuple[list[Raw], list[Reject], list[Fact]]:
    """Raw rows, rejects and facts of a reader."""
    kept: list[Raw] = []
    rejects: list[Reject] = []
    facts: list[Fact] = []
    for row in rows:
        if isinstance(row, Reject):
            check_item(row)
            rejects.append(row)
        elif isinstance(row, Fact):
            check_item(row)
            facts.append(row)
        else:
            kept.append(row)
    return kept, rejects, facts


def write_input(folder: Path, name: str, data: bytes, **values: Any) -> Input:
    """A raw file of that name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Input(path, name, **values)
