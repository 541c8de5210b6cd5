"""Finished runs, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.run import ITEMS, PREDICTIONS, RUN, SUMMARY
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's folder as values.

    Args:
        folder: Where it lies.
        name: The checkpoint's name, for people.
        run: run.json.
        summary: summary.json.
        rows: predictions.parquet.
        items: items.parquet, by item id.
    """

    folder: Path
    name: str
    run: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: list[dict[str, Any]]
    items: dict[str, dict[str, Any]]

    @property
    def modes(self) -> list[str]:
        """The modes of the run, in order."""
        return list(self.summary["modes"])

    @property
    def primary(self) -> str:
        """The mode of headlines: the paper's generation where it was run, else the letter."""
        return next((m for m in ("generate", "letter") if m in self.modes), self.modes[0])

    def correct(self, mode: str) -> dict[str, bool]:
        """Right or wrong by item, in the exam's own option order."""
        return {
            row["item_id"]: bool(row["correct"])
            for row in self.rows
            if row["mode"] == mode and not row["variant"]
        }


def read_run(folder: Path) -> Finished:
    """Read a run's folder.

    Raises:
        FileError: It is not a finished run.
    """
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        name = str(run["model"]["name"])
        if run["model"].get("adapter"):
            name += f" + {Path(run['model']['adapter']).name}"
        if not summary["modes"]:
            raise KeyError("modes")
    except FileNotFoundError as error:
        raise FileError(
            f"not a finished run: {Path(error.filename).name} is missing",
            where=str(folder),
            fix="run `meadow eval run` with this --out to its end",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"not a run: {type(error).__name__} {error}", where=str(folder)) from error
    rows = read_parquet(folder / PREDICTIONS).to_pylist()
    items = {row["item_id"]: row for row in read_parquet(folder / ITEMS).to_pylist()}
    return Finished(folder, name, run, summary, rows, items)


def read_runs(folders: list[Path]) -> list[Finished]:
    """Read runs and give each a name of its own."""
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    return [Finished(r.folder, _unique(r, names), r.run, r.summary, r.rows, r.items) for r in runs]


def _unique(run: Finished, names: list[str]) -> str:
    return run.name if names.count(run.name) == 1 else f"{run.name} ({run.folder.name})"
