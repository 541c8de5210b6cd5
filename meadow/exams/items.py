"""Exam items: what training rows are held against and checkpoints are scored on.

An exam is read whole or not at all: a broken line is a `FileError`, since a silently shorter exam
is another exam. A question that cannot be scored (an image, no answer, fewer than two options, the
same question again) stays in the list with the reason, so that every denominator can be explained.

The documented form for any other exam: JSONL, JSON, CSV or Parquet rows with `question`; `options`
(an object label -> text, a list of texts, or a list of {key, value}) or columns `A`, `B`, ... or
`opa`, `opb`, ...; `answer` or `answer_idx` (a label, or the text of an option); and, where wanted,
`id`, `step`, `discipline`, `image` (true or false) and `prompt` (the whole text before the answer,
with the question in it once; for items that are not asked in the exam's frame).
"""

from __future__ import annotations

import hashlib
import html
import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from meadow.errors import FileError, UsageError
from meadow.exams.formats import exam_files, headerless_rows, read_json, rows_of
from meadow.schema import normalise_key

ImageReading = Literal["by_number", "by_index", "readme"]
"""How the list of image questions is read; see `image_exclusions`."""
IMAGE_READINGS: tuple[ImageReading, ...] = ("by_number", "by_index", "readme")

MAX_OPTIONS = 26
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


