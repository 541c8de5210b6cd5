"""MedQA: USMLE-style questions with five options (Jin et al. 2021), one JSON object a line.

Only the training split belongs in a corpus: dev and test are exams. About one question in seven
holds line breaks (laboratory tables), which stay; about one in ten ends in a quotation mark of the
spreadsheet that it came through. The key order varies between files, and a later file adds
`metamap_phrases`, which is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meadow.prompt import EXAM_INSTRUCTION, exam_input
from meadow.readers import json_rows
from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Count2023, File, Options, Origin, Provenance, RawTexts, Source
from meadow.sources.published import parse_multiple_choice, published_origin, published_row

NAME = "medqa"
INSTRUCTION_2023 = "Please answer with one of the option in the bracket"
MAX_OPTIONS = 10


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One question -> one record; `meta` keeps the options, the letter and the USMLE step."""
    where = raw["_where"]
    question, choices, letter = raw.get("question"), raw.get("options"), raw.get("answer_idx")
    if not isinstance(question, str) or not isinstance(choices, dict) or not choices:
        yield Reject(where, Reason.MISSING_FIELD, "needs question and options", str(raw))
        return
    if not all(isinstance(text, str) and text.strip() for text in choices.values()):
        yield Reject(where, Reason.BAD_VALUE, "an option is not a text", str(choices))
        return
    if not isinstance(letter, str) or letter not in choices or len(choices) > MAX_OPTIONS:
        detail = f"answer {letter!r} is not among {', '.join(choices)}"
        yield Reject(where, Reason.ANSWER_NOT_IN_OPTIONS, detail, question)
        return
    answer = raw.get("answer", choices[letter])
    if not isinstance(answer, str) or answer.strip() != choices[letter].strip():
        detail = f"answer text {answer!r} is not option {letter}: {choices[letter]!r}"
        yield Reject(where, Reason.ANSWER_NOT_IN_OPTIONS, detail, question)
        return
    trimmed = {label: text.strip() for label, text in choices.items()}
    key = (question, *(f"{label}\x1e{trimmed[label]}" for label in sorted(trimmed)))
    repairs = []
    if trimmed != choices:
        repairs.append("trimmed_option")
    if options.style is Style.PUBLISHED_2023:
        instruction, output = INSTRUCTION_2023, f"{letter}: {choices[letter]}"
        text = f"Q:{question}? \n{choices!r},"
        repairs.clear()
    else:
        shown = {label: without_stray_quotes(text) for label, text in trimmed.items()}
        asked = without_stray_quotes(question)
        if shown != trimmed or asked != question.strip():
            repairs.append("stray_quotation_mark")
        trimmed = shown
        instruction, output = EXAM_INSTRUCTION, f"{letter}: {shown[letter]}"
        text = exam_input(asked, list(shown.items()))
    yield make_record(
        source=NAME,
        key=key,
        instruction=instruction,
        input=text,
        output=output,
        task=Task.MULTIPLE_CHOICE,
        license="mit",
        meta={"options": trimmed, "answer": letter, "exam": raw.get("meta_info")},
        repairs=repairs,
    )


_DOUBLED = re.compile(r'"{2,}')


def without_stray_quotes(text: str) -> str:
    """The text without what a spreadsheet's quotation left of it.

    Upstream has options that go on with a line of one quotation mark, quotations in three marks,
    and questions that end in `?"`.

    >>> without_stray_quotes('Which drug?"'), without_stray_quotes('He says "no."')
    ('Which drug?', 'He says "no."')
    """
    text = _DOUBLED.sub('"', text.strip()).replace('?"\n"', "?\n")
    # quotations of upstream open with one kind and close with another
    unpaired = (text.count('"') + text.count("”") - text.count("“")) % 2
    return text[:-1].rstrip() if unpaired and text.endswith('"') else text


def convert_published(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """A row of the 2023 release, turned back into upstream's form: the same id in both origins."""
    row = published_row(raw)
    question = row if isinstance(row, Reject) else parse_multiple_choice(row)
    if isinstance(question, Reject):
        yield question
        return
    yield from convert(question, options)


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a question, for `check --against-raw`."""
    choices = "".join(f"\n{label}: {text}" for label, text in item["options"].items())
    letter = item["answer_idx"]
    yield None, {"input": item["question"] + choices, "output": f"{letter}: {item['answer']}"}


SOURCE = Source(
    name=NAME,
    title="MedQA (USMLE, five options)",
    homepage="https://github.com/jind11/MedQA",
    citation=(
        "Jin et al., What Disease does this Patient Have? A Large-scale Open Domain Question "
        "Answering Dataset from Medical Exams, Applied Sciences 11(14), 2021"
    ),
    license="mit",
    free_text=False,
    license_note=(
        "MIT covers the repository; the questions come from third parties, and whether it covers "
        "them too is an open question there."
    ),
    disputed="https://github.com/jind11/MedQA/issues/19",
    upstream=Origin(
        files=(
            File(
                "data_clean.zip",
                url="hf://datasets/bigbio/med_qa@main/data_clean.zip",
                member="data_clean/questions/US/train.jsonl",
                also=("train.jsonl", "questions/US/train.jsonl"),
                by_hand="the original is a Google Drive archive linked from the homepage",
            ),
        ),
        read=json_rows.read_lines,
        convert=convert,
        expected_rows=10_178,
        raw_texts=RawTexts(raw_texts),
    ),
    published=published_origin(
        "medical_meadow_medqa",
        "medical_meadow_medqa.json",
        convert_published,
        sha256="d3560996c999108bca3b6b9b842ee53b37d8bf66dd5b3c8986384c9b91ae7dab",
        size=10_671_799,
        rows=10_178,
    ),
    provenance=Provenance(
        text_sources=("medical board examinations",),
        arxiv="https://arxiv.org/abs/2009.13081",
        github="https://github.com/jind11/MedQA",
        derived=("MedQA",),
    ),
    counts_2023=(
        Count2023(
            "Missing from the README's table, which prints MedQA's count beside health advice.",
            published=10_178,
        ),
    ),
    version=2,
    notes=("Only train belongs in a corpus; dev and test are exam items.",),
)
