"""Step files of USMLE's sample exams, invented: their layout, sizes and numbers of 2023."""

from __future__ import annotations

import json
from pathlib import Path

from meadow.exams.usmle import IMAGES_2023

COUNTS = {"step1": 119, "step2": 120, "step3": 135}


def write_usmle(folder: Path, counts: dict[str, int], skipped: dict[str, set[int]]) -> Path:
    """Step files in the real layout; question numbers in `skipped` are not used."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, count in counts.items():
        numbers: list[int] = []
        number = 0
        while len(numbers) < count:
            number += 1
            if number not in skipped.get(step, set()):
                numbers.append(number)
        rows = [
            {"no": n, "question": f"{step} case {n}", "options": {"A": f"a{n}", "B": f"b{n}"}}
            for n in numbers
        ]
        (folder / f"{step}.json").write_text(json.dumps(rows))
        solutions = {str(n): "ab"[n % 2] if n % 3 else "AB"[n % 2] for n in numbers}
        (folder / f"{step}_solutions.json").write_text(json.dumps(solutions))
    lists = {step: list(IMAGES_2023[step]) for step in counts}
    (folder / "question_with_images.json").write_text(json.dumps(lists))
    return folder
