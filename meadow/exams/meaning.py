"""What the columns of an exam file mean, decided once for the whole file.

A question may be spread over columns (a vignette in `context`, the question beside it); options
come as an object, a list, two lists, or columns of their own; and "1" as an answer is a label, a
number that counts from 0 or from 1, or an option's text. A single row cannot tell, a file usually
can: a reading stands if it explains every row that any reading explains. Where none does, or two do
and disagree, the file is refused with two rows that show it, and with the option that settles it.
"""

from __future__ import annotations

import ast
import html
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from meadow.errors import FileError
from meadow.exams.formats import QUESTION, Rows

AnswerIs = Literal["label", "index0", "index1", "text"]
"""What an answer's column holds: an option's label, its place counted from 0 or 1, or its text."""
ANSWER_IS: tuple[AnswerIs, ...] = get_args(AnswerIs)

CONTEXT = (
    "context", "contexts", "passage", "vignette", "case", "clinical_case", "case_vignette",
    "patient_case", "scenario", "background", "abstract", "paragraph", "article",
)  # fmt: skip
"""Columns that carry the case that a question is about."""
OPTIONS = ("options", "choices", "option", "endings", "answer_options", "answers")
ANSWER = (
    "answer_idx", "answer_index", "correct_option", "cop", "answer_key", "answerkey", "answer",
    "label", "final_decision", "correct_answer", "target", "gold", "ra",
)  # fmt: skip
ANSWER_TEXT = ("answer", "correct_answer", "answer_text")
IMAGE = ("image", "images", "image_path", "figure", "img")
NUMBER = ("id", "no", "idx", "number", "question_id", "sample_id", "pubid", "qid", "_key")
STEP = ("step", "meta_info")
DISCIPLINE = ("discipline", "subject", "subject_name", "specialty", "body_system", "category")
_COLUMNS = ("{}", "op{}", "option_{}", "ending{}", "option{}", "choice_{}")
_NO = {"", "false", "0", "no", "none", "null", "nan"}


class Meaning(NamedTuple):
    """One row, understood.

    Args:
        question: The whole text that is asked, the case in front.
        options: (label, text) in the order of the exam.
        answer: The label of the right option; what the file says where that is none of them.
        disagrees: Whether the file gives the answer twice, and differently.
        fields: Further facts by name: step, discipline, number, has_image, prompt.
    """

    question: str
    options: list[tuple[str, str]]
    answer: str
    disagrees: bool
    fields: dict[str, Any]


