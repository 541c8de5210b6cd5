"""MEDIQA-AnS: consumer health questions, passages and four kinds of summary (Savery et al. 2020).

The file is one JSON object: question id -> question, two summaries over all its answers, and
the answers with a passage and two summaries each. The paper counts 552 answers; four kinds of
summary for each make the 2,208 rows of the 2023 release. There the question stands in the
instruction and one passage in the input, so that a summary over all passages (the two `multi`
kinds) is asked of one of them. Style `meadow` gives such a summary all passages: the rows of one
question are then the same, and all but the first are duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.errors import FileError
from meadow.readers.archives import open_input
from meadow.readers.json_rows import parse_object
from meadow.schema import Raw, Reason, Record, Refused, Reject, Style, Task, make_record, one_record
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.published import published_origin, published_row, repair_spacing

NAME = "mediqa"
MAX_BYTES = 256 * 1024**2
KINDS = ("answer_abs_summ", "answer_ext_summ", "multi_abs_summ", "multi_ext_summ")
INSTRUCTION_ABSTRACTIVE = "Answer the question from the passage, in your own words."
INSTRUCTION_EXTRACTIVE = "Answer the question with sentences from the passage."
INSTRUCTION_PUBLISHED = "Answer the question from the passage."


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """Every (question, answer, kind of summary); a question that is malformed is one reject.

    Raises:
        FileError: The file is no JSON object.
    """
    for item in inputs:
        with open_input(item, MAX_BYTES) as file:
            content = file.read()
        try:
            found = parse_object(content.decode("utf-8-sig"), item.label)
        except UnicodeDecodeError as error:
            raise FileError(f"not UTF-8: {error}", where=item.label, fix="fetch it again") \
                from error  # fmt: skip
        if isinstance(found, Reject):
            raise FileError(
                f"not the JSON object that was due: {found.detail}",
                where=item.label,
                fix="give question_driven_answer_summarization_primary_dataset.json",
            )
        for number, question in found.items():
            if number != "_where":
                yield from _rows(number, question, f"{item.label}#{number}")


def _rows(number: str, question: Any, where: str) -> Iterator[Raw | Reject]:
    answers = question.get("answers") if isinstance(question, Mapping) else None
    if not isinstance(answers, Mapping) or not answers:
        excerpt = json.dumps(question, ensure_ascii=False)[:500]
        yield Reject(where, Reason.MISSING_FIELD, "needs question and answers", excerpt)
        return
    passages = [_text(answer, "article") for answer in answers.values()]
    for key, answer in answers.items():
        for kind in KINDS:
            yield {
                "_where": f"{where}/{key}/{kind}",
                "key": f"{number}/{key}/{kind}",
                "kind": kind,
                "question": _text(question, "question"),
                "passage": _text(answer, "article"),
                "passages": passages,
                "summary": _text(question if kind.startswith("multi") else answer, kind),
                "url": _text(answer, "url"),
                "section": _text(answer, "section"),
                "rating": _text(answer, "rating"),
            }


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One (question, answer, kind of summary) -> one record."""
    kind = raw["kind"]
    old = options.style is Style.PUBLISHED_2023
    question, summary = raw["question"].strip(), raw["summary"].strip()
    over_all = kind.startswith("multi") and not old
    passage = "\n\n".join(filter(str.strip, raw["passages"])) if over_all else raw["passage"]
    if not question or not passage.strip():
        raise Refused(Reason.EMPTY_INPUT, "no question or no passage", question or summary)
    if not summary:
        raise Refused(Reason.EMPTY_OUTPUT, f"no {kind}", question)
    url = raw["url"] if raw["url"].startswith(("http://", "https://")) and not over_all else None
    meta = {"kind": kind} | (
        {} if over_all else {name: raw[name] for name in ("section", "rating")}
    )
    instruction = INSTRUCTION_ABSTRACTIVE if "_abs_" in kind else INSTRUCTION_EXTRACTIVE
    return make_record(
        source=NAME,
        source_id=raw["key"],
        subset=kind,
        instruction=raw["question"] if old else instruction,
        input=passage if old else _with_question(question, passage),
        output=raw["summary"] if old else summary,
        task=Task.SUMMARIZATION,
        license="unknown",
        url=url,
        meta={name: value for name, value in meta.items() if value},
    )


@one_record
def convert_published(raw: Raw, options: Options) -> Record:
    """A row of the 2023 release; it does not say which kind of summary it holds."""
    row = published_row(raw)
    if not row.instruction.strip():
        raise Refused(Reason.EMPTY_INPUT, "no question", row.input)
    old = options.style is Style.PUBLISHED_2023
    question, repairs = repair_spacing(row.instruction.strip())
    passage, more = repair_spacing(row.input.strip())
    return make_record(
        source=NAME,
        key=(row.instruction, row.input, row.output),
        instruction=row.instruction if old else INSTRUCTION_PUBLISHED,
        input=row.input if old else _with_question(question, passage),
        output=row.output if old else row.output.strip(),
        task=Task.SUMMARIZATION,
        license="unknown",
        repairs=() if old else (*repairs, *more),
    )


def _with_question(question: str, passage: str) -> str:
    return f"Question: {question}\n\nPassage: {passage.strip()}"


def raw_texts(item: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of every summary and its passages, for `check --against-raw`."""
    for number, question in item.items():
        passages = [answer["article"] for answer in question["answers"].values()]
        for key, answer in question["answers"].items():
            for kind in KINDS:
                multi = kind.startswith("multi")
                told = "\n\n".join(passages) if multi else answer["article"]
                yield (
                    f"{number}/{key}/{kind}",
                    {
                        "input": f"Question: {question['question']}\n\nPassage: {told}",
                        "output": (question if multi else answer)[kind],
                    },
                )


SOURCE = Source(
    name=NAME,
    title="MEDIQA-AnS",
    homepage="https://osf.io/fyg46/",
    citation=(
        "Savery et al., Question-driven summarization of answers to consumer health questions, "
        "Scientific Data 7, 2020"
    ),
    license="unknown",
    free_text=False,
    license_note="No licence is stated with the data.",
    upstream=Origin(
        files=(
            File(
                "question_driven_answer_summarization_primary_dataset.json",
                also=("*.json", "*.json.gz"),
                by_hand="download the summarization datasets from https://osf.io/fyg46/",
            ),
        ),
        read=read,
        convert=convert,
        raw_texts=RawTexts(raw_texts),
        expected_rows=2_208,
    ),
    published=published_origin(
        "medical_meadow_mediqa",
        "medical_meadow_mediqa.json",
        convert_published,
        sha256="307a1423bb7ccc6baded42e97e5f820d2c27f3051e92991c0d0124df32505e49",
        size=15_782_980,
        rows=2_208,
    ),
    provenance=Provenance(
        text_sources=("consumer health web pages",),
        derived=("MEDIQA-AnS",),
        creators=("U.S. National Library of Medicine",),
    ),
    counts_2023=(
        Count2023(
            "Question by answer by kind of summary; empty summaries are set aside.",
            published=2_208,
            mix=2_208,
        ),
    ),
    notes=("A candidate is one (question, answer, kind of summary).",),
)
