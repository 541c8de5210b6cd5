"""Mixes for tests of training: small folders, written by the real writers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from meadow.atomic import sha256_file
from meadow.corpus.manifest import Manifest, NamedFile, Shard
from meadow.corpus.shards import write_parquet
from meadow.schema import Task, arrow_schema, make_record, to_rows

WORDS = [
    "aspirin", "lowers", "the", "risk", "of", "stroke", "in", "adults", "with", "diabetes",
    "while", "smoking", "raises", "blood", "pressure", "and", "chronic", "pain", "may", "respond",
    "to", "exercise", "sleep", "diet", "or", "surgery", "after", "trauma",
]  # fmt: skip

Rows = Sequence[tuple[str, str, str, str]]


def synthetic_rows(count: int, seed: int = 0, longest: int = 40) -> list[tuple[str, str, str, str]]:
    """(source, instruction, input, output) with lengths as uneven as real ones."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        words = draw.choices(WORDS, k=max(2, int(draw.expovariate(1 / 10)) % longest))
        answer = " ".join(sorted(set(words))[: 1 + number % 7])
        rows.append(("alpha" if number % 3 else "beta", "Sort the words.", " ".join(words), answer))
    return rows


def write_mix(
    folder: Path,
    rows: Rows,
    held_out: Rows = (),
    *,
    details: dict[str, Any] | None = None,
    matches: list[dict[str, Any]] | None = None,
) -> Path:
    """Write a mix folder as `meadow mix` does: shards, perhaps matches, the manifest last."""
    splits: dict[str, tuple[Shard, ...]] = {}
    (folder / "data/small").mkdir(parents=True)
    for split, part in (("train", rows), ("validation", held_out)):
        records = [
            make_record(
                source=source, source_id=f"{split}-{number}", instruction=instruction, input=text,
                output=output, task=Task.OPEN_QA, license="cc0-1.0",
            )
            for number, (source, instruction, text, output) in enumerate(part)
        ]  # fmt: skip
        if not records:
            continue
        name = f"data/small/{split}-00000-of-00001.parquet"
        path = folder / name
        write_parquet(pa.Table.from_pylist(list(to_rows(records)), schema=arrow_schema()), path)
        splits[split] = (
            Shard(path=name, rows=len(part), bytes=path.stat().st_size, sha256=sha256_file(path)),
        )
    files: tuple[NamedFile, ...] = ()
    if matches is not None:
        ledger = folder / "contamination.parquet"
        write_parquet(pa.Table.from_pylist(matches), ledger)
        files = (
            NamedFile(path=ledger.name, bytes=ledger.stat().st_size, sha256=sha256_file(ledger)),
        )
    Manifest(
        stage="mix", config_hash="test", settings={}, configs={"small": splits},
        details=details or {}, files=files,
    ).write(folder)  # fmt: skip
    return folder
