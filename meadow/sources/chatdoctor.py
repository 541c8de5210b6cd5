"""ChatDoctor's dialogues (Li et al. 2023): GenMedGPT-5k, HealthCareMagic-100k and iCliniq.

Three parts with one layout, as JSON arrays or as Parquet; iCliniq has three answers to a question,
of which the doctor's own is taken. GenMedGPT was written by a language model, the others come from
question services, so their texts begin with greetings and end with signatures: style `meadow`
removes both. The licence file is Apache 2.0, and the README forbids commercial and clinical use:
the rows are built for local use and stay out of publishable folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from meadow.readers import json_array
from meadow.readers.parquet import is_parquet, read_rows
from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Count2023, File, Input, Options, Origin, Provenance, Source

# Greetings and signatures of letters: what stands around an answer and says nothing.
#
# Only whole sentences at the two ends go, and only such as name the service, thank for the
# question,
# promise help or take leave. Every pattern is anchored and bounded, so that the cost is linear; a
# text that is nothing but courtesies stays as it is. Names that remain are `meadow.text.privacy`'s
# business.


_SERVICE = r"(?:chat ?doctor|health ?care ?magic|icliniq|forum|quer(?:y|ies)|questions?|concerns?)"
_OPENINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:hi|hello|hey|dear|greetings|good (?:morning|afternoon|evening|day))\b"
        r"(?:[ ,]+(?:there|doctor|dr|doc|sir|madam|mam|friend|user|patient))*[ ]*[.,!:]+\s*",
        r"(?:hi|hello),? (?=(?:thanks?|thank you|welcome)\b)",
        rf"(?:many )?(?:thanks?|thank you)\b[^.!?\n]{{0,80}}\b{_SERVICE}\b[^.!?\n]{{0,80}}[.!,]+"
        r"\s*",
        rf"welcome (?:back )?to\b[^.!?\n]{{0,60}}\b{_SERVICE}\b[^.!?\n]{{0,40}}[.!,]+\s*",
        r"(?:i (?:have |had )?(?:just )?(?:gone|went|read) through|i have (?:read|reviewed|seen))"
        rf"\b[^.!?\n]{{0,40}}\b{_SERVICE}\b[^.!?\n]{{0,60}}[.!]+\s*",
        r"(?:i|we) (?:can )?understand your (?:concerns?|worr(?:y|ies))[.!]+\s*",
    )
)
_CLOSINGS = tuple(
    re.compile(pattern + r"$", re.IGNORECASE)
    for pattern in (
        r"(?:^|(?<=[.!?\n]))\s*(?:i |we )?hope\b[^.!?\n]{0,60}\b(?:help|answer|query|question|"
        r"useful|clear|satisf)[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:if you (?:have|need)|please (?:do not|don'?t|feel)|feel free|"
        r"(?:kindly )?let me know|do not hesitate|kindly)\b[^.!?\n]{0,120}\b(?:quer|question|ask|"
        r"writ|contact|clarif|hesitat|help)[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:i )?wish(?:ing)? you\b[^.!?\n]{0,80}[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:take care|get well soon|have a (?:nice|good|great) day|all the "
        r"best)[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*(?:(?:with )?(?:(?:best|kind|warm) )?regards|best wishes|sincerely|"
        r"yours (?:sincerely|truly)|thanks and regards|thanks|thank you)[.,!]*"
        r"(?:\s*[,-]?\s*(?:dr\b\.?|doctor\b|chat ?doctor\b)?"
        r"(?-i:(?:[ .,]*[A-Z][\w.'-]{0,20}){0,4}))?[.,!]*\s*",
        r"(?:^|(?<=[.!?\n]))\s*(?:chat ?doctor|health ?care ?magic|icliniq)[.!]*",
        r"(?:^|(?<=[.!?\n]))\s*for (?:more|further) (?:information|queries)\b[^\n]{0,120}-->"
        r"[^\n]{0,160}",
    )
)
_REACH = 500
"""How far from the end a closing may begin."""
_MINIMUM = 20
"""Characters that must remain for the courtesies to go."""


def strip_courtesies(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without greetings at its beginning and leave-taking at its end; what was removed."""
    body = text.strip()
    opened = _repeat(body, _without_opening)
    closed = _repeat(opened, _without_closing)
    if len(closed) < _MINIMUM:
        return text, ()
    repairs = []
    if opened != body:
        repairs.append("removed_greeting")
        closed = closed[0].upper() + closed[1:]
    if len(closed) < len(opened):
        repairs.append("removed_signature")
    return closed, tuple(repairs)


