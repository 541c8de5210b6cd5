"""The demo: from the embedded samples to a checkpoint with its scores, offline, in about a minute.

Everything is small and invented, so the numbers prove nothing but that the parts work: a mix that
was held against the demo exam, reports, a fine-tune of a model of a quarter of a million random
weights, and the exam before and after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meadow.api import open_corpus
from meadow.cli.app import log
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.exams.items import ExamItem, eligible, load_exam
from meadow.mix.recipe import load_mix_recipe
from meadow.mix.select import select_rows
from meadow.mix.write import mix_key, mix_settings, unchanged_mix, write_mix
from meadow.quality.report import write_report
from meadow.samples import FOLDER, sampled_sources

EXAM = "usmle_self_assessment"


def run_demo(out: Path) -> dict[str, Any]:
    """Everything of the demo that comes after the corpus.

    Args:
        out: The demo's folder; `corpus` is in it.

    Returns:
        What was made, and the figures that the demo shows.
    """
    corpus = open_corpus(out / "corpus")
    items = load_exam(EXAM, [FOLDER / "exam"])
    mix = _mix(corpus, items, out / "mix")
    rows = sum(shard.rows for shard in mix.shards())
    found = mix.details["contamination"][EXAM]["rows"]
    log(f"mixed {rows:,} rows; {sum(found.values())} rows of the corpus hold an exam question")
    write_report(open_corpus(out / "corpus"))
    write_report(open_corpus(out / "mix"), origin=corpus)
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


def _mix(corpus: Corpus, items: list[ExamItem], folder: Path) -> Manifest:
    """The demo mix, held against the demo exam."""
    recipe = load_mix_recipe("demo")
    exams = {EXAM: items}
    accepted = sampled_sources()  # the samples are ours, whatever their sources' licences say
    settings = mix_settings(recipe, exams, accepted)
    key = mix_key(settings, corpus, exams)
    found = unchanged_mix(folder, settings, key)
    if found is not None:
        return found
    selection = select_rows(recipe, corpus, exams=exams, accepted=accepted)
    return write_mix(selection, recipe, corpus, folder, settings, key)


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

    settings = Settings(EXAM, parse_modes("letter,option,text"), Framing(template="short"))
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
