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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from meadow import api
from meadow.atomic import hash_json, locked, sha256_file, write_json, write_text
from meadow.build.build import build_corpus
from meadow.build.engine import open_engine
from meadow.build.plan import plan_build
from meadow.cli.app import Finish, dry_run_option, json_option, log
from meadow.config import parse_settings
from meadow.corpus.manifest import read_manifest
from meadow.errors import FileError, UsageError
from meadow.exams.formats import exam_files
from meadow.models.loading import hashed_weights
from pipelines.held_out import HeldOut, asked_items, cut_items
from pipelines.study_config import (
    QUESTIONS,
    Arm,
    Study,
    StudyExam,
    Touch,
    Twins,
    load_study,
    source_twins,
    with_contamination,
)
from pipelines.touched import disguised, touched_ids, write_touched

ARM = "arm.json"
Progress = Callable[[str], None]
Exams = dict[str, tuple[StudyExam, tuple[Path, ...]]]
"""By name: the exam and its items' files."""


@click.command("study")
@click.argument("name")
@click.option("--raw", type=click.Path(path_type=Path), required=True, help="The raw files.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The study's folder.")
@click.option(
    "--leave-one-out",
    "twins",
    flag_value="leave-one-out",
    help="What each source is worth: the study's arm again, without one source at a time.",
)
@click.option(
    "--add-one-in",
    "twins",
    flag_value="add-one-in",
    help="The same from the other side: the base, or a core of sources, and one source more.",
)
@dry_run_option
@json_option
def command(
    name: str, raw: Path, out: Path, twins: Twins | None, dry_run: bool, as_json: bool
) -> None:
    """Run a whole study, from raw files to the report.

    NAME is a study of the project or a TOML file, which maps each source to its files below --raw.
    What is finished is not computed again; a study that was killed continues. --leave-one-out and
    --add-one-in train twins of one arm that differ in one source and write a report of their own.
    """
    finish = Finish(as_json=as_json)
    plan = load_study(name)
    plan = source_twins(plan, twins) if twins else with_contamination(plan)
    if dry_run:
        rows = plan_study(plan)
        if not as_json:
            click.echo(
                f"{'arm':<34}{'asks':<16}{'method':<12}{'mix':<34}{'steps':>7}{'minutes':>9}"
            )
            for row in rows:
                steps = row["steps"] or (f"{row['epochs']} ep" if row["epochs"] else "-")
                click.echo(
                    f"{row['arm']:<34}{' '.join(row['questions']):<16}{row['method']:<12}"
                    f"{row['mix'] or '-':<34}{steps:>7}{row['estimated_seconds'] / 60:>9.1f}"
                )
            click.echo(_budget(plan, plan.arms))
        finish({"arms": rows})
        return
    document = run_study(plan, raw, out, twins=twins, progress=log)
    for question in document["questions"]:
        for answer in question["answers"]:
            log(f"{question['name']} {answer}")
    for row in document["contamination"]:
        log(f"contamination {row['sentence']}")
    report = twins or "report"
    log(f"the report: {out / report}.html, {out / report}.md")
    finish(document)


def _budget(study: Study, arms: Sequence[Arm]) -> str:
    """What these arms will take, in words."""
    minutes = sum(arm.seconds for arm in arms) / study.concurrency / 60
    return f"{len(arms)} arms, {study.concurrency} at a time: about {minutes:.0f} minutes" + (
        f", estimated for {study.machine}" if study.machine else ""
    )


def plan_study(study: Study) -> list[dict[str, Any]]:
    """What `--dry-run` prints: each arm with its questions, steps and estimated time."""
    rows = []
    for arm in study.arms:
        recipe = _recipe(study, arm)
        schedule = recipe["schedule"] if recipe else {}
        rows.append(
            {
                "arm": arm.name,
                "questions": {name: QUESTIONS[name] for name in arm.questions},
                "base": arm.base or (recipe["base"]["repository"] if recipe else ""),
                "mix": arm.mix,
                "method": recipe["method"] if recipe else "none",
                "steps": schedule.get("max_steps") or None,
                "epochs": None if schedule.get("max_steps") else schedule.get("epochs"),
                "estimated_seconds": arm.seconds,
            }
        )
    return rows


