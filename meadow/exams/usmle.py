"""The USMLE self-assessment of 2023: three steps, solutions, and a list of image questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from meadow.errors import FileError
from meadow.exams.formats import Rows, read_json, rows_of

EXAM = "usmle_self_assessment"
DEMO = "demo_exam"
"""The embedded questions: invented, in the same form."""
ImageReading = Literal["by_number", "by_index", "readme"]
"""How the list of image questions is read; see `image_exclusions`."""
IMAGE_READINGS: tuple[ImageReading, ...] = ("by_number", "by_index", "readme")
USMLE_STEPS = ("step1", "step2", "step3")
USMLE_ROWS = {"step1": 119, "step2": 120, "step3": 135}
"""Questions of the 2023 release per step."""
IMAGES_2023: dict[str, tuple[int, ...]] = {
    "step1": (4, 7, 9, 11, 18, 21, 30, 32, 34, 36, 40, 42, 44, 47, 53, 56, 62, 68, 77, 80, 85, 88,
              89, 100, 105, 113, 114),
    "step2": (25, 26, 33, 53, 60, 76, 80, 87, 107, 114),
    "step3": (5, 21, 34, 41, 63, 66, 67, 88, 96, 102, 113, 118, 130),
}  # fmt: skip
"""The question numbers that the 2023 scoring notebook left out; used where the release's own
`question_with_images.json` (which came later) is not at hand."""


def image_exclusions(
    numbers: Sequence[str], listed: Sequence[int], reading: ImageReading
) -> dict[int, str]:
    """Which questions of one step the image list takes out: index -> why.

    The list is read in three ways in the wild. `by_number` matches the question's own number;
    `by_index` takes the listed numbers as positions from 0; `readme` is the count of the 2023
    README (questions less length of the list): by number, and a listed number that no question
    carries takes out the next question from that position (from 1) that is still there.
    """
    if reading == "by_index":
        return {i: f"image: index {i} is listed" for i in listed if 0 <= i < len(numbers)}
    place = {number: index for index, number in enumerate(numbers)}
    found = {place[str(n)]: f"image: number {n} is listed" for n in listed if str(n) in place}
    if reading == "readme":
        for n in (n for n in listed if str(n) not in place):
            later = (i for i in range(max(n - 1, 0), len(numbers)) if i not in found)
            earlier = (i for i in range(len(numbers) - 1, -1, -1) if i not in found)
            index = next(later, next(earlier, None))
            if index is not None:
                found[index] = f"image: number {n} is listed but missing; this position stands in"
    return found


def usmle_image_list(files: Sequence[Path], rows: Mapping[str, int]) -> dict[str, list[int]]:
    """The list of image questions per step: the release's own file, else the 2023 notebook's.

    The notebook's list fits the release's numbers of questions alone: `rows`, per step.
    """
    for path in files:
        if path.name == "question_with_images.json":
            value = read_json(path)
            try:
                return {step: [int(n) for n in value.get(step, [])] for step in USMLE_STEPS}
            except (AttributeError, TypeError, ValueError) as error:
                raise FileError(
                    "not a list of image questions: {step: [number, ...]} was due",
                    where=str(path),
                ) from error
    if any(USMLE_ROWS[step] != count for step, count in rows.items()):
        raise FileError(
            "question_with_images.json is missing and these are not the step files of 2023",
            where=", ".join(f"{step}: {count} questions" for step, count in rows.items()),
            fix="put question_with_images.json beside the step files",
        )
    return {step: list(IMAGES_2023[step]) for step in USMLE_STEPS}


def usmle_rows(files: Sequence[Path], reading: ImageReading) -> Iterator[tuple[Path, Rows]]:
    """Per step file its questions with their solutions; `_excluded` says which need an image."""
    named = {path.name: path for path in files}
    steps = {step: named[f"{step}.json"] for step in USMLE_STEPS if f"{step}.json" in named}
    if not steps:
        raise FileError(
            "no step1.json, step2.json or step3.json among the files",
            where=", ".join(str(path) for path in files[:5]),
            fix="download the exam's files into one folder and name the folder",
        )
    found = {step: rows_of(path) for step, path in steps.items()}
    listed = usmle_image_list(files, {step: len(rows) for step, rows in found.items()})
    for step, rows in found.items():
        path = named.get(f"{step}_solutions.json")
        if path is None:
            raise FileError(f"{step}_solutions.json is missing", where=str(steps[step].parent))
        solutions = read_json(path)
        if not isinstance(solutions, dict):
            raise FileError("an object number -> letter was due", where=str(path))
        letters = {str(number): str(letter).strip() for number, letter in solutions.items()}
        numbers = [str(row.get("no", "")).strip() for _, row in rows]
        excluded = image_exclusions(numbers, listed[step], reading)
        yield steps[step], [
            (where, {**row, "answer": letters.get(number, ""), "step": step, "id": number,
                     "_excluded": excluded.get(index, "")})
            for index, (number, (where, row)) in enumerate(zip(numbers, rows, strict=True))
        ]  # fmt: skip
