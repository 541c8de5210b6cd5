"""AfriMed-QA: questions from medical schools and the public in Africa (Olatunji et al. 2025).

One CSV file holds three kinds of question: multiple choice with up to five options, short answers,
and what consumers would ask in a scene that they were shown. Only rows whose column `split` says
"train" are taken: the others are an exam. Options are JSON in a cell, named option1 to option5 and
filled up with "n/a"; `correct_answer` names one or several. `question_clean` is the text as its
authors repaired it, after a form had swallowed the line breaks of laboratory tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from meadow.prompt import EXAM_INSTRUCTION, exam_input
from meadow.readers import delimited
from meadow.readers.json_rows import DECODER
from meadow.schema import Author, Raw, Reason, Record, Refused, Task, make_record, one_record
from meadow.source import File, Options, Origin, Provenance, RawTexts, Source

NAME = "afrimed_qa"
HOMEPAGE = "https://github.com/intron-innovation/AfriMed-QA"
COLUMNS = (
    "sample_id", "split", "question_type", "prompt", "question", "answer_options", "correct_answer",
    "answer_rationale", "specialty", "country", "tier",
)  # fmt: skip
INSTRUCTIONS = {
    "mcq": EXAM_INSTRUCTION,
    "saq": "Answer this medical question in a few sentences.",
    "consumer_queries": "Answer this question of somebody who asks for medical advice.",
}
"""By kind of question."""
NO_ANSWER = {"", "n/a", "n:a", "na", "none", "nil", "nan"}
"""What stands in a cell that says nothing."""
FILLED = {"", "n/a"}
"""What options are filled up with."""
VOTED_DOWN = {"false", "0", "0.0"}


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One question -> one record; a multiple choice is answered by letter, then by its reason."""
    kind, answer = raw["question_type"].strip(), _said(raw["answer_rationale"])
    question = _lines(raw.get("question_clean") or raw["question"])
    if (split := raw["split"].strip()) != "train":
        raise Refused(Reason.NOT_A_TARGET, f"of the split {split!r}: an exam", question)
    if raw.get("quality", "").strip().casefold() in VOTED_DOWN:
        raise Refused(Reason.LOW_RANK, "its reviewers voted it down", question)
    if not question:
        raise Refused(Reason.EMPTY_INPUT, "no question", str(raw))
    meta: dict[str, Any] = {}
    if kind == "mcq":
        shown, letter = _options(raw, question)
        meta = {"options": shown, "answer": letter}
        text = exam_input(question, list(shown.items()))
        answer = "\n\n".join(filter(None, (f"{letter}: {shown[letter]}", answer)))
    elif kind not in INSTRUCTIONS:
        raise Refused(Reason.UNKNOWN_LABEL, f"question_type {kind!r}", question)
    elif not answer:
        raise Refused(Reason.EMPTY_OUTPUT, "nobody answered it", question)
    else:
        scene = _lines(raw["prompt"]) if kind == "consumer_queries" else ""
        text = f"{scene}\n\n{question}" if scene else question
    facts = {name: raw.get(name, "").strip() for name in ("specialty", "country", "tier")}
    return make_record(
        source=NAME,
        source_id=raw["sample_id"].strip(),
        subset=kind,
        instruction=INSTRUCTIONS[kind],
        input=text,
        output=answer,
        task=Task.MULTIPLE_CHOICE if meta else Task.OPEN_QA,
        license="cc-by-nc-sa-4.0",
        url=HOMEPAGE,
        authors=(Author("the contributors of AfriMed-QA", HOMEPAGE),),
        meta={**meta, **{name: fact for name, fact in facts.items() if fact}},
    )


def _options(raw: Raw, question: str) -> tuple[dict[str, str], str]:
    """The options by letters, and the right one's letter."""
    try:
        given = DECODER.decode(raw["answer_options"])
        texts = {str(name): " ".join(str(text).split()) for name, text in given.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise Refused(Reason.BAD_JSON, f"answer_options: {error}", raw["answer_options"]) from None
    texts = {name: text for name, text in texts.items() if text.casefold() not in FILLED}
    letters = dict(zip(texts, ascii_uppercase, strict=False))
    right = [name.strip() for name in raw["correct_answer"].split(",")]
    if len(right) > 1 and {*right} <= {*texts}:
        raise Refused(Reason.NOT_A_TARGET, "several right answers", question)
    if not 2 <= len(texts) <= len(ascii_uppercase) or right[0] not in letters:
        detail = f"answer {raw['correct_answer']!r} is not among {', '.join(texts)}"
        raise Refused(Reason.ANSWER_NOT_IN_OPTIONS, detail, question)
    return {letters[name]: text for name, text in texts.items()}, letters[right[0]]


def _lines(text: str) -> str:
    """A text without the blank lines and the padding that the form left."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _said(text: str) -> str:
    """A rationale; "" where the cell says that there is none."""
    return "" if re.sub(r"[\s.]+", "", text).casefold() in NO_ANSWER else _lines(text)


def raw_texts(item: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of a question, for `check --against-raw`."""
    words = [item["prompt"] if item["question_type"] == "consumer_queries" else ""]
    words.append(item["question_clean"])
    found = {"output": item["answer_rationale"]}
    if item["question_type"] == "mcq":
        try:
            given = json.loads(item["answer_options"])
        except ValueError:
            return  # no row comes of it either
        shown = [text for text in given.values() if text.casefold() != "n/a"]
        words += [f"{label}: {text}" for label, text in zip("ABCDE", shown, strict=False)]
        found = {}
    yield item["sample_id"], {"input": "\n".join(words), **found}


SOURCE = Source(
    name=NAME,
    title="AfriMed-QA (training split)",
    homepage=HOMEPAGE,
    citation=(
        "Olatunji et al., AfriMed-QA: A Pan-African, Multi-Specialty, Medical Question-Answering "
        "Benchmark Dataset, ACL 2025, arXiv:2411.15640"
    ),
    license="cc-by-nc-sa-4.0",
    free_text=True,
    license_note=(
        "The authors' repository and their first place on the Hub say CC BY-NC-SA 4.0; a later "
        "copy on the Hub is said to be CC BY 4.0. The stricter one is taken here."
    ),
    upstream=Origin(
        files=(
            File(
                "afri_med_qa_15k_v2.5_phase_2_15275.csv",
                url="hf://datasets/afrimedqa/afrimedqa_v2@main/afri_med_qa_15k_v2.4_phase_2_15275.csv",
                also=("afri_med_qa_15k_v2.4_phase_2_15275.csv",),
                by_hand="the first place on the Hub, intronhealth/afrimedqa_v2, asks who you are",
            ),
        ),
        read=delimited.with_header(COLUMNS),
        convert=convert,
        expected_rows=15_275,
        raw_texts=RawTexts(raw_texts),
    ),
    provenance=Provenance(
        text_sources=("medical schools", "crowd workers"),
        arxiv="https://arxiv.org/abs/2411.15640",
        github=HOMEPAGE,
        derived=("AfriMed-QA",),
    ),
    notes=("Rows of the test split are an exam and are set aside; not for commercial use.",),
)
