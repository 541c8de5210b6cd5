"""Somebody else's shards under a right manifest: odd values, other types, other columns."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.corpora import record, write_corpus
from support.fuzz.kinds import cards, manifests
from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable, odd_text

from meadow.atomic import sha256_file
from meadow.corpus.manifest import Shard
from meadow.corpus.shards import write_parquet
from meadow.schema import COLUMNS, arrow_schema

TYPES = (
    *("string", "large_string", "int64", "float64", "bool", "binary", "list", "null", "dictionary"),
)


def prepare(folder: Path) -> None:
    """As for cards."""
    cards.prepare(folder)


def make(index: int) -> bytes:
    """Rows, and what is wrong with the columns, as JSON."""
    from meadow.schema import to_rows

    chance = random.Random(f"corpora {index}")
    rows: list[dict[str, Any]] = list(
        to_rows(record("medquad", n, f"answer {n}") for n in range(3))
    )
    for row in rows:
        for name in chance.sample(COLUMNS, chance.randint(0, 5)):
            if name == "authors":
                row[name] = chance.choice(
                    (None, [], [None], [{"name": None, "url": None, "role": None}])
                )
            elif name == "meta":
                row[name] = chance.choice(
                    (
                        None,
                        "",
                        "[]",
                        "1",
                        "null",
                        '{"options": 1}',
                        "{" * 3000,
                        '{"repairs": 1}',
                        '{"repairs": ["scrubbed_x", 1]}',
                        '{"flags": [1]}',
                        '{"options": {"A": 1}}',
                    )
                )
            else:
                row[name] = chance.choice((None, "", encodable(odd_text(chance)), text_of(chance)))
            if isinstance(row[name], str):
                row[name] = encodable(row[name])
    change = {"rows": rows, "drop": [], "add": [], "types": {}}
    if index % 3 == 0:
        change["drop"] = chance.sample(COLUMNS, 1)
    if index % 3 == 1:
        change["types"] = {chance.choice(COLUMNS): chance.choice(TYPES)}
    if index % 5 == 0:
        change["add"] = [chance.choice(("messages", "extra", "id"))]
    return json.dumps(change).encode()


def check(data: bytes, folder: Path) -> str:
    """As for manifests, with a manifest that is right."""
    change = json.loads(data)
    place = folder / "corpus"
    manifest = write_corpus(place, [record("medquad", n, f"answer {n}") for n in range(3)]).manifest
    entry = manifest.sources["medquad"]
    (shard,) = entry.shards
    path = place / shard.path
    write_parquet(_table(change), path)
    hashed = Shard(shard.path, 3, path.stat().st_size, sha256_file(path))
    replace(manifest, sources={"medquad": replace(entry, shards=(hashed,))}).write(place)
    return manifests.check_folder((place / "MANIFEST.json").read_bytes(), place)


def _table(change: dict[str, Any]) -> Any:
    import pyarrow as pa

    table = pa.Table.from_pylist(change["rows"], arrow_schema())
    for name, kind in change["types"].items():
        position = table.schema.names.index(name)
        table = table.set_column(position, name, _column(kind, table.num_rows))
    for name in change["add"]:
        if name not in table.schema.names:
            table = table.append_column(name, pa.array(["x"] * table.num_rows))
    return table.drop_columns([name for name in change["drop"] if name in table.schema.names])


def _column(kind: str, rows: int) -> Any:
    import pyarrow as pa

    return {
        "string": lambda: pa.array([""] * rows),
        "large_string": lambda: pa.array(["x"] * rows, pa.large_string()),
        "int64": lambda: pa.array(range(rows)),
        "float64": lambda: pa.array([float("nan")] * rows),
        "bool": lambda: pa.array([True] * rows),
        "binary": lambda: pa.array([b"\xff"] * rows),
        "list": lambda: pa.array([["x"]] * rows),
        "null": lambda: pa.nulls(rows),
        "dictionary": lambda: pa.array(["x"] * rows).dictionary_encode(),
    }[kind]()
