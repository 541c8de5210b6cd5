"""Drain a source as a build does, and hold every row to what a shard and a quarantine need."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from meadow.schema import Fact, Raw, Record, Reject, arrow_schema, to_rows
from meadow.source import Input, Options, Origin
from meadow.sources import SOURCES
from meadow.text.clean import clean_record

TEXT_TOKENS = (
    *(b'"', b"'", b",", b"\n", b"\r", b"\r\n", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf", b"{"),
    *(b"}", b"[", b"]", b":", b"null", b"NaN", b"-1", b"1e999", b"\\ud800", b"\\u0000", b'""'),
    *(b"{}", b"[]", b"<script>", b"<img src=x>", b"&lt;", b"{{c1::", b"::hint}}", b"}}"),
    *(b"[sound:a.mp3]", b"#", b"#separator:tab\n", b"#html:true\n", b"#columns:a\n"),
    *(b"#guid column:9\n", b"NA", b"\xe2\x80\xa8"),
)


def drain(
    origin: Origin | None, inputs: Sequence[Input], options: Options | None = None
) -> Counter[str]:
    """Read and convert everything; what comes out must be writable, cleaned twice as once.

    Returns:
        How many rows ("row"), rejects ("reject") and facts ("fact") there were.
    """
    assert origin is not None
    options = options or Options()
    found: Counter[str] = Counter()
    records: list[Record] = []
    for raw in origin.read(inputs, options):
        whole = isinstance(raw, Record | Reject | Fact)
        if not whole:
            str(raw["_where"]).encode()
        for made in [raw] if whole else origin.convert(raw, options):
            item = clean_once(made, options) if isinstance(made, Record) else made
            if isinstance(item, Record):
                found["row"] += 1
                records.append(item)
            else:
                check_item(item)
                found["reject" if isinstance(item, Reject) else "fact"] += 1
    check_records(records)
    return found


def outcome(origin: Origin | None, inputs: Sequence[Input], options: Options | None = None) -> str:
    """What became of a source that was drained."""
    return "rejects" if drain(origin, inputs, options)["reject"] else "rows"


def clean_once(record: Record, options: Options) -> Record | Reject:
    """The record cleaned; cleaning it again must change nothing."""
    traits = SOURCES[record.source]
    cleaned = clean_record(record, traits, options.style)
    if isinstance(cleaned, Record):
        again = clean_record(cleaned, traits, options.style)
        assert again == cleaned, f"cleaning twice differs:\n{cleaned}\n{again}"
    return cleaned


def check_item(item: Reject | Fact) -> None:
    """A reject is a line of the quarantine; a fact is counted under encodable names."""
    if isinstance(item, Reject):
        line = item.to_json()
        line.encode("utf-8")
        assert set(json.loads(line)) == {"where", "reason", "detail", "excerpt"}
    else:
        f"{item.group} {item.value}".encode()
        assert item.count >= 0


def check_records(records: Iterable[Record]) -> None:
    """Records fit the schema of a shard, and what is written is what was there."""
    rows: list[dict[str, Any]] = list(to_rows(records))
    table = pa.Table.from_pylist(rows, arrow_schema())
    table.validate(full=True)
    assert table.to_pylist() == rows
    for row in rows:
        assert row["output"].strip(), "an empty output"
        assert isinstance(json.loads(row["meta"]), dict)


def collected(rows: Iterable[Raw | Reject | Fact]) -> tuple[list[Raw], list[Reject], list[Fact]]:
    """Raw rows, rejects and facts of a reader."""
    found = list(rows)
    rejects = [row for row in found if isinstance(row, Reject)]
    facts = [row for row in found if isinstance(row, Fact)]
    for item in (*rejects, *facts):
        check_item(item)
    return [row for row in found if not isinstance(row, Reject | Fact)], rejects, facts


def write_input(folder: Path, name: str, data: bytes, **values: Any) -> Input:
    """A raw file of that name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Input(path, name, **values)
