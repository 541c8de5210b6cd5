"""`meadow reason`: a teacher works out multiple choice questions, and what misses the key goes.

The teacher is shown the question with its options and never the key. Its answer is read as an
evaluation reads one (`meadow.exams.answers`); a reasoning stays only where that answer is the key,
and is then put before the row's own answer. A try that misses is made again with another seed. What
stays is a selection, so every try is kept, read and refused alike, in `reasoning_tries.parquet`:
there a reader can count how often the teacher was right, and choose otherwise.

The number of tries is the difficulty of a row for that teacher. A teacher that only guesses among
k options comes upon the key within n tries in 1 - (1 - 1/k)^n of all rows, and the card says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from meadow.atomic import hash_json
from meadow.chat.client import Answer, Asked, FaultError
from meadow.chat.prompts import Prompt
from meadow.corpus.folder import REASONING_TRIES, Corpus
from meadow.corpus.manifest import NamedFile
from meadow.corpus.shards import read_parquet, write_parquet
from meadow.errors import RefusedError, UsageError
from meadow.exams.answers import Parsed, Status, answer_of, parse, thinking_of
from meadow.exams.items import ExamItem
from meadow.prompt import exam_input
from meadow.rephrase.checks import Fault
from meadow.rephrase.run import Asking, carry_out
from meadow.rephrase.write import Item, Work, entry_to_work_on
from meadow.schema import Record, Task, from_row, with_reasoning
from meadow.sources import with_own
from meadow.text.language import language_of
from meadow.text.privacy import scrub

TRIES = 4
MIN_REASONING = 80
MAX_REASONING = 20_000

_ANSWER_LINE = re.compile(
    r"\n[^\w\n]*(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct|best)\s+)*"
    r"answer\b[^\n]*\s*\Z",
    re.IGNORECASE,
)
_TOLD = re.compile(
    r"\banswer\s+key\b|\b(?:answer|option|choice|key)\s+(?:that\s+)?(?:is|was|has\s+been)\s+"
    r"(?:already\s+)?(?:given|provided|stated|marked|indicated)\s+(?:as|to\s+be|in|by|above)\b"
    r"|\b(?:given|provided|known|stated|marked|indicated)\s+(?:correct\s+|right\s+)?answer\b"
    r"|\b(?:we|i)\s+(?:are|am|were|was|have\s+been)\s+told\s+(?:that\s+)?the\s+(?:correct\s+|right\s+)?"
    r"(?:answer|option|choice)\b",
    re.IGNORECASE,
)
"""A reasoning that speaks of a key did not come upon the answer by itself."""
_SPOKEN_OF = re.compile(r"answer|correct|\bkey\b|solution|\\boxed", re.IGNORECASE)
_RUN = 8
"""Words in one order that a reasoning shares with its question where it was copied from there."""
_TAG = re.compile(r"</?think(?:ing)?>|<\|[^<>|\s]{1,40}\|>", re.IGNORECASE)


def reason_corpus(
    corpus: Corpus,
    source: str,
    exams: Mapping[str, Sequence[ExamItem]],
    *,
    tries: int = TRIES,
    **asking: Any,
) -> dict[str, Any]:
    """Put a reasoning before the answers of a source's multiple choice questions.

    Args:
        corpus: A built corpus.
        source: The source.
        exams: Name -> items; a row that touches one is not asked about.
        tries: Times that a question is asked, until the answer is the key.
        asking: The fields of `Asking`.

    Returns:
        As `carry_out`, with what was left out and the tries that it took.

    Raises:
        UsageError: No row is a question with a key, or as `Asking.opened` and `entry_to_work_on`.
        RefusedError: The source is an exam, or texts would leave this machine.
    """
    asked = Asking(**asking)
    endpoint, meter, prompt = asked.opened("reasoning")
    items, left_out = collect_questions(corpus, source, exams)
    if not exams:
        asked.progress("warning: no exam was given: no row is held against one (--exam NAME=PATH)")
    for why, count in left_out.items():
        asked.progress(f"  {count:,} not asked about: {why}")
    if not items:
        raise UsageError(
            f"{source} has no multiple choice question with a key that may be asked",
            where=str(corpus.folder),
            fix="rows of task multiple_choice need options and answer in meta, as medqa's have",
        )
    held = {
        name: {"items": len(own), "sha256": hash_json([[i.item_id, i.answer] for i in own])}
        for name, own in sorted(exams.items())
    }
    items = items[: asked.limit]
    work = reasoning_work(source, asked.model, prompt, items, tries, held=held, left_out=left_out)
    return carry_out(work, corpus, asked, endpoint, meter)


def reasoning_work(
    source: str,
    model: str,
    prompt: Prompt,
    items: Sequence[Item],
    tries: int,
    *,
    held: Mapping[str, Any],
    left_out: Mapping[str, int],
) -> Work:
    """What a teacher is asked to do; `held` and `left_out` are told of the questions it gets."""

    def change(record: Record, reasoning: str) -> Record:
        return record._replace(output=with_reasoning(reasoning, record.output))

    def sidecar(
        corpus: Corpus, folder: Path, before: Sequence[Record], asked: Sequence[Asked[Any]]
    ) -> dict[str, Any]:
        """Every try at every question, behind those of earlier work."""
        rows = [row for pair in zip(items, asked, strict=True) for row in try_rows(*pair)]
        tables = [pa.Table.from_pylist(rows, schema=_schema())]
        if (corpus.folder / REASONING_TRIES).is_file():
            tables.insert(0, read_parquet(corpus.folder / REASONING_TRIES))
        write_parquet(pa.concat_tables(tables), folder / REASONING_TRIES)
        return {"files": [NamedFile.of(folder / REASONING_TRIES, REASONING_TRIES)]}

    return Work(
        "reason", source, model, prompt, items, read_reasoning, change, sidecar,
        beside=REASONING_TRIES,
        attempts=tries,
        settings={"tries": tries, "exams": held},
        facts=lambda asked: {"left_out": left_out, **difficulty(items, asked, tries)},
    )  # fmt: skip


def collect_questions(
    corpus: Corpus, source: str, exams: Mapping[str, Sequence[ExamItem]]
) -> tuple[list[Item], dict[str, int]]:
    """The questions of a source that may be asked, and the rows that are left out, by reason.

    Raises:
        UsageError: As `entry_to_work_on`.
        RefusedError: The source is an exam elsewhere.
    """
    from meadow.exams.contamination import find_contamination, rows_to_drop

    entry_to_work_on(corpus, source, "reason")
    known = with_own(corpus.manifest.own_sources).get(source)
    if known is not None and known.exam:
        raise RefusedError(
            f"{source} is an exam elsewhere: a model that learned its reasoning could not be "
            "scored on it",
            where=str(corpus.folder),
        )
    table = corpus.to_arrow(source)
    items = [item for own in exams.values() for item in own]
    found = find_contamination(pl.DataFrame(table), items)
    touched = set(rows_to_drop(found, "stem"))
    asked: list[Item] = []
    left_out: Counter[str] = Counter()
    for row in table.to_pylist():
        record = from_row(row)
        why = "touches an exam" if record.id in touched else why_not_asked(record)
        if why:
            left_out[why] += 1
            continue
        options, _ = _asked(record)
        asked.append(Item(record, {"question": shown(record, options)}))
    return asked, dict(sorted(left_out.items()))


Question = tuple[list[tuple[str, str]], str]
"""The options (label, text) and the label of the right one."""


def question_of(record: Record) -> Question | None:
    """Options and key of a multiple choice question; None where its `meta` has not both."""
    meta = json.loads(record.meta)
    options, key = meta.get("options"), meta.get("answer")
    if not isinstance(options, dict) or len(options) < 2 or key not in options:
        return None
    return [(str(label), str(text)) for label, text in options.items()], str(key)


def why_not_asked(record: Record) -> str:
    """Why a row is not asked about; "" where it is."""
    if record.task is not Task.MULTIPLE_CHOICE:
        return "no multiple choice question"
    question = question_of(record)
    if question is None:
        return "no options or no key"
    options, key = question
    stem = record.input or record.instruction
    for _, text in options:
        stem = stem.replace(text, "")
    if not _SPOKEN_OF.search(stem):  # reading costs a millisecond, and sources have many rows
        return ""
    told = parse(stem, options)
    states = told.letter == key and told.rule in {"stated", "contained"}
    return "the question states its answer" if states else ""


def shown(record: Record, options: Sequence[tuple[str, str]]) -> str:
    """The question as the teacher sees it: with its options, and without the key."""
    text = record.input or record.instruction
    listed = all(option in text for _, option in options)
    return text if listed else exam_input(text, list(options))


def read_reasoning(item: Item, answer: Answer, request: Mapping[str, Any]) -> str:
    """The reasoning in an answer that comes to the key.

    What a thinking model shows is its reasoning; where it shows nothing but the answer, its
    thinking is.

    Raises:
        FaultError: The answer is empty, cut off, a refusal or an echo, is not the key or none, or
            is not what the last line states; or the reasoning is too short, too long, mostly the
            question's words or its own again, in another language than the question, speaks of a
            key, or holds marks of a frame or personal data.
    """
    text, question = answer.text.strip(), item.values["question"]
    options, key = _asked(item.record)
    read = parse(text, options, at_limit=answer.finish_reason == "length")
    said = (answer_of(text) or "").strip()
    reasoning = _ANSWER_LINE.sub("", f"\n{said}").strip()
    # what follows an answer explains it, and did not lead to it; a text without a label is no end
    last = next((line for line in reversed(said.split("\n")) if line.strip()), "")
    end = parse(last, options)
    concluded = (end.letter, end.status) == (read.letter, Status.PARSED)
    if not concluded or len(reasoning) < MIN_REASONING:
        thinking = thinking_of(text)
        reasoning, concluded = thinking or reasoning, concluded or bool(thinking)
    own = reasoning
    for label, option in options:
        own = own.replace(f"{label}: {option}", "").replace(option, "")
    runs, given = _runs(reasoning), set(_runs(question))
    spoken, asked_in = language_of(reasoning), language_of(question)
    for fault, holds in (
        (Fault.EMPTY, not text),
        (Fault.TRUNCATED, answer.finish_reason != "stop" or read.status is Status.TRUNCATED),
        (Fault.ECHO, "<question>" in text or _plain(question) in _plain(text)),
        (Fault.ECHO, sum(run in given for run in runs) > len(runs) / 2),
        (Fault.REFUSAL, read.status is Status.REFUSAL),
        (Fault.NO_ANSWER, read.letter is None),
        (Fault.WRONG_ANSWER, read.letter != key),
        (Fault.NO_CONCLUSION, not concluded),
        (Fault.KEY_MENTIONED, _TOLD.search(reasoning) is not None),
        (Fault.LENGTH, len(own) < MIN_REASONING or len(reasoning) > MAX_REASONING),
        (Fault.REPEATS, len(set(runs)) < len(runs) / 2),
        (Fault.LANGUAGE, None not in (spoken, asked_in) and spoken != asked_in),
        (Fault.MARKUP, _TAG.search(reasoning) is not None),
        (Fault.PERSONAL_DATA, bool(scrub(reasoning)[1])),
    ):
        if holds:
            raise FaultError(fault)
    return reasoning


def _asked(record: Record) -> Question:
    question = question_of(record)
    if question is None:
        raise ValueError(f"{record.id} is no question with a key")
    return question


def _plain(text: str) -> str:
    return " ".join(text.split())


def _runs(text: str) -> list[tuple[str, ...]]:
    """Every so many words of a text that follow each other."""
    words = text.lower().split()
    return [tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)]


def difficulty(items: Sequence[Item], asked: Sequence[Asked[Any]], tries: int) -> dict[str, Any]:
    """How many tries the reasonings took, and how far guessing would have come.

    Returns:
        tried: requests answered; at_try: reasonings by the number of tries, from 1; repeated: rows
        that were given up since the teacher said the same again; guessing: the share of rows for
        which a guesser would have come upon the key, an answer and its repetition being one try.
    """
    accepted = Counter(len(one.tries) for one in asked if one.value is not None)
    repeated, chances = 0, []
    for item, one in zip(items, asked, strict=True):
        said = [each.answer.text for each in one.tries if each.answer and each.answer.text]
        again = len(said) > len(set(said))
        repeated += again
        draws = len(set(said)) if again else tries
        chances.append(1 - (1 - 1 / len(_asked(item.record)[0])) ** draws)
    return {
        "tried": sum(len(one.tries) for one in asked),
        "repeated": repeated,
        "at_try": [accepted[number + 1] for number in range(tries)],
        "guessing": round(sum(chances) / len(chances), 4),
    }


_NUMBERS = ("try", "prompt_tokens", "completion_tokens")
_OF_THE_ANSWER = ("model", "finish_reason", "text", *_NUMBERS[1:])


def try_rows(item: Item, asked: Asked[Any]) -> Iterator[dict[str, Any]]:
    """The rows of `reasoning_tries.parquet` for one question."""
    options, key = _asked(item.record)
    for number, one in enumerate(asked.tries, start=1):
        said = one.answer
        read = Parsed(None, "", "", Status.EMPTY)
        if said is not None:
            read = parse(said.text, options, at_limit=said.finish_reason == "length")
        yield {
            "row_id": item.record.id, "source": item.record.source, "try": number,
            "request_sha256": one.key, "key": key, "answer_read": read.letter, "rule": read.rule,
            "status": read.status.value, "fault": one.fault,
            **{name: getattr(said, name, None) for name in _OF_THE_ANSWER},
        }  # fmt: skip


def _schema() -> pa.Schema:
    names = ("row_id", "source", "try", "request_sha256", "model", "finish_reason", "key",
             "answer_read", "rule", "status", "fault", "text", *_NUMBERS[1:])  # fmt: skip
    return pa.schema([(n, pa.int64() if n in _NUMBERS else pa.string()) for n in names])
