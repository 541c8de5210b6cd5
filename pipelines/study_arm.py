"""One arm of a study: a model is trained and scored, in a process of its own.

Its folder holds what it made; arm.json is written last, under a key of everything that it depends
on.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meadow.atomic import write_json
from meadow.config import parse_settings
from meadow.exams.items import load_exam

ARM = "arm.json"


@dataclass(frozen=True, slots=True)
class ArmTask:
    """One arm as a worker gets it: picklable and complete.

    Args:
        name: The arm's name.
        folder: Where it writes.
        recipe: The training recipe as JSON; None scores the base as it is.
        mix: The mix's folder; None where nothing is trained.
        base: The base's folder or repository; "" is the recipe's own.
        exams: Exam -> (mode, its items' files).
        allow_contaminated: Train although exam items are in the mix.
        threads: Of torch.
        key: Identifies all of it.
    """

    name: str
    folder: Path
    recipe: dict[str, Any] | None
    mix: Path | None
    base: str
    exams: dict[str, tuple[str, tuple[Path, ...]]]
    allow_contaminated: bool
    threads: int
    key: str


def finished(task: ArmTask) -> dict[str, Any] | None:
    """The result of an arm that was finished under the same key."""
    try:
        document = json.loads((task.folder / ARM).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("key") == task.key else None


def run_arm(task: ArmTask) -> dict[str, Any]:
    """Train and score one arm, or continue to; arm.json is written last."""
    import torch

    from evaluation.local import load
    from evaluation.modes import parse_modes
    from evaluation.run import Settings, run
    from training.config import Recipe
    from training.loop import train

    torch.set_num_threads(task.threads)
    marker = task.folder / "started.json"
    if not marker.is_file() or json.loads(marker.read_text()).get("key") != task.key:
        shutil.rmtree(task.folder, ignore_errors=True)
        write_json(marker, {"key": task.key})
    model, adapter = task.base, None
    trained: dict[str, Any] = {}
    if task.recipe is not None and task.mix is not None:
        recipe = parse_settings(task.recipe, Recipe, where=f"arm {task.name}")
        result = train(
            recipe,
            task.mix,
            task.folder / "run",
            base=task.base or None,
            allow_contaminated=task.allow_contaminated,
        )
        losses = [line["loss"] for line in result.metrics if "loss" in line]
        trained = {
            "method": recipe.method,
            "steps": len(losses),
            "first_loss": losses[0],
            "last_loss": losses[-1],
        }
        if recipe.method == "full":
            model = str(result.model)
        else:
            adapter = str(result.model)
            model = task.base or recipe.base.repository
    backend = load(model, adapter=adapter)
    document: dict[str, Any] = {"name": task.name, "key": task.key, "trained": trained, "exams": {}}
    document["parameters"] = sum(p.numel() for p in backend.model.parameters())
    for exam, (mode, paths) in task.exams.items():
        folder = task.folder / "eval" / exam
        summary = run(
            backend,
            load_exam(exam, list(paths)),
            Settings(exam=exam, modes=parse_modes(mode)),
            folder,
            contamination=task.mix,
        )
        cell = summary["modes"][mode]
        document["exams"][exam] = {
            "mode": mode,
            "accuracy": cell["accuracy"],
            "ci95": cell["ci95"],
            "n": cell["n"],
            "chance": summary["chance"],
        }
    document["machine"] = json.loads((folder / "run.json").read_text())["machine"]
    write_json(task.folder / ARM, document)
    return document
