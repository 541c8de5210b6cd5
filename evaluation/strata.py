"""Strata of an exam: contamination against a training mix, step, discipline, cut or whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.stats import newcombe
from meadow.charts import wilson
from meadow.corpus.manifest import NAME as MANIFEST
from meadow.corpus.manifest import read_manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError
from meadow.exams.contamination import remaining

LEVELS = ("none", "stem", "stem+answer")
"""From clean to worst, as `contamination.parquet` of a mix has them."""

Row = Mapping[str, Any]


def read_contamination(folder: Path, exam: str) -> dict[str, str]:
    """The worst level of each item against the rows of the mix; items not named are "none".

    Args:
        folder: A mix, or a ledger of matches by itself.
        exam: The exam's name.

    Raises:
        FileError: The folder has no contamination.parquet, or the mix was held against other exams.
    """
    if (folder / MANIFEST).exists():
        held = read_manifest(folder).details.get("contamination", {})
        if exam not in held:
            raise FileError(
                f"the mix was not held against exam {exam}",
                where=str(folder),
                fix=f"it knows {', '.join(sorted(held)) or 'no exam'}; mix again with --exam",
            )
    path = folder / "contamination.parquet" if folder.is_dir() else folder
    if not path.exists():
        raise FileError(
            "no contamination.parquet: the mix was not held against any exam",
            where=str(folder),
            fix="build the mix with --exam NAME=PATH",
        )
    whole = path.parent == folder and (folder / MANIFEST).exists()
    # the ledger tells what was found; rows that the mix dropped taught nothing
    table = remaining(folder).to_arrow() if whole else read_parquet(path)
    levels: dict[str, str] = {}
    for row in table.select(["exam", "item_id", "level"]).to_pylist():
        if row["exam"] != exam:
            continue
        level = row["level"] if row["level"] in LEVELS else "none"
        old = levels.get(row["item_id"], "none")
        levels[row["item_id"]] = max(old, level, key=LEVELS.index)
    return levels


def cell(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy with its interval over rows of one mode, one per item."""
    right = sum(bool(row["correct"]) for row in rows)
    low, high = wilson(right, len(rows))
    return {
        "accuracy": right / len(rows) if rows else None,
        "ci95": [low, high],
        "n": len(rows),
        "correct": right,
    }


def by(rows: Sequence[Row], key: Callable[[Row], str | None]) -> dict[str, dict[str, Any]]:
    """A cell per stratum; rows without one are left out."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        name = key(row)
        if name is not None:
            groups[name].append(row)
    return {name: cell(groups[name]) for name in sorted(groups)}


def step_by_discipline(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """A cell per (step, discipline) where items have both: "step1 | anatomy"."""
    return by(
        rows,
        lambda row: (
            f"{row['step']} | {row['discipline']}" if row["step"] and row["discipline"] else None
        ),
    )


def contamination(rows: Sequence[Row], levels: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy per level, and the difference of each to the clean items with its interval."""
    cells = by(rows, lambda row: levels.get(row["item_id"], "none"))
    clean = cells.get("none", {"correct": 0, "n": 0})
    for level, value in cells.items():
        if level != "none" and clean["n"]:
            low, high = newcombe(value["correct"], value["n"], clean["correct"], clean["n"])
            value["difference"] = value["accuracy"] - clean["accuracy"]
            value["difference_ci95"] = [low, high]
    return {level: cells[level] for level in LEVELS if level in cells}