def _repeat(text: str, step: Callable[[str], str]) -> str:
    for _ in range(8):
        shorter = step(text)
        if shorter == text:
            return text
        text = shorter
    return text


def _without_opening(text: str) -> str:
    for pattern in _OPENINGS:
        if found := pattern.match(text):
            return text[found.end() :]
    return text


def _without_closing(text: str) -> str:
    start = max(0, len(text) - _REACH)
    tail = text[start:]
    for pattern in _CLOSINGS:
        if found := pattern.search(tail):
            return _without_end(text[: start + found.start()])
    return text


def _without_end(text: str) -> str:
    """The text without white space (of any kind) and commas at its end, in whatever order."""
    while (shorter := text.rstrip().rstrip(",")) != text:
        text = shorter
    return text


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
            else json_array.read([item], options)
        )
        for row in rows:
            yield row if isinstance(row, Reject) else {**row, "part": part}


def part_of(label: str) -> str:
    """The part that a file name stands for; "" where it says nothing."""
    name = label.lower().replace("-", "").replace("_", "")
    if "healthcaremagic" in name:
        return HEALTHCAREMAGIC
    return ICLINIQ if "icliniq" in name else ""


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One exchange -> one record; names in it are the cleaner's business."""
    where = str(raw["_where"])
    is_icliniq = raw.get("answer_icliniq") is not None
    question: Any = raw.get("input")
    answer: Any = raw.get("answer_icliniq") if is_icliniq else raw.get("output")
    if not isinstance(question, str) or not isinstance(answer, str):
        yield Reject(where, Reason.MISSING_FIELD, "needs a question and an answer", str(raw))
        return
    if not question.strip() or not answer.strip():
        reason = Reason.EMPTY_OUTPUT if question.strip() else Reason.EMPTY_INPUT
        yield Reject(where, reason, "an empty question or answer", question or answer)
        return
    old = options.style is Style.PUBLISHED_2023
    asked, repairs = (question, ()) if old else strip_courtesies(question)
    told, more = (answer, ()) if old else strip_courtesies(answer)
    instruction = raw.get("instruction")
    if not isinstance(instruction, str) or not instruction.strip():
        instruction = INSTRUCTION_2023
    yield make_record(
        source=NAME,
        key=(question, answer),
        subset=ICLINIQ if is_icliniq else raw.get("part") or GENMEDGPT,
        instruction=instruction if old else INSTRUCTION,
        input=asked,
        output=told,
        task=Task.DIALOGUE,
        license="chatdoctor-research",
        repairs=(*repairs, *more),
    )


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
    ),
    markup=False,
    greetings=True,
    refuse=frozenset({Reason.TOO_SHORT}),
    provenance=Provenance(
        "ChatDoctor: A Medical Chat Model Fine-Tuned on LLaMA Using Medical Domain Knowledge",
        ("HealthCareMagic", "iCliniq", "text generated by ChatGPT"),
        "https://arxiv.org/abs/2303.14070",
        "https://github.com/Kent0n-Li/ChatDoctor",
        generated=("OpenAI ChatGPT",),
        note="The file is Apache 2.0, the README forbids commercial and clinical use.",
    ),
    counts_2023=(
        Count2023(
            "Never published by Medical Meadow; its licence forbids it, so it is local only.",
            mix=10_000,
        ),
    ),
    notes=("iCliniq has three answers to a question; the doctor's own is taken.",),
)
