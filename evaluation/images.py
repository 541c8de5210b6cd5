"""The audit of image questions: three readings of one list, and where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meadow.atomic import hash_json
from meadow.exams.items import eligible, load_exam
from meadow.exams.usmle import EXAM, IMAGE_READINGS, USMLE_ROWS

README_2023 = {"step1": 92, "step2": 110, "step3": 122}
"""Questions that the 2023 README says remain."""


def audit(paths: Sequence[Path]) -> dict[str, Any]:
    """Read the exam three ways and lay the readings side by side.

    Returns:
        `counts` per reading and step (with the README's beside it), `manifests` (a hash of each
        reading's item ids), `items` (every question that any reading leaves out, with each
        reading's reason) and `differing` (those on which the readings disagree).
    """
    readings = {name: load_exam(EXAM, paths, images=name) for name in IMAGE_READINGS}
    first = readings[IMAGE_READINGS[0]]
    steps = list(dict.fromkeys(str(item.step) for item in first))
    questions = {step: sum(item.step == step for item in first) for step in steps}
    counts = {
        name: {step: sum(item.step == step for item in eligible(items)) for step in steps}
        for name, items in readings.items()
    }
    rows = []
    for index, item in enumerate(first):
        reasons = {name: items[index].exclusion_reason for name, items in readings.items()}
        if any(reasons.values()):
            rows.append(
                {
                    "step": item.step,
                    "index": sum(other.step == item.step for other in first[:index]),
                    "number": item.number,
                    "item_id": item.item_id,
                    "begins": " ".join(item.question.split())[:60],
                    "reasons": reasons,
                    "differs": len({bool(reason) for reason in reasons.values()}) > 1,
                }
            )
    return {
        "exam": EXAM,
        "questions": questions,
        "counts": counts,
        "readme_2023": README_2023 if questions == USMLE_ROWS else {},
        "manifests": {
            name: hash_json([item.item_id for item in eligible(items)])
            for name, items in readings.items()
        },
        "items": rows,
        "differing": [row for row in rows if row["differs"]],
    }


def lines(document: dict[str, Any]) -> list[str]:
    """The audit as a person reads it."""
    steps = list(document["questions"])
    head = "  ".join(f"{step:>7}" for step in steps)
    found = [f"{'':14}{head}   items"]
    found.append(_line("questions", [document["questions"][step] for step in steps]))
    if document["readme_2023"]:
        found.append(_line("README 2023", [document["readme_2023"][step] for step in steps]))
    for name, counts in document["counts"].items():
        hashed = document["manifests"][name][:16]
        found.append(_line(name, [counts[step] for step in steps]) + f"   {hashed}")
    for title, rows in (
        ("readings differ on:", document["differing"]),
        ("left out by every reading:", [r for r in document["items"] if not r["differs"]]),
    ):
        found.append("")
        found.append(f"{title} {len(rows)}")
        for row in rows:
            where = f"{row['step']} no. {row['number']} (index {row['index']})"
            found.append(f"  {where}: {row['begins']}")
            for name, reason in row["reasons"].items():
                found.append(f"      {name}: {reason or 'kept'}")
    return found


def _line(name: str, counts: Sequence[int]) -> str:
    return f"{name:14}" + "  ".join(f"{count:>7}" for count in counts)
