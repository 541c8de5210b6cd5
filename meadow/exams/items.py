"""Exam items: what training rows are held against and checkpoints are scored on.

An exam is read whole or not at all: a broken row is a `FileError`, since a silently shorter exam is
another exam. A question that cannot be scored fairly stays in the list with the reason, so that
every denominator can be explained.

The documented form for any other exam: JSON Lines, JSON, CSV or Parquet rows with `question`;
`options` (an object label -> text, a list of texts, or a list of {key, value}) or columns `A`, `B`,
... or `opa`, `opb`, ...; `answer` or `answer_idx`; and, where wanted, `context` (the case that the
question is about), `id`, `step`, `discipline`, `image` and `prompt` (the whole text before the
answer, with the question in it once; for items that are not asked in the exam's frame). What other
names mean the same, `meadow.exams.meaning` says.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.errors import FileError, UsageError
from meadow.exams.formats import Rows, exam_files, read_json, rows_of
from meadow.exams.meaning import AnswerIs, Meaning, understand
from meadow.exams.overlap import is_frame
from meadow.exams.usmle import DEMO, ImageReading, usmle_rows
from meadow.exams.usmle import EXAM as USMLE
from meadow.schema import normalise_key

MAX_OPTIONS = 26
TEST_LIST = "test_ground_truth.json"
"""Beside PubMedQA's questions: the decisions of the 500 that its authors score."""
EXAMS = {
    USMLE: "the three steps of 2023 with their solutions, as the Hub has them",
    "medqa": "MedQA, JSON Lines with 4 or 5 options",
    "mmlu_medical": "MMLU's six medical subjects, CSV without a header or Parquet",
    "medmcqa": "MedMCQA, opa to opd and cop",
    "pubmedqa": f"PubMedQA, a context and a final decision; of a folder with {TEST_LIST} its test",
    "medbullets": "Medbullets, opa to opd or ope, and answer_idx",
    "medxpertqa": "MedXpertQA's text part, ten options",
    "mmlu_pro_health": "MMLU-Pro, of which the category health is kept",
    "head_qa": "HEAD-QA, papers of questions with qtext, answers and ra",
    "medexpqa": "MedExpQA, full_question, numbered options and correct_option",
    "afrimed_qa": "AfriMed-QA's one CSV file, of which multiple choice of the test split is kept",
}
"""The exams that have a form of their own, and what that is."""
_KEPT = {
    "mmlu_pro_health": {"category": "health"},
    "afrimed_qa": {"split": "test", "question_type": "mcq"},
}
"""What is kept of files that hold more than the exam: column -> value."""
_RENAMED = {
    "medexpqa": {"type": "discipline"},
    "afrimed_qa": {"prompt": "scene", "discipline": "profession"},
}
"""Columns that mean something else in these files than in others."""
_LABELLED: frozenset[str] = frozenset({"head_qa", "medexpqa"})
"""Whose answers are labels: the key of an annulled question is the number of no option."""
MMLU = "mmlu_medical"
ALIASES = {"mmlu": MMLU, "usmle": USMLE}
MMLU_SUBJECTS = frozenset({
    "anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics",
    "professional_medicine",
})  # fmt: skip


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


