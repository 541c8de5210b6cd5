"""Mixes and bases for the tests of training: small, real, made on the spot."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from meadow.atomic import sha256_file
from meadow.corpus.manifest import Manifest, Shard
from meadow.corpus.shards import write_parquet
from meadow.schema import Task, arrow_schema, make_record, to_rows
from training.config import Recipe, load_recipe

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
    configs: dict[str, tuple[Shard, ...]] = {}
    for split, part in (("train", rows), ("validation", held_out)):
        if not part:
            continue
        records = [
            make_record(
                source=source,
                source_id=f"{split}-{number}",
                instruction=instruction,
                input=text,
                output=output,
                task=Task.OPEN_QA,
                license="cc0-1.0",
            )
            for number, (source, instruction, text, output) in enumerate(part)
        ]
        name = f"data/small/{split}-00000-of-00001.parquet"
        table = pa.Table.from_pylist(list(to_rows(records)), schema=arrow_schema())
        (folder / "data/small").mkdir(parents=True, exist_ok=True)
        write_parquet(table, folder / name)
        path = folder / name
        configs[split] = (Shard(name, len(part), path.stat().st_size, sha256_file(path)),)
    if matches is not None:
        write_parquet(pa.Table.from_pylist(matches), folder / "contamination.parquet")
    Manifest(
        stage="mix",
        config_hash="test",
        settings={},
        configs={"small": configs},
        details=details if details is not None else {},
    ).write(folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models are quickest on one thread, and the machine is shared."""
    torch.set_num_threads(1)


@pytest.fixture
def make_mix(tmp_path: Path) -> Callable[..., Path]:
    """Write a mix of synthetic rows: make_mix(rows=96, held_out=12, ...) -> folder."""

    def make(rows: int = 96, held_out: int = 12, name: str = "mix", **options: Any) -> Path:
        return write_mix(
            tmp_path / name,
            synthetic_rows(rows),
            synthetic_rows(held_out, seed=1) if held_out else (),
            **options,
        )

    return make


@pytest.fixture
def mix(make_mix: Callable[..., Path]) -> Path:
    """A mix of 96 rows of two sources, and 12 held-out rows."""
    return make_mix()


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """The tiny recipe with overrides: tiny("method=lora", ...)."""

    def load(*overrides: str) -> Recipe:
        return load_recipe("tiny", overrides)

    return load


@pytest.fixture
def stories(upstream: Path) -> Path:
    """The real trained LLaMA of 260,032 parameters."""
    folder = upstream / "tiny_llama" / "stories260K-hf"
    if not folder.is_dir():
        pytest.skip("tiny_llama is not among the upstream files")
    return folder
