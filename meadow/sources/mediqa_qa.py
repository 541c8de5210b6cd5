"""MEDIQA 2019, task 3: consumer health questions with answers that were judged (XML).

Each answer has a score from 1 (incorrect) to 4 (excellent); 3 (correct but incomplete) and 4 are
kept, the others are rejected as of low rank. The unlabelled test file says nothing about its
answers, so that none of it is used. The name of the set is its root element; question and answer
numbers begin anew in each set. LiveQA's older file calls its elements and attributes otherwise:
both spellings are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.readers.archives import is_archive
from meadow.readers.xml_documents import documents, elements, rows_of_document, text_of
from meadow.schema import (
    Author,
    Fact,
    Raw,
    Reason,
    Record,
    Refused,
    Reject,
    Task,
    make_record,
    one_record,
)
from meadow.source import File, Input, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.medquad import repair_answer

NAME = "mediqa_qa"
HOMEPAGE = "https://github.com/abachaa/MEDIQA2019"
INSTRUCTION = "Answer this question truthfully."
LOWEST_SCORE = 3
_ANSWERS = ("Answer", "ReferenceAnswer", "RefAnswer")
_QUESTION_TEXT = ("QuestionText", "NLM-Summary", "Original-Question", "MESSAGE", "SUBJECT")
_PREFIX = "MEDIQA2019-Task3-QA-"


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
    """Every answer of every question, from plain files or the XML members of an archive."""
    for item in inputs:
        alone = not is_archive(item.path)
        for where, _, stream in documents(item):
            if not alone and "Task3" not in where:
                continue
            yield from rows_of_document(_answers(stream, where), where, alone=alone)


def _answers(stream: Any, where: str) -> Iterator[Raw]:
    for question in elements(stream, "Question"):
        number = _attribute(question, "QID", "qid", "questionid")
        text = next(filter(None, (text_of(question, name) for name in _QUESTION_TEXT)), "")
        set_name = str(question.getroottree().getroot().tag)
        answers = [element for name in _ANSWERS for element in question.iter(name)]
        for position, answer in enumerate(answers, start=1):
            key = _attribute(answer, "AID", "aid") or f"{number}_Answer{position}"
            yield {
                "_where": f"{where}#{key}",
                "set": set_name,
                "key": f"{set_name}/{key}",
                "question": text,
                "answer": text_of(answer, "AnswerText") or text_of(answer, "ANSWER"),
                "url": text_of(answer, "AnswerURL").strip(),
                "score": answer.get("ReferenceScore"),
            }


def _attribute(element: Any, *names: str) -> str:
    return next((element.get(name) for name in names if element.get(name)), "")


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One answer -> one record where its score is 3 or 4."""
    score = raw["score"]
    question, answer = " ".join(raw["question"].split()), raw["answer"]
    if not question:
        raise Refused(Reason.EMPTY_INPUT, "no question", answer)
    if not answer.strip():
        raise Refused(Reason.EMPTY_OUTPUT, "no answer", question)
    if score is None:
        raise Refused(Reason.NOT_A_TARGET, "the answer was not judged", question)
    if score not in {"1", "2", "3", "4"}:
        raise Refused(Reason.UNKNOWN_LABEL, f"score {score!r} is not one of 1 to 4", question)
    if int(score) < LOWEST_SCORE:
        raise Refused(Reason.LOW_RANK, f"judged {score} of 4", question)
    text, repairs = repair_answer(answer)
    return make_record(
        source=NAME,
        source_id=raw["key"],
        subset=raw["set"].removeprefix(_PREFIX),
        instruction=INSTRUCTION,
        input=question,
        output=text,
        task=Task.OPEN_QA,
        license="unknown",
        url=raw["url"] if raw["url"].startswith(("http://", "https://")) else None,
        authors=(Author("MEDIQA 2019 organisers", HOMEPAGE, "compiler"),),
        meta={"score": int(score)},
        repairs=repairs,
    )


_ADDRESS = "https://raw.githubusercontent.com/abachaa/MEDIQA2019/master/MEDIQA_Task3_QA/"


def raw_texts(root: Any, _: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The words of every question and answer, for `check --against-raw`."""
    for question in root.iter("Question"):
        asked = [question.findtext(f".//{name}") for name in _QUESTION_TEXT]
        number = question.get("QID") or question.get("qid") or question.get("questionid")
        answers = [each for name in _ANSWERS for each in question.iter(name)]
        for position, answer in enumerate(answers, 1):
            key = answer.get("AID") or answer.get("aid") or f"{number}_Answer{position}"
            told = answer.findtext("AnswerText") or answer.findtext("ANSWER") or ""
            texts = {"input": next(filter(None, asked), ""), "output": told}
            yield f"{root.tag}/{key}", texts


SOURCE = Source(
    name=NAME,
    title="MEDIQA 2019 question answering",
    homepage=HOMEPAGE,
    citation=(
        "Ben Abacha, Shivade and Demner-Fushman, Overview of the MEDIQA 2019 Shared Task on "
        "Textual Inference, Question Entailment and Question Answering, BioNLP 2019"
    ),
    license="unknown",
    free_text=False,
    license_note="The repository states no licence.",
    upstream=Origin(
        files=tuple(
            File(f"{_PREFIX}{part}.xml", url=f"{_ADDRESS}{_PREFIX}{part}.xml", optional=True)
            for part in (
                "TrainingSet1-LiveQAMed",
                "TrainingSet2-Alexa",
                "ValidationSet",
                "TestSet-wLabels",
            )
        ),
        read=read,
        convert=convert,
        raw_texts=RawTexts(raw_texts),
        expected_rows=3_042,
    ),
    provenance=Provenance(
        text_sources=("consumer health web pages",),
        github=HOMEPAGE,
        creators=("U.S. National Library of Medicine",),
    ),
    notes=("A candidate is one answer; answers judged 1 or 2 of 4 are rejected as low_rank.",),
)
