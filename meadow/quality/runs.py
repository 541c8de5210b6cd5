"""What a training run left, read as data: which rows were due in which of its optimizer steps.

A run's folder has a manifest and a plan (plan.parquet: a line for every example and epoch). Its
checkpoints and its model lie in it with copies of the manifest; an export lies anywhere, and is
tied to its run by the hash of recipe, plan and base. Nothing here loads a model.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.corpus.shards import read_parquet
from meadow.errors import FileError
from meadow.models.checkpoints import MARK
from meadow.models.loading import PLAN, RUN_MANIFEST, read_run_manifest, trained_as


@dataclass(frozen=True, slots=True)
class Trained:
    """A folder with a run manifest.

    Args:
        folder: Where it lies.
        kind: run, checkpoint (also the model that a run ends with) or export.
        document: The run manifest.
        run: The hash of recipe, plan and base: of all folders of a run the same; "" where the
            manifest does not say what they are.
        manifest: The SHA-256 of the manifest.
        until: The last step that its weights saw; None for a run's own folder, or where nobody
            says.
        around: Another folder of the same run, where its plan is to be looked for, too.
    """

    folder: Path
    kind: str
    document: Mapping[str, Any]
    run: str
    manifest: str
    until: int | None
    around: Path | None = None

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """Read the run manifest of a folder.

        Raises:
            FileError: There is none, or it cannot be read.
        """
        document = read_run_manifest(folder)
        if document is None:
            raise FileError(
                "no training run here, nor a model of one",
                where=str(folder),
                fix=f"name the --out folder of `meadow train`: it has {RUN_MANIFEST} and {PLAN}",
            )
        there = "checkpoint" if (folder / MARK).is_file() else "run"
        kind = "export" if document.get("export") else there
        known = trained_as(str(folder)) or {}
        until = None if kind == "run" else _last_step(folder, document)
        return cls(folder, kind, document, known.get("run", ""), known.get("manifest", ""), until)

    @property
    def status(self) -> str:
        """started, finished, ..., as the run manifest says."""
        return str(self.document.get("status", ""))

    def shards(self) -> dict[str, str]:
        """Path -> SHA-256 of the shards of its mix, as they were when the run began.

        Raises:
            FileError: The manifest does not say.
        """
        mix = self.document.get("mix")
        listed = mix.get("shards", []) if isinstance(mix, Mapping) else []
        try:
            return {str(shard["path"]): str(shard["sha256"]) for shard in listed}
        except (KeyError, TypeError) as error:
            raise FileError(
                f"{RUN_MANIFEST} does not say which shards its mix had", where=str(self.folder)
            ) from error

    def plan(self) -> Path | None:
        """The plan in its own folder, or in the run's around it; None where there is none."""
        beside = self.folder.parent if self.kind == "checkpoint" else None
        places = (at / PLAN for at in (self.folder, beside, self.around) if at is not None)
        return next((path for path in places if path.is_file()), None)

    def steps(self, ids: Collection[str], plan: Path) -> dict[str, list[int]]:
        """The steps that saw each of the records, ascending; those that none saw are left out.

        Args:
            ids: Record ids.
            plan: The run's plan.

        Raises:
            FileError: It cannot be read, or it is the plan of another run.
        """
        import polars as pl

        try:
            due = pl.DataFrame(read_parquet(plan, ["record_id", "step"]))
            last = int(due["step"].max() or 0)  # type: ignore[arg-type]
            planned = int(self.document.get("steps", last))
            # a checkpoint may be of a time before the run was extended
            if planned > last or (planned < last and self.kind == "run"):
                raise ValueError(f"it ends with step {last}, and the run has {planned}")
            due = due.filter(pl.col("record_id").is_in(list(ids)))
        except (FileError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise FileError(
                f"the run's plan cannot be used: {getattr(error, 'what', error)}",
                where=str(plan),
                fix="take it from a copy of the run's folder; only `meadow train` writes one",
            ) from error
        found: dict[str, list[int]] = {}
        for record_id, step in due.select("record_id", "step").iter_rows():
            if self.until is None or step <= self.until:
                found.setdefault(record_id, []).append(step)
        return {record_id: sorted(steps) for record_id, steps in found.items()}


def _last_step(folder: Path, document: Mapping[str, Any]) -> int | None:
    """The step of a checkpoint's weights: that of the best where a run keeps it, else the last."""
    try:
        told = document.get("result", {}).get("model_of_step")
        if told is None:
            told = json.loads((folder / MARK).read_text(encoding="utf-8"))["step"]
        return int(told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
