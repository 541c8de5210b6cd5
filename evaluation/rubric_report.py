"""The page of a run against a rubric, and its Markdown twin.

Beside the page of exams, since nothing but its style is shared: there are no letters, no chance
level and no modes here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation.report import html_page, template, write_twins
from evaluation.rubric import Marked, by_prompt, read_rubric_run
from meadow import charts

SHOWN = 100
"""Prompts on the page, those with the least score first."""


def write_rubric_report(folder: Path, out: Path, *, with_text: bool = True) -> dict[str, str]:
    """Write `report.html` and `report.md` of one run into `out`.

    Returns:
        The paths written, and the verdict.
    """
    run = read_rubric_run(folder)
    facts = _facts(run, with_text=with_text)
    page = html_page("rubric.html.j2", **facts)
    return write_twins(out, page, template("rubric.md.j2").render(**facts), facts["verdict"])


def verdict(run: Marked) -> str:
    """What a reader takes home, with what the judge left open and who has looked at it."""
    about, found = run.run, run.summary
    judge, plain = about["judge"], _share(found)
    parts = [
        f"{about['model']['name']} scores {plain} on {found['prompts']:,} prompts with "
        f"{found['criteria']:,} criteria of {about['exam']}, marked by {judge['model']} "
        f"({judge['prompt']}); adjusted for length {_share(found['adjusted'])}."
    ]
    if found["undecided"]:
        why = ", ".join(f"{name} {count:,}" for name, count in found["verdicts"].items()
                        if name not in ("met", "not met"))  # fmt: skip
        low, high = found["bounds"]
        parts.append(
            f"{found['undecided']:,} criteria have no verdict ({why}) and count for nothing: with "
            f"them the score is between {low:.1%} and {high:.1%}."
        )
    if found["silent"]:
        parts.append(f"{found['silent']:,} answers are empty and meet nothing.")
    if found["cut"]:
        parts.append(
            f"{found['cut']:,} answers were cut at their limit, which --max-new-tokens raises."
        )
    parts.append(review_sentence(run.review))
    return " ".join(parts)


def review_sentence(review: dict[str, Any] | None) -> str:
    """How far the judge can be trusted, as far as anybody looked."""
    if review is None:
        return "No person has checked the judge: --review N writes a sheet for it."
    low, high = review["ci95"]
    kappa = "" if review["kappa"] is None else f", kappa {review['kappa']:.2f}"
    return (
        f"A person agrees with the judge on {review['agree']:,} of {review['marked']:,} criteria "
        f"({review['share']:.1%} [{low:.1%}, {high:.1%}]{kappa})."
    )


def _share(cell: dict[str, Any]) -> str:
    if cell["score"] is None:
        return "nothing (no prompt has a verdict)"
    return "{:.1%} [{:.1%}, {:.1%}]".format(cell["score"], *cell["ci95"])


def _facts(run: Marked, *, with_text: bool) -> dict[str, Any]:
    found = run.summary
    rows = [("plain", found), ("adjusted for length", found["adjusted"])]
    scored = sorted(
        run.answers, key=lambda answer: (answer["score"] is not None, answer["score"] or 0.0)
    )
    verdicts = by_prompt(run.verdicts)
    prompts = [
        {**answer, "verdicts": verdicts[answer["prompt_id"]]}
        for answer in (scored[:SHOWN] if with_text else ())
    ]
    return {
        "run": run.run,
        "found": found,
        "review": run.review,
        "verdict": verdict(run),
        "overall": _chart(rows, "score with 95 % intervals"),
        "groups": [
            (title, cells, _chart(list(cells.items()), title.lower()))
            for title, cells in (("Prompts", found["strata"]), ("Criteria", found["axes"]))
            if cells
        ],
        "prompts": prompts,
    }


def _chart(rows: list[tuple[str, dict[str, Any]]], label: str) -> Any:
    known = [(name, c["score"], *c["ci95"]) for name, c in rows if c["score"] is not None]
    return charts.intervals(known, None, label)
