"""run_manifest.json: written before the first step, completed after the last.

With plan.parquet beside it, a checkpoint can be traced to the rows it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meadow.atomic import write_json
from meadow.errors import FileError, UsageError
from meadow.models import checkpoints
from meadow.models.loading import RUN_MANIFEST, read_run_manifest
from meadow.models.machine import ProcessGroup, hardware, versions

LIBRARIES = ("medical-meadow", "torch", "transformers", "peft", "bitsandbytes", "accelerate",
             "tokenizers", "safetensors", "numpy")  # fmt: skip
IDENTITY = ("recipe_hash", "plan_hash", "micro_batches_per_step", "base")
"""What must be equal for a run to be continued in the same folder."""


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def surroundings(group: ProcessGroup) -> dict[str, Any]:
    """What the weights depend on beside recipe and rows: libraries and machine."""
    return {"versions": versions(LIBRARIES), "hardware": {"processes": group.size, **hardware()}}


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the manifest, atomically."""
    write_json(folder / RUN_MANIFEST, dict(document))


def check_same_run(
    folder: Path, wanted: Mapping[str, Any], plan_hash: Callable[[int], str]
) -> dict[str, Any] | None:
    """The manifest of an earlier start of the same run in this folder; None where there is none.

    A run that is longer than the one there, and otherwise the same, extends it: what comes back is
    not finished then, and `extended` lists the steps that it had before.

    `plan_hash` gives the hash of this start's plan up to a step.

    Raises:
        UsageError: The folder holds another run.
    """
    found = read_run_manifest(folder)
    if found is None:
        return None
    differs = [key for key in IDENTITY if found.get(key) != wanted[key]]
    steps = int(found.get("steps", 0))
    longer = wanted["steps"] > steps and plan_hash(steps) == found.get("plan_hash")
    if differs and longer and all(found.get(key) == wanted[key] for key in ("trained", "base")):
        found["status"] = "extended"
        found["extended"] = [*found.get("extended", []), steps]
        return found
    if differs:
        raise UsageError(
            f"the output folder holds another run: {', '.join(differs)} differ",
            where=str(folder),
            fix="choose another --out, or remove the folder",
        )
    return found


def find_model(folder: Path) -> Path:
    """The model of a run folder, or the folder itself where it is a model or checkpoint.

    Raises:
        FileError: There is no finished model in it.
    """
    for candidate in (folder / "model", folder):
        if read_run_manifest(candidate) and (
            (candidate / "adapter_config.json").is_file() or (candidate / "config.json").is_file()
        ):
            checkpoints.refuse_torn(candidate, marked=True)
            return candidate
    raise FileError(
        "no trained model here",
        where=str(folder),
        fix="name the --out folder of a finished `meadow train`, or one of its checkpoints",
    )