def run_study(
    study: Study, raw: Path, out: Path, *, twins: Twins | None = None, progress: Progress
) -> dict[str, Any]:
    """Run what is not finished and write the report.

    The report of `twins` is named for them, and the card of their arm's mix gets what they say.

    Returns:
        The content of report.json.

    Raises:
        MeadowError: A raw file, a recipe or an arm is wrong; what was finished stays.
    """
    for arm in study.arms:
        if arm.base.startswith("local:"):
            _base(study, arm, raw, out)  # what is missing is said before anything is built
    with locked(out):
        progress(_budget(study, study.arms))
        whole = _build(study, raw, out / "corpus", frozenset(), progress)
        held = _hold_out(study, whole, out / "held_out")
        _check_touched(study, held)
        exams = _exam_files(study, raw, out / "held_out")
        mixes = {
            name: _mix(study, name, raw, out, held, exams, progress) for name in sorted(study.mixes)
        }
        arms: dict[str, dict[str, Any]] = {}
        for wave in _waves(study):
            tasks = [_task(study, arm, raw, out, mixes, exams) for arm in wave]
            todo = [task for task in tasks if finished(task) is None]
            for task in tasks:
                if task not in todo:
                    progress(f"arm {task.name}: finished before")
            with open_engine(study.concurrency) as run:
                for task, done in zip(todo, run(run_arm, todo), strict=True):
                    progress(f"arm {task.name}: {_scores(done)}")
            for task in tasks:
                found = finished(task)
                if found is None:
                    raise FileError(f"arm {task.name} left no result", where=str(task.folder))
                arms[task.name] = found
        from pipelines.study_report import study_report, write_study_report, write_worth

        document = study_report(study, out, arms, held)
        write_study_report(document, out, twins or "report")
        if twins == "leave-one-out":
            write_worth(document, study, out)
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


def _build(study: Study, raw: Path, out: Path, exclude: frozenset[str], progress: Progress) -> Path:
    """The corpus of the study's raw files, without the excluded records."""
    files = {key: [raw / path for path in paths] for key, paths in study.files.items()}
    plan = plan_build(files=files, style=study.style)
    settings = replace(plan.settings, exclude=exclude, recipe="study")
    build_corpus(
        settings, plan.inputs, out, workers=2, progress=lambda line: progress(f"build {line}")
    )
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


def _check_touched(study: Study, held: HeldOut) -> None:
    """Refuse a share that leaves no item to compare with, before anything is trained."""
    asked = study.contamination
    if asked is None:
        return
    touched = touched_ids(held, Touch(exam=asked.exam, share=asked.share), study.seed)
    if not 0 < len(touched) < len(held.items[asked.exam]):
        raise UsageError(
            f"contamination: a share of {asked.share:g} touches {len(touched)} of "
            f"{len(held.items[asked.exam])} items of {asked.exam}",
            fix="a share nearer to 0.5, or more items",
        )


def _exam_files(study: Study, raw: Path, folder: Path) -> Exams:
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
        files[exam.name] = (exam, paths)
    return files