def understand(rows: Rows, path: Path, answer_is: AnswerIs | None = None) -> Iterator[Meaning]:
    """The rows of a file, understood.

    Args:
        rows: (where, row) of the whole file.
        path: The file, for messages.
        answer_is: What the answers are, where the file does not tell.

    Raises:
        FileError: There is no question, no option or no answer where they were looked for, or the
            file does not tell what its answers are.
    """
    flat = [(where, _flat(row)) for where, row in rows]
    names = list(dict.fromkeys(name for _, row in flat for name in row))
    question, answer = _column(QUESTION, names), _column(ANSWER, names)
    for column, looked_for in ((question, QUESTION), (answer, ANSWER)):
        if column is None:
            raise FileError(
                f"no column for the {'question' if looked_for is QUESTION else 'answer'}: "
                f"{', '.join(looked_for)} were looked for",
                where=str(path),
                fix=f"found {', '.join(names) or 'none'}; rename the column that holds it",
            )
    assert question is not None
    assert answer is not None
    for where, row in flat:
        if not _text(row.get(question)) and question not in row:
            raise FileError(f"the row has no {question!r}", where=where)
    options, given = _lettered(
        [_options(row, where, yes_no=answer == "final_decision") for where, row in flat],
        [_text(_single(row.get(answer))) for _, row in flat],
        answer_is,
    )
    second = next((name for name in ANSWER_TEXT if name in names and name != answer), None)
    texts = [_text(_single(row.get(second))) if second else "" for _, row in flat]
    keys = _answers(list(zip(flat, options, given, texts, strict=True)), path, answer_is)
    for (where, row), offered, label, text in zip(flat, options, keys, texts, strict=True):
        stem = "\n".join(
            part
            for name in (*CONTEXT, question, *(("sent2",) if question == "sent1" else ()))
            if (part := _passage(row.get(name)))
            and (name not in CONTEXT or " " in part or not isinstance(row[name], str | int | float))
        )
        stem = _without_options(stem, offered)
        matching = [own for own, shown in offered if text and shown == text]
        prompt = str(row.get("prompt") or "")
        if prompt and prompt.count(stem) != 1:
            raise FileError("prompt does not hold the question once", where=where)
        fields = {
            "step": html.unescape(_first(row, STEP)) or None,
            "discipline": _first(row, DISCIPLINE) or None,
            "number": _first(row, NUMBER) or None,
            "has_image": any(_is_image(row.get(name)) for name in IMAGE),
            "prompt": prompt,
        }
        yield Meaning(stem, offered, label, bool(matching) and label not in matching, fields)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its names in lower case; what stands in `data` is brought up."""
    inner = row.get("data")
    merged = {**row, **inner} if isinstance(inner, Mapping) else row
    return {re.sub(r"[\s-]+", "_", str(k).strip().lower()): v for k, v in merged.items()}


def _column(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((text for name in names if (text := _text(row.get(name)))), "")


def _text(value: Any) -> str:
    """Trimmed text; None and "not a number" are empty, a whole number has no decimals."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _single(value: Any) -> Any:
    """The value of a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _parsed(value: Any) -> Any:
    """A list or an object that came as its text, from a CSV file."""
    if isinstance(value, str) and value.strip()[:1] in {"[", "{"}:
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


def _passage(value: Any) -> str:
    """A case or a question as text: lists of sentences are joined, each in one piece."""
    value = _parsed(value)
    if isinstance(value, Mapping):
        value = value.get("contexts", list(value.values()))
    if isinstance(value, list | tuple):
        return "\n".join(filter(None, map(_passage, value)))
    return _text(value)


def _is_image(value: Any) -> bool:
    """Whether a cell names or holds a picture."""
    if isinstance(value, Mapping):
        return any(_is_image(part) for part in value.values())
    if isinstance(value, list | tuple):
        return any(map(_is_image, value))
    return isinstance(value, bytes) or _text(value).lower() not in _NO


def _options(row: Mapping[str, Any], where: str, *, yes_no: bool) -> list[tuple[str, str]]:
    """The options of a row as (label, text), in the exam's order."""
    value = _parsed(next((row[n] for n in OPTIONS if row.get(n) is not None), None))
    if isinstance(value, Mapping):
        lists = [value.get(name) for name in ("label", "text")]
        if all(isinstance(part, list) for part in lists):
            value = [{"key": k, "value": v} for k, v in zip(*lists, strict=False)]
        else:
            pairs = [(_text(k).upper(), _text(v)) for k, v in value.items()]
            return sorted(pairs, key=lambda pair: (_NUMBERED.sub("", pair[0]).zfill(3), pair[0]))
    if isinstance(value, list) and value:
        if all(isinstance(option, Mapping) for option in value):
            pairs = [(_first(o, ("key", "label", "letter", "aid")),
                      _first(o, ("value", "text", "option", "content", "atext")))
                     for o in value]  # fmt: skip
            return [(label.upper(), text) for label, text in pairs]
        if not any(isinstance(option, Mapping | list) for option in value):
            return list(zip(string.ascii_uppercase, map(_text, value), strict=False))
    elif value is None:
        for pattern in _COLUMNS:
            for marks in (string.ascii_lowercase, "0123456789", "123456789"):
                found = []
                for mark in marks:
                    if (name := pattern.format(mark)) not in row:
                        break
                    found.append(_text(row[name]))
                if len(found) > 1:  # a single column named A may be anything
                    return list(zip(string.ascii_uppercase, found, strict=False))
        if yes_no:
            return [("A", "yes"), ("B", "no"), ("C", "maybe")]
    raise FileError(
        f"no options: {', '.join(OPTIONS)} or columns A, B, ... (opa, option_a, ending0, ...) "
        "were looked for",
        where=where,
        fix=f"found {', '.join(row)}",
    )


_NUMBERED = re.compile(r"OPTION[_ ]?(?=\d{1,2}$)")


def _lettered(
    options: list[list[tuple[str, str]]], answers: list[str], answer_is: AnswerIs | None
) -> tuple[list[list[tuple[str, str]]], list[str]]:
    """Options that a file numbers (1, 2 or option1, option2) by letter, and its answers with them.

    A number is an option's label where every answer of the file is one, or where it is said that
    answers are labels; else it may be a place, as that of options without labels. AfriMed-QA fills
    up to five options with "n/a", and says "option1,option3" where several are right.
    """
    shown, found, letters = [], [], []
    for row, answer in zip(options, answers, strict=True):
        numbers = [_NUMBERED.sub("", label) for label, _ in row]
        numbered = bool(row) and all(re.fullmatch(r"\d{1,2}", number) for number in numbers)
        own = dict(zip(numbers, string.ascii_uppercase, strict=False)) if numbered else {}
        parts = [own.get(_NUMBERED.sub("", part.strip().upper()), "") for part in answer.split(",")]
        filled = "n/a" if numbered and row[0][0] not in own else None
        shown.append(
            [
                (own.get(number, label), "" if text.casefold() == filled else text)
                for number, (label, text) in zip(numbers, row, strict=True)
            ]
        )
        letters.append(own)
        found.append(",".join(parts) if all(parts) else "")
    rows = list(zip(answers, found, letters, strict=True))
    are_labels = answer_is == "label" or all(
        told for answer, told, own in rows if own and answer.isdigit()
    )
    return shown, [
        answer
        if not own or (answer.isdigit() and not are_labels)
        else told or (f"({answer})" if answer.isdigit() else answer)
        for answer, told, own in rows
    ]