class Exam(list[ExamItem]):
    """The items of an exam in order, and the files that they came from.

    Args:
        items: The items.
        files: Per file: name, sha256, rows (questions in it), items, and left_out: reason -> how
            many of the items are not scored, or rows are no part of the exam.
    """

    def __init__(self, items: Iterable[ExamItem], files: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(items)
        self.files = list(files)


def item_id(question: str, options: Iterable[tuple[str, str]]) -> str:
    """The id of a question: the same text with the same options has the same id in any exam."""
    parts = (normalise_key(question), *(normalise_key(text) for _, text in options))
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def load_exam(
    name: str,
    paths: Sequence[Path],
    *,
    images: ImageReading = "by_number",
    answer_is: AnswerIs | None = None,
) -> Exam:
    """Read an exam whole, in the order of its files.

    >>> from meadow.samples import FOLDER
    >>> items = meadow.load_exam("demo_exam", [FOLDER / "exam"])
    >>> all(item.answer in item.labels for item in items)
    True

    Args:
        name: One of `EXAMS` or `ALIASES`, or any name for files of the documented form.
        paths: Files, or folders whose files are read in name order.
        images: How usmle_self_assessment's list of image questions is read.
        answer_is: What the answers of the files are, where a file does not tell.

    Raises:
        FileError: A file is missing, broken or empty, or does not tell what its columns mean.
    """
    name = ALIASES.get(name, name)
    if not paths:
        raise UsageError(f"no files for exam {name}", fix="name them with --file")
    files = list(exam_files(paths))
    read_as = answer_is or ("label" if name in _LABELLED else None)
    drafts: list[ExamItem] = []
    read = []
    for path, rows, left_out in _parts(name, files, images):
        excluded = [str(row.pop("_excluded", "")) for _, row in rows]
        meanings = understand(rows, path, read_as) if rows else ()
        found = [_item(*each) for each in zip(meanings, excluded, strict=True)]
        drafts += found
        read.append((path, len(rows) + sum(left_out.values()), len(found), left_out))
    if not drafts:
        raise FileError(f"no question of {name} in the files", where=", ".join(map(str, files[:5])))
    items = list(_identify(name, drafts))
    described = []
    rest = iter(items)
    for path, rows_in, count, left_out in read:
        reasons = Counter(item.exclusion_reason for item in islice(rest, count))
        shown = {**left_out, **{k: v for k, v in sorted(reasons.items(), key=str) if k}}
        described.append(
            {"name": path.name, "sha256": sha256_file(path), "rows": rows_in, "items": count,
             "left_out": shown, **({"answer_is": answer_is} if answer_is else {})}
        )  # fmt: skip
    return Exam(items, described)


def items_of(
    name: str, rows: Rows, path: Path, answer_is: AnswerIs | None = None
) -> list[ExamItem]:
    """Rows of an exam as its items, in their order: for rows that stand in a file of another kind.

    Raises:
        FileError: As `load_exam`.
    """
    return list(
        _identify(name, [_item(meaning, "") for meaning in understand(rows, path, answer_is)])
    )


def eligible(items: Iterable[ExamItem]) -> list[ExamItem]:
    """The items that are scored."""
    return [item for item in items if item.exclusion_reason is None]


def _parts(
    name: str, files: Sequence[Path], images: ImageReading
) -> Iterator[tuple[Path, Rows, dict[str, int]]]:
    """Per file its rows, and how many of its rows are no part of the exam."""
    if name in (USMLE, DEMO):
        yield from ((path, rows, {}) for path, rows in usmle_rows(files, images))
        return
    lists = [path for path in files if path.name == TEST_LIST]
    read = {path: rows_of(path, headerless=name == MMLU) for path in files if path not in lists}
    why = _mmlu(read) if name == MMLU else _elsewhere(name, lists)
    names = _RENAMED.get(name, {})
    for path, rows in read.items():
        left_out: Counter[str] = Counter()
        kept = []
        for where, row in rows:
            if told := why(path, row):
                left_out[told] += 1
            else:
                kept.append((where, {names.get(key, key): row[key] for key in row}))
        yield path, kept, dict(left_out)
    yield from ((path, [], {}) for path in lists)


_Why = Callable[[Path, dict[str, Any]], str | None]
"""(file, row) -> why the row is no part of the exam."""


def _elsewhere(name: str, lists: Sequence[Path]) -> _Why:
    """Rows of another kind than the exam keeps, or that its authors' list of the test lacks."""
    tests: set[str] = set()
    for path in lists:
        if not isinstance(decisions := read_json(path), dict):
            raise FileError("an object of decisions by PMID was due", where=str(path))
        tests |= set(map(str, decisions))

    def why(path: Path, row: dict[str, Any]) -> str | None:
        for column, value in _KEPT.get(name, {}).items():
            if row.get(column, value) != value:
                return f"of another {column}: {row[column]}"
        listed = not tests or str(row.get("_key", row.get("pubid"))) in tests
        return None if listed else "of another split than test"

    return why


def _mmlu(read: dict[Path, Rows]) -> _Why:
    """Rows beside the test questions of the medical subjects; a file of one other subject is taken.

    Many copies of MMLU are one folder, or one file, with all subjects and splits in it.
    """
    for path, rows in read.items():
        subject = re.sub(r"_(test|dev|val)$", "", path.stem)
        rows[:] = [(where, {"subject": subject, **row}) for where, row in rows]
    medical = MMLU_SUBJECTS & {str(row["subject"]) for rows in read.values() for _, row in rows}
    has_tests = any(path.stem.endswith("_test") for path in read)

    def why(path: Path, row: dict[str, Any]) -> str | None:
        if has_tests and path.stem.endswith(("_dev", "_val")):
            return "of another split than test"
        other = medical and row["subject"] not in MMLU_SUBJECTS
        return f"another subject: {row['subject']}" if other else None

    return why


def _item(meaning: Meaning, excluded: str) -> ExamItem:
    """An item without its final id, with the reason for which it is not scored."""
    filled = tuple((label, text) for label, text in meaning.options if text)
    answer, fields = meaning.answer, meaning.fields
    texts = [" ".join(text.casefold().split()) for _, text in filled]
    right = [text for (label, _), text in zip(filled, texts, strict=True) if label == answer]
    reason = excluded or ("image" if fields["has_image"] else None)
    if not meaning.question:
        reason = "no question"
    elif len(filled) < 2:
        reason = "fewer than two options"
    elif len(filled) > MAX_OPTIONS:
        reason = f"more than {MAX_OPTIONS} options"
    elif not answer:
        reason = "no answer"
    elif "," in answer and {*answer.split(",")} <= {label for label, _ in filled}:
        reason = "several right answers"
    elif answer not in dict(filled):
        reason = "answer not among the options"
    elif meaning.disagrees:
        reason = "answer and label disagree"
    elif reason is None and texts.count(right[0]) > 1:
        reason = "the right answer stands under two letters"
    elif reason is None and is_frame(meaning.question):
        reason = "no case in the question"
    fields["has_image"] = fields["has_image"] or bool(excluded)
    return ExamItem("", "", meaning.question, filled, answer, exclusion_reason=reason, **fields)


def _identify(name: str, drafts: Iterable[ExamItem]) -> Iterator[ExamItem]:
    """Give ids; a question that comes again keeps its own id and is not scored twice."""
    seen: Counter[str] = Counter()
    for draft in drafts:
        key = item_id(draft.question, draft.options)
        seen[key] += 1
        if seen[key] > 1:
            reason = draft.exclusion_reason or "same question and options again"
            draft = replace(draft, exclusion_reason=reason)
            key = f"{key}-{seen[key]}"
        yield replace(draft, exam=name, item_id=key)