@dataclass(frozen=True, slots=True)
class ExamItem:
    """One question of an exam.

    Args:
        exam: The exam's name.
        item_id: 32 hexadecimal digits of SHA-256 over the normalised question and options.
        question: The stem, trimmed at the end.
        options: (label, text) in the order of the exam; empty texts are left out.
        answer: The label of the right option; "" where the exam has none.
        step: Part of the exam ("step1", "step2&3"), where it has parts.
        discipline: The subject, where the exam names one.
        has_image: Whether the question needs an image that the text lacks.
        exclusion_reason: Why the item is not scored; None where it is.
        number: The exam's own number of the question, for audits.
        prompt: The whole text before the answer, where the item brings its own; "" asks it in the
            frame of `meadow.prompt.exam_prompt`, with the options on lines of their own.
    """

    exam: str
    item_id: str
    question: str
    options: tuple[tuple[str, str], ...]
    answer: str
    step: str | None = None
    discipline: str | None = None
    has_image: bool = False
    exclusion_reason: str | None = None
    number: str | None = None
    prompt: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the options, in order."""
        return tuple(label for label, _ in self.options)

    @property
    def answer_text(self) -> str:
        """The text of the right option; "" where there is none."""
        return dict(self.options).get(self.answer, "")


def item_id(question: str, options: Iterable[tuple[str, str]]) -> str:
    """The id of a question: the same text with the same options has the same id in any exam."""
    parts = (normalise_key(question), *(normalise_key(text) for _, text in options))
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def load_exam(
    name: str, paths: Sequence[Path], *, images: ImageReading = "by_number"
) -> list[ExamItem]:
    """Read an exam whole, in the order of its files.

    Args:
        name: One of `EXAMS`, or any name for files of the documented form.
        paths: Files, or folders whose files are read in name order.
        images: How usmle_self_assessment's list of image questions is read.

    Raises:
        FileError: A file is missing or broken, or a row has not the exam's form.
    """
    if not paths:
        raise UsageError(f"no files for exam {name}", fix="name them with --file")
    files = list(exam_files(paths))
    if name == "usmle_self_assessment":
        return _identify(name, _usmle(files, images))
    convert = EXAMS.get(name, _documented)
    drafts = []
    for path in files:
        rows = list(headerless_rows(path) if name == "mmlu_medical" else rows_of(path))
        if name == "medmcqa":
            rows = list(_zero_based(path, rows))
        drafts += [_convert(convert, where, row) for where, row in rows]
    return _identify(name, drafts)


def eligible(items: Iterable[ExamItem]) -> list[ExamItem]:
    """The items that are scored."""
    return [item for item in items if item.exclusion_reason is None]


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

    Args:
        files: The exam's files.
        rows: Questions per step at hand.
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


def _usmle(files: Sequence[Path], reading: ImageReading) -> Iterator[ExamItem]:
    named = {path.name: path for path in files}
    steps = {
        step: read_json(named[f"{step}.json"]) for step in USMLE_STEPS if f"{step}.json" in named
    }
    if not steps:
        raise FileError(
            "no step1.json, step2.json or step3.json among the files",
            where=", ".join(str(path) for path in files[:5]),
            fix="download the exam's files into one folder and name the folder",
        )
    for step, rows in steps.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FileError("a list of questions was due", where=str(named[f"{step}.json"]))
    listed = usmle_image_list(files, {step: len(rows) for step, rows in steps.items()})
    for step, rows in steps.items():
        path = named[f"{step}.json"]
        solutions_path = named.get(f"{step}_solutions.json")
        if solutions_path is None:
            raise FileError(f"{step}_solutions.json is missing", where=str(path.parent))
        solutions = {str(k): str(v).strip().upper() for k, v in read_json(solutions_path).items()}
        numbers = [str(row.get("no", "")).strip() for row in rows]
        excluded = image_exclusions(numbers, listed[step], reading)
        for index, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            row = {**row, "answer": solutions.get(number, ""), "step": step, "id": number}
            item = _convert(_documented, f"{path.name}[{index}]", row)
            if index in excluded:
                item = replace(item, has_image=True, exclusion_reason=excluded[index])
            yield item


def _convert(
    convert: Callable[[Mapping[str, Any]], ExamItem], where: str, row: Mapping[str, Any]
) -> ExamItem:
    try:
        return convert(row)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise FileError(
            f"not a question of this exam: {type(error).__name__} {error}",
            where=where,
            fix="check that the file belongs to the exam; rows of other exams have other columns",
        ) from error


def _documented(row: Mapping[str, Any]) -> ExamItem:
    options = _options(row)
    answer = _label(options, row)
    number = row.get("id", row.get("no", row.get("idx")))
    item = _item(
        row["question"],
        options,
        answer,
        step=html.unescape(_text(row.get("step") or row.get("meta_info"))),
        discipline=row.get("discipline") or row.get("subject"),
        number=number,
        has_image=str(row.get("image", "")).strip().lower() in {"true", "1", "yes"},
    )
    prompt = str(row.get("prompt") or "")
    if prompt and prompt.count(item.question) != 1:
        raise ValueError("prompt does not hold the question once")
    return replace(item, prompt=prompt) if prompt else item


def _medqa(row: Mapping[str, Any]) -> ExamItem:
    item = _documented({**row, "answer": row["answer_idx"]})
    text = row.get("answer")
    if text is not None and _text(text) != item.answer_text:
        return replace(item, exclusion_reason="answer and label disagree")
    return item


def _mmlu(row: Mapping[str, Any]) -> ExamItem:
    if "choices" in row:  # the Parquet form of the Hub: the answer is an index
        options = list(zip(string.ascii_uppercase, map(_text, row["choices"]), strict=False))
        answer = options[int(row["answer"])][0]
    else:
        options, answer = _options(row), _text(row["answer"])
    return _item(row["question"], options, answer, discipline=row.get("subject"))


def _medmcqa(row: Mapping[str, Any]) -> ExamItem:
    options = _options(row)
    index = row["cop"]
    answer = string.ascii_uppercase[index] if 0 <= index < 4 else ""
    subject = row.get("subject_name")
    return _item(row["question"], options, answer, discipline=subject, number=row.get("id"))


def _zero_based(
    path: Path, rows: Sequence[tuple[str, dict[str, Any]]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """`cop` from 0, as the Hub has it, for files that count from 1 too."""
    values = {int(row["cop"]) for _, row in rows if row.get("cop") not in (None, "", -1)}
    if (0 in values and 4 in values) or values - set(range(5)):
        raise FileError("cop holds values outside 0-3 and outside 1-4", where=str(path))
    if values and 0 not in values and 4 not in values:
        raise FileError(
            "cop counts from 0 in one release and from 1 in another, and this file does not tell",
            where=str(path),
            fix="use the whole file, or the documented form with a letter as answer",
        )
    first = 1 if 4 in values else 0
    for where, row in rows:
        known = row.get("cop") not in (None, "", -1)
        yield where, {**row, "cop": int(row["cop"]) - first if known else -1}


def _pubmedqa(row: Mapping[str, Any]) -> ExamItem:
    context = row.get("CONTEXTS") or row.get("context") or row.get("contexts") or []
    if isinstance(context, Mapping):
        context = context["contexts"]
    question = row["QUESTION"] if "QUESTION" in row else row["question"]
    options = [("A", "yes"), ("B", "no"), ("C", "maybe")]
    answer = {text: label for label, text in options}[_text(row["final_decision"]).lower()]
    text = "\n".join([*map(_text, context), _text(question)])
    return _item(text, options, answer, number=row.get("pubid") or row.get("_key"))


EXAMS: dict[str, Callable[[Mapping[str, Any]], ExamItem]] = {
    "usmle_self_assessment": _documented,
    "medqa": _medqa,
    "mmlu_medical": _mmlu,
    "medmcqa": _medmcqa,
    "pubmedqa": _pubmedqa,
    "medbullets": _documented,
}


def _item(
    question: Any, options: Sequence[tuple[str, str]], answer: str, **fields: Any
) -> ExamItem:
    """An item without its final id; `step`, `discipline` and `number` as text or None."""
    step, discipline, number = (
        _text(fields[name]) or None if fields.get(name) is not None else None
        for name in ("step", "discipline", "number")
    )
    filled = tuple((label, text) for label, text in options if text)
    has_image = bool(fields.get("has_image", False))
    reason = "image" if has_image else None
    stem = _text(question)
    if not stem:
        reason = "no question"
    elif len(filled) < 2:
        reason = "fewer than two options"
    elif len(filled) > MAX_OPTIONS:
        reason = f"more than {MAX_OPTIONS} options"
    elif not answer:
        reason = "no answer"
    elif answer not in dict(filled):
        reason = "answer not among the options"
    return ExamItem(
        "",
        "",
        stem,
        filled,
        answer,
        step=step,
        discipline=discipline,
        has_image=has_image,
        exclusion_reason=reason,
        number=number,
    )


def _identify(name: str, drafts: Iterable[ExamItem]) -> list[ExamItem]:
    """Give ids; a question that comes again keeps its own id and is not scored twice."""
    seen: dict[str, int] = {}
    items = []
    for draft in drafts:
        key = item_id(draft.question, draft.options)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            reason = draft.exclusion_reason or "same question and options again"
            draft = replace(draft, exclusion_reason=reason)
            key = f"{key}-{seen[key]}"
        items.append(replace(draft, exam=name, item_id=key))
    return items


def _options(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    value = row.get("options")
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = json.loads(value)
    if isinstance(value, Mapping):
        return sorted((str(k).strip().upper(), _text(v)) for k, v in value.items())
    if value is not None:
        if value and isinstance(value[0], Mapping):
            return [(str(o["key"]).strip().upper(), _text(o["value"])) for o in value]
        return list(zip(string.ascii_uppercase, map(_text, value), strict=False))
    for pattern in ("{}", "op{}", "option_{}"):
        keys = {name.lower(): name for name in row if isinstance(name, str)}
        found = [
            (letter, _text(row[keys[name]]))
            for letter in string.ascii_uppercase
            if (name := pattern.format(letter.lower())) in keys
        ]
        if found:
            return found
    raise ValueError("no options")


def _label(options: Sequence[tuple[str, str]], row: Mapping[str, Any]) -> str:
    """The answer as a label: `answer_idx` first; a text only where it is one option's text."""
    value = _text(row.get("answer_idx") or row.get("answer"))
    labels = dict(options)
    if value.upper() in labels:
        return value.upper()
    matching = [label for label, text in options if text and text == value]
    return matching[0] if len(matching) == 1 else value


def _text(value: Any) -> str:
    """Trimmed text; None and floating-point "not a number" are empty."""
    if value is None or value != value:  # NaN, as Parquet gives it
        return ""
    return str(value).strip()
