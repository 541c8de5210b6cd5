"""ChatDoctor's dialogues (Li et al. 2023): GenMedGPT-5k, HealthCareMagic-100k and iCliniq.

Three parts with one layout, as JSON arrays or as Parquet; iCliniq has three answers to a question,
of which the doctor's own is taken. GenMedGPT was written by a language model, the others come from
question services, so their texts begin with greetings and end with signatures: style `meadow`
removes both, by a closed list of forms, and keeps in `meta` what it removed. The licence file is
Apache 2.0, and the README forbids commercial and clinical use: the rows are built for local use and
stay out of publishable folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from meadow.readers import json_rows
from meadow.readers.parquet import is_parquet, read_rows
from meadow.schema import Raw, Reason, Record, Refused, Reject, Style, Task, make_record, one_record
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, RawTexts, Source

NAME = "chatdoctor"
INSTRUCTION = "Answer the patient's question as a careful doctor would."
INSTRUCTION_2023 = (
    "If you are a doctor, please answer the medical questions based on the patient's description."
)
GENMEDGPT, HEALTHCAREMAGIC, ICLINIQ = "genmedgpt", "healthcaremagic", "icliniq"
_OPTIONAL = ("instruction", "output", "answer_icliniq", "answer_chatgpt", "answer_chatdoctor")


def read(inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject]:
    """The rows of each file with the part that they belong to."""
    for item in inputs:
        part = item.subset or part_of(item.label)
        rows: Iterator[Raw | Reject] = (
            read_rows(item, ("input",), _OPTIONAL)
            if is_parquet(item.path)
            else json_rows.read_array([item], options)
        )
        for row in rows:
            yield row if isinstance(row, Reject) else {**row, "part": part}


def part_of(label: str) -> str:
    """The part that a file name stands for; "" where it says nothing."""
    name = label.lower().replace("-", "").replace("_", "")
    if "healthcaremagic" in name:
        return HEALTHCAREMAGIC
    return ICLINIQ if "icliniq" in name else ""


@one_record
def convert(raw: Raw, options: Options) -> Record:
    """One exchange -> one record; greetings and names in it are the cleaner's business."""
    is_icliniq = raw.get("answer_icliniq") is not None
    question: Any = raw.get("input")
    answer: Any = raw.get("answer_icliniq") if is_icliniq else raw.get("output")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise Refused(Reason.MISSING_FIELD, "needs a question and an answer", str(raw))
    if not question.strip() or not answer.strip():
        reason = Reason.EMPTY_OUTPUT if question.strip() else Reason.EMPTY_INPUT
        raise Refused(reason, "an empty question or answer", question or answer)
    old = options.style is Style.PUBLISHED_2023
    instruction = raw.get("instruction")
    if not isinstance(instruction, str) or not instruction.strip():
        instruction = INSTRUCTION_2023
    return make_record(
        source=NAME,
        key=(question, answer),
        subset=ICLINIQ if is_icliniq else raw.get("part") or GENMEDGPT,
        instruction=instruction if old else INSTRUCTION,
        input=question if old else question.strip(),
        output=answer if old else answer.strip(),
        task=Task.DIALOGUE,
        license="chatdoctor-research",
    )


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of an exchange, for `check --against-raw`."""
    yield None, {"input": item["input"], "output": item.get("answer_icliniq") or item["output"]}


SOURCE = Source(
    name=NAME,
    title="ChatDoctor dialogues",
    homepage="https://github.com/Kent0n-Li/ChatDoctor",
    citation=(
        "Li et al., ChatDoctor: A Medical Chat Model Fine-Tuned on a Large Language Model Meta-AI "
        "(LLaMA) Using Medical Domain Knowledge, Cureus 15(6), 2023"
    ),
    license="chatdoctor-research",
    free_text=True,
    license_note="Apache 2.0 file; the README forbids commercial and clinical use.",
    upstream=Origin(
        files=(
            File(
                "chatdoctor5k.json",
                url=(
                    "https://raw.githubusercontent.com/Kent0n-Li/ChatDoctor/main/chatdoctor5k.json"
                ),
                also=("GenMedGPT-5k.json",),
                optional=True,
            ),
            File(
                "HealthCareMagic-100k.parquet",
                url=(
                    "hf://datasets/lavita/ChatDoctor-HealthCareMagic-100k@main/data/"
                    "train-00000-of-00001-5e7cb295b9cff0bf.parquet"
                ),
                also=("HealthCareMagic*",),
                subset=HEALTHCAREMAGIC,
                optional=True,
            ),
            File(
                "iCliniq.parquet",
                also=("iCliniq*", "icliniq*"),
                subset=ICLINIQ,
                optional=True,
                by_hand="the Parquet file of the Hub data set lavita/ChatDoctor-iCliniq",
            ),
        ),
        read=read,
        convert=convert,
        raw_texts=RawTexts(raw_texts),
    ),
    markup=False,
    greetings=True,
    refuse=frozenset({Reason.TOO_SHORT}),
    provenance=Provenance(
        text_sources=("HealthCareMagic", "iCliniq", "text generated by ChatGPT"),
        arxiv="https://arxiv.org/abs/2303.14070",
        github="https://github.com/Kent0n-Li/ChatDoctor",
        generated=("OpenAI ChatGPT",),
    ),
    counts_2023=(
        Count2023(
            "Never published by Medical Meadow; its licence forbids it, so it is local only.",
            mix=10_000,
        ),
    ),
    notes=("iCliniq has three answers to a question; the doctor's own is taken.",),
    version=2,
)
