"""Read a run's responses again with the present parser; no model is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation import generate
from evaluation.journal import Journal
from evaluation.modes import GENERATED
from evaluation.questions import Question
from evaluation.results import Finished, read_run
from evaluation.run import PREDICTIONS, SUMMARY
from evaluation.summary import summarise
from evaluation.tables import predictions_table
from meadow.atomic import locked, write_json
from meadow.corpus.shards import write_parquet
from meadow.errors import UsageError
from meadow.exams.items import ExamItem


def rescore(folder: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Parse all responses again and rewrite predictions and summary.

    Returns:
        How many responses were read, and those whose letter or status changed.

    Raises:
        UsageError: The run has no responses.
    """
    run = read_run(folder)
    if not any(row["mode"] in GENERATED for row in run.rows):
        raise UsageError(
            "the run has no responses to read again",
            where=str(folder),
            fix=f"run one of {', '.join(GENERATED)}",
        )
    journal = Journal(folder, run.run["key"][:16])
    journal.load()
    changed = []
    rows = []
    read = 0
    for row in run.rows:
        if row["mode"] not in GENERATED or row["status"] == "unscorable":
            rows.append(row)
            continue
        question = _question(run, row)
        value = journal.done[generate.unit_key(row["mode"], question)]
        (fresh,) = generate.rows(row["mode"], question, value)
        read += 1
        if (fresh["pred"], fresh["status"], fresh["strict_pred"]) != (
            row["pred"],
            row["status"],
            row["strict_pred"],
        ):
            changed.append(
                {
                    "item_id": row["item_id"],
                    "mode": row["mode"],
                    "before": [row["pred"], row["status"]],
                    "after": [fresh["pred"], fresh["status"]],
                }
            )
        rows.append(fresh)
    if changed and not dry_run:
        with locked(folder):
            levels = {k: i["contamination"] for k, i in run.items.items() if i["contamination"]}
            write_parquet(predictions_table(rows), folder / PREDICTIONS)
            summary = summarise(
                run.summary["exam"], rows, levels=levels or None, excluded=run.summary["excluded"]
            )
            write_json(folder / SUMMARY, summary)
    return {"responses": read, "changed": changed}


def _question(run: Finished, row: dict[str, Any]) -> Question:
    stored = run.items[row["item_id"]]
    item = ExamItem(
        exam=stored["exam"],
        item_id=row["item_id"],
        question=stored["question"],
        options=tuple(zip(stored["labels"], stored["options"], strict=True)),
        answer=stored["answer"],
        step=stored["step"],
        discipline=stored["discipline"],
        number=stored["number"],
    )
    return Question(
        item,
        "",
        tuple(range(len(item.options))),
        "",
        lost=row["lost"],
        scorable=row["scorable"],
        n_tokens=row["n_tokens"],
    )
