"""Stanford Alpaca (Taori et al. 2023): general instructions, written by a language model.

Only for the Alpaca baselines: the licence excludes commercial use, and the rows are not medical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meadow.readers import json_rows
from meadow.schema import Author, Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import File, Options, Origin, Provenance, RawTexts, Source

NAME = "alpaca"
HOMEPAGE = "https://github.com/tatsu-lab/stanford_alpaca"
LICENSE = "cc-by-nc-4.0"
# What the model that wrote the rows put where a task needs no input.
_NO_INPUT = frozenset({"<noinput>", "noinput", "none", "n/a"})


def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
    """One row -> one record; the instruction is the task itself and stays in both styles."""
    where = str(raw["_where"])
    texts = [raw.get("instruction"), raw.get("input", ""), raw.get("output")]
    if not all(isinstance(text, str) for text in texts):
        yield Reject(where, Reason.MISSING_FIELD, "needs instruction, input, output", str(raw))
        return
    instruction, given, answer = (str(text) for text in texts)
    if not instruction.strip():
        yield Reject(where, Reason.EMPTY_INPUT, "no instruction", answer)
        return
    if not answer.strip():
        yield Reject(where, Reason.EMPTY_OUTPUT, "no output", instruction)
        return
    old = options.style is Style.PUBLISHED_2023
    placeholder = not old and given.strip().casefold().rstrip(".") in _NO_INPUT
    yield make_record(
        source=NAME,
        key=(instruction, given, answer),
        instruction=instruction if old else instruction.strip(),
        input=given if old else "" if placeholder else given.strip(),
        output=answer if old else answer.strip(),
        task=Task.INSTRUCTION,
        license=LICENSE,
        url=HOMEPAGE,
        authors=(Author("Stanford Alpaca", HOMEPAGE),),
        repairs=("input_placeholder",) if placeholder else (),
    )


def raw_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a row, for `check --against-raw`."""
    yield None, {name: item.get(name, "") for name in ("instruction", "input", "output")}


SOURCE = Source(
    name=NAME,
    title="Stanford Alpaca",
    homepage=HOMEPAGE,
    citation="Taori et al., Stanford Alpaca: An Instruction-following LLaMA model, 2023",
    license=LICENSE,
    free_text=False,
    license_note="Non-commercial; the outputs come from text-davinci-003.",
    upstream=Origin(
        files=(
            File(
                "alpaca_data.json",
                url=(
                    "https://raw.githubusercontent.com/tatsu-lab/stanford_alpaca/main/"
                    "alpaca_data.json"
                ),
                also=("*.json", "*.json.gz"),
            ),
        ),
        read=json_rows.read_array,
        convert=convert,
        raw_texts=RawTexts(raw_texts, repairs={"input_placeholder": r"input: \|.* → \|"}),
        expected_rows=52_002,
    ),
    provenance=Provenance(
        text_sources=("text-davinci-003",),
        github="https://github.com/tatsu-lab/stanford_alpaca",
        creators=("Stanford University",),
        generated=("OpenAI text-davinci-003",),
    ),
    notes=("For the Alpaca baselines only; never in a publishable mix.",),
)