def _mix(
    study: Study,
    name: str,
    raw: Path,
    out: Path,
    held: HeldOut,
    exams: Exams,
    progress: Progress,
) -> Path:
    """A mix of the corpus without the held-out clusters (or with a planted share of them)."""
    settings = study.mixes[name]
    folder = out / "mixes" / name
    corpus = out / "corpus"
    gone = held.excluded(
        api.open_corpus(corpus).to_arrow(columns=["id"])["id"].to_pylist(),
        keep=settings.keep,
        seed=study.seed,
    )
    corpora = [corpus]
    if gone:
        corpora = [out / f"corpus-{hash_json(sorted(gone))[:12]}"]
        _build(study, raw, corpora[0], gone, progress)
    sources: list[str] = []
    if settings.touch is not None:
        pairs = disguised(api.open_corpus(corpus), held, settings.touch, study.seed)
        corpora.append(write_touched(pairs, out))
        sources = sorted({before.source for before, _ in pairs})
    mix = partial(
        api.mix,
        settings.mix_recipe(name, sources),
        corpus=corpora,
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
    progress(f"mix {name}: {rows:,} rows")
    return folder


def _recipe(study: Study, arm: Arm) -> dict[str, Any] | None:
    """The arm's training recipe, defaults filled in; None where nothing is trained."""
    from meadow.config import override
    from training.config import Recipe, load_recipe

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
    exams: Exams,
) -> ArmTask:
    recipe = _recipe(study, arm)
    exams = {name: entry for name, entry in exams.items() if arm.asked(name)}
    base = _base(study, arm, raw, out)
    mix = mixes[arm.mix] if arm.mix else None
    identity = [
        recipe,
        arm.allow_contaminated,
        read_manifest(mix).details["key"] if mix else None,
        _identity(base),
        {
            name: [exam.mode, exam.items, exam.longest, [sha256_file(p) for p in exam_files(paths)]]
            for name, (exam, paths) in exams.items()
        },
    ]
    return ArmTask(
        name=arm.name,
        folder=out / "arms" / arm.name,
        recipe=recipe,
        mix=mix,
        base=base,
        exams=exams,
        seed=study.seed,
        allow_contaminated=arm.allow_contaminated,
        threads=max(1, (os.cpu_count() or 1) // study.concurrency),
        key=hash_json(identity),
    )


def _base(study: Study, arm: Arm, raw: Path, out: Path) -> str:
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
    if kind == "local":
        named = study.bases[rest]
        if not (named.path() / "config.json").is_file():
            raise FileError(
                f"arm {arm.name}: the base {rest} is missing",
                where=str(named.path()),
                fix=named.make
                + (f", and name its folder with {named.variable}" if named.variable else ""),
            )
        return str(named.path())
    if kind == "arm":
        return str(out / "arms" / rest / "run" / "model")
    if not arm.mix and not arm.base:
        raise UsageError(f"arm {arm.name} has neither base nor mix")
    return "" if arm.base == "random" else arm.base


def _identity(base: str) -> Any:
    folder = Path(base)
    if not base or not folder.is_dir():
        return base
    return hashed_weights(folder)


@dataclass(frozen=True, slots=True)
class ArmTask:
    """One arm as a worker gets it: picklable and complete."""

    name: str
    folder: Path
    recipe: dict[str, Any] | None  # the training recipe as JSON; None scores the base as it is
    mix: Path | None  # the mix's folder; None where nothing is trained
    base: str  # the base's folder or repository; "" is the recipe's own
    exams: Exams  # what it is scored on
    seed: int  # of the items that are asked
    allow_contaminated: bool  # train although exam items are in the mix
    threads: int  # of torch
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
            "tokens": result.metrics[-1]["tokens"],
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
    for name, (exam, paths) in task.exams.items():
        folder = task.folder / "eval" / name
        summary = run(
            backend,
            asked_items(exam, paths, task.seed),
            Settings(exam=name, modes=parse_modes(exam.mode)),
            folder,
            contamination=task.mix,
        )
        cell = summary["modes"][exam.mode]
        document["exams"][name] = {
            "mode": exam.mode,
            "accuracy": cell["accuracy"],
            "ci95": cell["ci95"],
            "n": cell["n"],
            "chance": summary["chance"],
        }
    document["machine"] = json.loads((folder / "run.json").read_text())["machine"]
    write_json(task.folder / ARM, document)
    return document
