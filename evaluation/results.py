"""The folder of a finished run: its files, their columns, reading it back, parsing it again.

`run.json` says what was computed and on what, `predictions.parquet` holds one row per item, mode
and variant, `items.parquet` the exam (left-out items with their reason), `summary.json` the
numbers. run.json is written last: a folder with it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from evaluation import generate
from evaluation.journal import Journal
from evaluation.modes import GENERATED
from evaluation.questions import Question
from evaluation.summary import summarise
from meadow.atomic import locked, write_json
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import FileError, UsageError
from meadow.exams.items import ExamItem

FORMAT = 2
"""Of a run's folder; 2 holds every prompt."""
RUN = "run.json"
PREDICTIONS = "predictions.parquet"
SUMMARY = "summary.json"
ITEMS = "items.parquet"

PREDICTION_COLUMNS = pa.schema(
    {
        "item_id": pa.string(),
        "mode": pa.string(),
        "variant": pa.string(),
        "sample": pa.int32(),
        "labels": pa.list_(pa.string()),
        "order": pa.list_(pa.string()),
        "logliks": pa.list_(pa.float64()),
        "pred": pa.string(),
        "gold": pa.string(),
        "correct": pa.bool_(),
        "status": pa.string(),
        "rule": pa.string(),
        "text": pa.string(),
        "prompt": pa.string(),
        "retries": pa.int32(),
        "strict_pred": pa.string(),
        "n_tokens": pa.int32(),
        "truncated": pa.bool_(),
        "lost": pa.string(),
        "scorable": pa.bool_(),
        "step": pa.string(),
        "discipline": pa.string(),
        "n_options": pa.int32(),
    }
)
"""Of predictions.parquet; `evaluation.modes.prediction` makes its rows."""
ITEM_COLUMNS = pa.schema(
    {
        "item_id": pa.string(),
        "exam": pa.string(),
        "number": pa.string(),
        "question": pa.string(),
        "labels": pa.list_(pa.string()),
        "options": pa.list_(pa.string()),
        "answer": pa.string(),
        "n_options": pa.int32(),
        "step": pa.string(),
        "discipline": pa.string(),
        "has_image": pa.bool_(),
        "exclusion_reason": pa.string(),
        "contamination": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run's folder as values."""

    folder: Path
    name: str  # the checkpoint's name, for people
    run: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: list[dict[str, Any]]  # predictions.parquet
    items: dict[str, dict[str, Any]]  # items.parquet, by item id

    @property
    def modes(self) -> list[str]:
        """The modes of the run, in order."""
        return list(self.summary["modes"])

    @property
    def primary(self) -> str:
        """The mode of headlines: the paper's generation where it was run, else the letter."""
        return next((m for m in ("generate", "letter") if m in self.modes), self.modes[0])

    def column(self, mode: str, name: str) -> dict[str, Any]:
        """A column of the predictions by item, in the exam's own option order."""
        rows = (row for row in self.rows if row["mode"] == mode and not row["variant"])
        return {row["item_id"]: row[name] for row in rows}

    def correct(self, mode: str) -> dict[str, bool]:
        """Right or wrong by item."""
        return self.column(mode, "correct")


def read_documents(folder: Path, command: str, *names: str) -> list[Any]:
    """The JSON files of a run's folder.

    `command` is what would have written them.

    Raises:
        FileError: One is missing, or is no JSON.
    """
    try:
        return [json.loads((folder / name).read_text(encoding="utf-8")) for name in names]
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise FileError(
                "there is no such folder", where=str(folder), fix="check the name"
            ) from error
        raise FileError(
            f"not a finished run: {Path(error.filename).name} is missing",
            where=str(folder),
            fix=f"run `{command}` with this --out to its end",
        ) from error
    except (OSError, ValueError) as error:
        raise FileError(f"not a run: {type(error).__name__} {error}", where=str(folder)) from error


def check_same_run(folder: Path, key: str) -> None:
    """Refuse a folder that holds the finished run of another key.

    Raises:
        UsageError: It does.
    """
    if (folder / RUN).exists() and read_documents(folder, "", RUN)[0].get("key") != key:
        raise UsageError(
            "the folder holds another run (other model, judge, prompts or settings)",
            where=str(folder),
            fix="choose another --out, or delete the folder",
        )


def read_run(folder: Path) -> Finished:
    """Read a run's folder.

    Raises:
        FileError: It is not a finished run.
    """
    run, summary = read_documents(folder, "meadow eval run", RUN, SUMMARY)
    try:
        if run["format"] != FORMAT:
            raise ValueError("it was written by another version; run it again")
        model = run["model"]
        recipe = model.get("trained", {}).get("recipe")
        name = str(recipe or model["name"])
        if model.get("adapter") and not recipe:
            name += f" + {Path(model['adapter']).name}"
        if not summary["modes"]:
            raise KeyError("modes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"not a run: {type(error).__name__} {error}", where=str(folder)) from error
    rows = read_parquet(folder / PREDICTIONS).to_pylist()
    items = {row["item_id"]: row for row in read_parquet(folder / ITEMS).to_pylist()}
    return Finished(folder, name, run, summary, rows, items)


def read_runs(folders: Sequence[Path]) -> list[Finished]:
    """Read runs and give each a name of its own."""
    return named([read_run(folder) for folder in folders])


def named(runs: Sequence[Finished]) -> list[Finished]:
    """The runs, each with a name of its own: those of one model add what sets them apart."""
    facts = [
        (run.run["settings"]["framing"]["template"], run.run["model"].get("load", ""), run.modes[0])
        for run in runs
    ]
    names = []
    for run, own in zip(runs, facts, strict=True):
        others = [told for other, told in zip(runs, facts, strict=True) if other.name == run.name]
        apart = [
            fact for place, fact in enumerate(own) if len({told[place] for told in others}) > 1
        ]
        names.append(f"{run.name} ({', '.join(apart)})" if apart else run.name)
    return [
        replace(run, name=name if names.count(name) == 1 else f"{name} {run.run['key'][:6]}")
        for run, name in zip(runs, names, strict=True)
    ]


def predictions_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Predictions as an Arrow table: one row per item, mode and variant."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=PREDICTION_COLUMNS)


def write_run(
    folder: Path,
    items: Sequence[ExamItem],
    levels: Mapping[str, str] | None,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    """Write the four files of a run, left-out items with their reason; run.json last."""
    told = [
        {
            **{name: getattr(item, name, None) for name in ITEM_COLUMNS.names},
            "labels": list(item.labels),
            "options": [text for _, text in item.options],
            "n_options": len(item.options),
            "contamination": None if levels is None else levels.get(item.item_id, "none"),
        }
        for item in items
    ]
    write_parquet(pa.Table.from_pylist(told, schema=ITEM_COLUMNS), folder / ITEMS)
    write_parquet(predictions_table(rows), folder / PREDICTIONS)
    write_json(folder / SUMMARY, summary)
    write_json(folder / RUN, run)


def rescore(folder: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Parse all responses again with the present parser; rewrite predictions and summary.

    The journal holds the responses, so that no model is needed.

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
    rows, changed, read = [], [], 0
    for row in run.rows:
        if row["mode"] not in GENERATED or row["status"] == "unscorable":
            rows.append(row)
            continue
        question = _question(run, row)
        value = journal.done[generate.unit_key(row["mode"], question)]
        (fresh,) = generate.rows(row["mode"], question, value)
        read += 1
        if any(fresh[key] != row[key] for key in ("pred", "status", "strict_pred")):
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
                run.summary["exam"],
                rows,
                levels=levels or None,
                excluded=run.summary["excluded"],
                corrected=run.run.get("errata"),
            )
            write_json(folder / SUMMARY, summary)
    return {"responses": read, "changed": changed}


def _question(run: Finished, row: Mapping[str, Any]) -> Question:
    """What a prediction was asked."""
    item = item_of(run.items[row["item_id"]])
    facts = {name: row[name] for name in ("lost", "scorable", "n_tokens")}
    return Question(item, "", tuple(range(len(item.options))), row["prompt"], **facts)


def item_of(stored: Mapping[str, Any]) -> ExamItem:
    """An item of an exam from its row in items.parquet."""
    options = tuple(zip(stored["labels"], stored["options"], strict=True))
    same = ("exam", "item_id", "question", "answer", "step", "discipline", "number")
    return ExamItem(options=options, **{name: stored[name] for name in same})
