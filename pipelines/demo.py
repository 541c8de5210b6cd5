"""The demo: from the embedded samples to a checkpoint with its scores, offline, in about a minute.

Everything is small and invented, so the numbers prove nothing but that the parts work: a mix that
was compared with the demo exam, reports, a fine-tune of a model of a quarter of a million random
weights, and the exam before and after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meadow import api
from meadow.cli.app import log
from meadow.exams.items import ExamItem, eligible, load_exam
from meadow.exams.usmle import DEMO
from meadow.samples import FOLDER, sampled_sources


def run_demo(out: Path) -> dict[str, Any]:
    """Everything of the demo that comes after the corpus.

    Returns:
        What was made, and the figures that the demo shows.
    """
    items = load_exam(DEMO, [FOLDER / "exam"])
    mix = api.mix(
        "demo",
        corpus=out / "corpus",
        out=out / "mix",
        exams={DEMO: items},
        accept=sampled_sources(),  # the samples are ours, whatever their sources' licences say
    )
    rows, found = mix.rows(), mix.manifest.details["contamination"][DEMO]["rows"]
    log(f"mixed {rows:,} rows; {sum(found.values())} rows of the corpus hold an exam question")
    api.report(out / "corpus")
    api.report(out / "mix", corpus=out / "corpus")
    losses = _train(out)
    scores = _evaluate(items, out)
    for text in (
        f"the mix       {out}/mix/README.md",
        f"the reports   {out}/corpus/report/report.html, {out}/mix/report/report.html",
        f"the page      meadow browse {out}/corpus",
        f"the run       {out}/run/metrics.jsonl, {out}/run/loss.svg, {out}/run/model/README.md",
        f"the scores    {out}/eval/report/report.html",
    ):
        log(text)
    return {"mix": rows, "loss": losses, "exam": scores}


def _train(out: Path) -> dict[str, float]:
    """The recipe `tiny` on the mix; the loss at the beginning and at the end."""
    from training.config import load_recipe
    from training.loop import train

    result = train(load_recipe("tiny"), out / "mix", out / "run")
    losses = [line["loss"] for line in result.metrics if "loss" in line]
    fifth = max(1, len(losses) // 5)
    first, last = sum(losses[:fifth]) / fifth, sum(losses[-fifth:]) / fifth
    log(f"trained {len(losses)} steps: loss {first:.2f} -> {last:.2f}")
    return {"first": first, "last": last}


def _evaluate(items: list[ExamItem], out: Path) -> dict[str, Any]:
    """The demo exam before and after, and the paired report."""
    from evaluation.local import load
    from evaluation.modes import parse_modes
    from evaluation.questions import Framing
    from evaluation.report import write_report as write_exam_report
    from evaluation.run import Settings, run

    settings = Settings(DEMO, parse_modes("letter,option,text"), Framing(template="short"))
    scores = {}
    folders = []
    for name, model in (("base", out / "run" / "base"), ("tuned", out / "run" / "model")):
        folder = out / "eval" / name
        summary = run(load(str(model)), items, settings, folder, contamination=out / "mix")
        cell = summary["modes"]["letter"]
        scores[name] = {"accuracy": cell["accuracy"], "ci95": cell["ci95"], "n": cell["n"]}
        low, high = cell["ci95"]
        log(
            f"exam, {name}: {cell['accuracy']:.2f} of {cell['n']} letters right "
            f"(95 % interval {low:.2f} to {high:.2f}, chance {summary['chance']:.2f})"
        )
        folders.append(folder)
    report = write_exam_report(folders, out / "eval" / "report")
    log(report["verdict"])
    log(f"{len(items) - len(eligible(items))} questions were left out: they need an image")
    return scores
