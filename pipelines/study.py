"""A study, from raw files to the paper's four questions: build, mix, train, score, compare.

Everything lies below one folder, and each stage is finished or absent: the corpus and the mixes
have their manifests, an arm has arm.json, written last, under a key of everything that it depends
on. A study that is killed continues where it was, with the same result, and a finished one
recomputes nothing. The report is made of the arms' predictions alone and holds no clock.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from meadow import api
from meadow.atomic import locked, sha256_file, write_json, write_text
from meadow.build.build import build_corpus
from meadow.build.engine import run_tasks
from meadow.build.plan import plan_build
from meadow.config import parse_settings
from meadow.corpus.manifest import hash_json
from meadow.errors import FileError, UsageError
from pipelines.held_out import HeldOut, cut_items
from pipelines.study_arm import ArmTask, finished, run_arm
from pipelines.study_config import QUESTIONS, Arm, Study

Say = Callable[[str], None]


def plan_study(study: Study) -> list[dict[str, Any]]:
    """What `--dry-run` prints: each arm with its questions, steps and estimated time."""
    rows = []
    for arm in study.arms:
        recipe = _recipe(study, arm)
        steps = None
        if recipe is not None and recipe["schedule"]["max_steps"]:
            steps = recipe["schedule"]["max_steps"]
        rows.append(
            {
                "arm": arm.name,
                "questions": {name: QUESTIONS[name] for name in arm.questions},
                "base": arm.base or (recipe["base"]["repository"] if recipe else ""),
                "mix": arm.mix,
                "method": recipe["method"] if recipe else "none",
                "steps": steps,
                "epochs": recipe["schedule"]["epochs"] if recipe and not steps else None,
                "estimated_seconds": arm.seconds,
            }
        )
    return rows


def run_study(study: Study, raw: Path, out: Path, *, say: Say) -> dict[str, Any]:
    """Run what is not finished and write the report.

    Args:
        study: What to do.
        raw: The folder of raw files.
        out: The study's folder.
        say: Gets lines for the person at the terminal.

    Returns:
        The content of report.json.

    Raises:
        MeadowError: A raw file, a recipe or an arm is wrong; what was finished stays.
    """
    with locked(out):
        whole = _build(study, raw, out / "corpus", frozenset(), say)
        held = _hold_out(study, whole, out / "held_out")
        exams = _exam_files(study, raw, out / "held_out")
        mixes = {
            name: _mix(study, name, raw, out, held, exams, say) for name in sorted(study.mixes)
        }
        arms: dict[str, dict[str, Any]] = {}
        for wave in _waves(study):
            tasks = [_task(study, arm, raw, out, mixes, exams) for arm in wave]
            todo = [task for task in tasks if finished(task) is None]
            for task in tasks:
                if task not in todo:
                    say(f"arm {task.name}: finished before")
            for task, done in zip(todo, run_tasks(run_arm, todo, study.concurrency), strict=True):
                say(f"arm {task.name}: {_scores(done)}")
            for task in tasks:
                found = finished(task)
                if found is None:
                    raise FileError(f"arm {task.name} left no result", where=str(task.folder))
                arms[task.name] = found
        from pipelines.study_report import study_report, write_study_report

        document = study_report(study, out, arms)
        write_study_report(document, out)
        return document


def _scores(arm: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{exam} {cell['accuracy']:.3f} of {cell['n']}" for exam, cell in arm["exams"].items()
    )


def _waves(study: Study) -> list[list[Arm]]:
    """Arms whose base is another arm come after it; the others side by side."""
    depth: dict[str, int] = {}
    for arm in study.arms:
        depth[arm.name] = depth[arm.base[4:]] + 1 if arm.base.startswith("arm:") else 0
    return [
        [arm for arm in study.arms if depth[arm.name] == level]
        for level in range(max(depth.values()) + 1)
    ]


def _build(study: Study, raw: Path, out: Path, exclude: frozenset[str], say: Say) -> Path:
    """The corpus of the study's raw files, without the excluded records."""
    files = {key: [raw / path for path in paths] for key, paths in study.files.items()}
    plan = plan_build(files=files, style=study.style)
    settings = replace(plan.settings, exclude=exclude, recipe="study")
    build_corpus(settings, plan.inputs, out, workers=2, progress=lambda line: say(f"build {line}"))
    return out