_HEADING = re.compile(r"\s*(?:answer )?(?:choices|options):?\s*$", re.IGNORECASE)


def _without_options(stem: str, options: Sequence[tuple[str, str]]) -> str:
    """A stem without the list of its own options at the end, as MedXpertQA's have it.

    The frame shows the options, and a question that shows them twice is another question.
    """
    rest = stem.rstrip()
    for label, text in reversed(options):
        if not text or not rest.endswith(text):
            return stem
        mark = re.search(rf"(?:^|\s)\(?{re.escape(label)}[).:]\s*$", rest[: -len(text)])
        if not mark:
            return stem
        rest = rest[: mark.start()]
    return _HEADING.sub("", rest).rstrip() if options else stem


_Row = tuple[tuple[str, dict[str, Any]], list[tuple[str, str]], str, str]


def _by_label(options: Sequence[tuple[str, str]], value: str) -> str | None:
    return value.upper() if value.upper() in dict(options) else None


def _by_text(options: Sequence[tuple[str, str]], value: str) -> str | None:
    return next((label for label, text in options if text == value), None) or next(
        (label for label, text in options if text.casefold() == value.casefold()), None
    )


def _by_place(first: int) -> Callable[[Sequence[tuple[str, str]], str], str | None]:
    def place(options: Sequence[tuple[str, str]], value: str) -> str | None:
        number = re.fullmatch(r"(\d{1,3})(?:\.0+)?", value)
        index = int(number[1]) - first if number else -1
        return options[index][0] if 0 <= index < len(options) else None

    return place


_READINGS: dict[AnswerIs, Callable[[Sequence[tuple[str, str]], str], str | None]] = {
    "label": _by_label,
    "index0": _by_place(0),
    "index1": _by_place(1),
    "text": _by_text,
}


def _answers(rows: list[_Row], path: Path, answer_is: AnswerIs | None) -> list[str]:
    """The label of each row's right option, read in the one way that explains the file."""
    found = {
        name: [read(options, value) if value else None for _, options, value, _ in rows]
        for name, read in _READINGS.items()
    }
    if answer_is is None:
        explained = [any(labels[i] for labels in found.values()) for i in range(len(rows))]
        standing = [
            name
            for name, labels in found.items()
            if all(label for label, due in zip(labels, explained, strict=True) if due)
        ]
        if not standing:
            _refuse(rows, path, found, "in one row the answer is read as {}, in another as {}")
        standing = _agreeing(rows, found, standing)
        answer_is = standing[0]
        for other in standing[1:]:
            if found[other] != found[answer_is]:
                pair = {name: found[name] for name in (answer_is, other)}
                _refuse(rows, path, pair, "the answers may be {} or {}, and the file does not tell")
    return [
        label or ("" if value == "-1" else value)
        for label, (_, _, value, _) in zip(found[answer_is], rows, strict=True)
    ]


def _agreeing(
    rows: list[_Row], found: Mapping[AnswerIs, list[str | None]], standing: list[AnswerIs]
) -> list[AnswerIs]:
    """The readings that agree best with the answers as text or label, where these are given too."""

    def agreement(name: AnswerIs) -> int:
        return sum(
            bool(text) and text in {dict(options).get(label or ""), (label or "").upper()}
            for (_, options, _, text), label in zip(rows, found[name], strict=True)
        )

    most = max(map(agreement, standing))
    return [name for name in standing if agreement(name) == most]


def _refuse(
    rows: list[_Row], path: Path, found: Mapping[AnswerIs, list[str | None]], why: str
) -> None:
    """Refuse a file that does not tell what its answers are, with two rows that show it."""
    names = list(found)
    shown = [i for i in range(len(rows)) if len({labels[i] for labels in found.values()}) > 1]
    first = shown[0]
    one = next(name for name in names if found[name][first])
    other = next((i for i in shown if not found[one][i] and any(found[n][i] for n in names)), None)
    second = shown[1] if other is None and len(shown) > 1 else other
    two = next((n for n in names if n != one and (other is None or found[n][other])), names[-1])
    examples = "; ".join(
        f"{Path(rows[i][0][0]).name}: answer {rows[i][2]!r} of "
        + ", ".join(f"{label} {text!r}" for label, text in rows[i][1][:5])
        for i in (first, second)
        if i is not None
    )
    raise FileError(
        why.format(one, two),
        where=f"{path}: {examples}",
        fix=f"say what the answers are: --answer-is {'|'.join(ANSWER_IS)}",
    )