def _hold_out(study: Study, corpus: Path, folder: Path) -> HeldOut:
    """Cut the items, or read them back."""
    identity = hash_json(
        [
            sha256_file(corpus / "MANIFEST.json"),
            study.seed,
            study.template,
            [exam.model_dump(mode="json") for exam in study.exams],
        ]
    )
    path = folder / "held_out.json"
    if path.is_file():
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["identity"] == identity:
            taken = {item: tuple(records) for item, records in document["taken"].items()}
            return HeldOut(document["items"], taken)
    frame = api.open_corpus(corpus).to_polars()
    held = cut_items(frame, study.exams, seed=study.seed, template=study.template)
    for name, items in held.items.items():
        lines = [json.dumps(item, ensure_ascii=False) for item in items]
        write_text(folder / f"{name}.jsonl", "\n".join(lines) + "\n")
    write_json(path, {"identity": identity, "items": held.items, "taken": held.taken})
    return held


def _exam_files(study: Study, raw: Path, folder: Path) -> dict[str, tuple[str, tuple[Path, ...]]]:
    files = {}
    for exam in study.exams:
        paths = tuple(raw / name for name in exam.files) or (folder / f"{exam.name}.jsonl",)
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise FileError(
                f"the files of exam {exam.name} are missing",
                where=str(missing[0]),
                fix="put them below --raw as the study's TOML names them",
            )
        files[exam.name] = (exam.mode, paths)
    return files


def _mix(
    study: Study,
    name: str,
    raw: Path,
    out: Path,
    held: HeldOut,
    exams: Mapping[str, tuple[str, tuple[Path, ...]]],
    say: Say,
) -> Path:
    """A mix of the corpus without the held-out clusters (or with a planted share of them)."""
    settings = study.mixes[name]
    folder = out / "mixes" / name
    corpus = out / "corpus"
    gone = held.excluded(
        api.open_corpus(corpus).to_arrow(columns=["id"])["id"].to_pylist(),
        plant=settings.plant,
        keep=settings.keep,
        seed=study.seed,
    )
    if gone:
        corpus = out / f"corpus-{hash_json(sorted(gone))[:12]}"
        _build(study, raw, corpus, gone, say)
    mix = partial(
        api.mix,
        settings.mix_recipe(name),
        corpus=corpus,
        out=folder,
        exams={exam: paths for exam, (_, paths) in exams.items()},
        accept=sorted({key.partition(":")[0] for key in study.files}),
    )
    try:
        rows = mix().rows()
    except UsageError:
        # the folder is the study's own: another mix in it is one of an older version of the study
        shutil.rmtree(folder, ignore_errors=True)
        rows = mix().rows()
    say(f"mix {name}: {rows:,} rows")
    return folder


def _recipe(study: Study, arm: Arm) -> dict[str, Any] | None:
    """The arm's training recipe, defaults filled in; None where nothing is trained."""
    from training.config import Recipe, load_recipe, override

    if not arm.mix:
        return None
    if arm.recipe:
        return load_recipe(arm.recipe, arm.set).to_json()
    document = json.loads(json.dumps(study.training))
    document.setdefault("name", arm.name)
    for change in arm.set:
        override(document, change)
    return parse_settings(document, Recipe, where=f"study, arm {arm.name}").to_json()


def _task(
    study: Study,
    arm: Arm,
    raw: Path,
    out: Path,
    mixes: Mapping[str, Path],
    exams: dict[str, tuple[str, tuple[Path, ...]]],
) -> ArmTask:
    recipe = _recipe(study, arm)
    base = _base(arm, raw, out)
    mix = mixes[arm.mix] if arm.mix else None
    identity = [
        recipe,
        arm.allow_contaminated,
        sha256_file(mix / "MANIFEST.json") if mix else None,
        _identity(base),
        {
            name: [mode, [sha256_file(p) for p in _plain(paths)]]
            for name, (mode, paths) in exams.items()
        },
    ]
    return ArmTask(
        name=arm.name,
        folder=out / "arms" / arm.name,
        recipe=recipe,
        mix=mix,
        base=base,
        exams=exams,
        allow_contaminated=arm.allow_contaminated,
        threads=max(1, (os.cpu_count() or 1) // study.concurrency),
        key=hash_json(identity),
    )


def _plain(paths: Sequence[Path]) -> list[Path]:
    return [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]


def _base(arm: Arm, raw: Path, out: Path) -> str:
    kind, _, rest = arm.base.partition(":")
    if kind == "raw":
        path = raw / rest
        if not path.is_dir():
            raise FileError(
                f"arm {arm.name}: the base is missing",
                where=str(path),
                fix="put the model's folder below --raw as the study's TOML names it",
            )
        return str(path)
    if kind == "arm":
        return str(out / "arms" / rest / "run" / "model")
    if not arm.mix and not arm.base:
        raise UsageError(f"arm {arm.name} has neither base nor mix")
    return "" if arm.base == "random" else arm.base


def _identity(base: str) -> Any:
    folder = Path(base)
    if not base or not folder.is_dir():
        return base
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}
