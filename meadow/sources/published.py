"""The 2023 release as an origin: JSON arrays of {instruction, input, output}, repaired.

Who has no Anki deck, no metadata dump and no budget for a language model still gets the whole mix.
What can be put right after the fact is put right and counted: spacing, options printed as a Python
dictionary, empty fields, repeated rows. What cannot (a label that is wrong, a paragraph that was
cut) is left to origin upstream. Where the release kept all that upstream says, its rows are turned
back into upstream's form and go through upstream's own converter, so that both origins give a row
the same id.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from meadow.readers import json_rows
from meadow.schema import Raw, Reason, Record, Reject, Style, Task, make_record
from meadow.source import Converter, File, Options, Origin, RawTexts

OWNER = "medalpaca"
PAPER_ARXIV = "https://arxiv.org/abs/2304.08247"
REPHRASED_BY = "gpt-3.5-turbo"
"""The model that the 2023 project names for the texts that it did not take as they were."""
_FIELDS = ("instruction", "input", "output")
_QUESTION = re.compile(r"Q:(?P<question>.*)\? ?\n(?P<options>[{\[].*[}\]]),?\s*", re.DOTALL)
_ANSWER = re.compile(r"([A-Z])\s*:\s*(.*)", re.DOTALL)
_RUNS = re.compile(r"(?<=\S) {2,}")
_SPACE_BEFORE_MARK = re.compile(r"(?<=\w) +(?=[?!.,;:](?:\s|$))")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row of the release: where it stands and its three texts, as they are."""

    where: str
    instruction: str
    input: str
    output: str


def published_origin(
    repository: str,
    name: str,
    convert: Converter,
    *,
    revision: str = "main",
    sha256: str | None = None,
    size: int | None = None,
    rows: int | None = None,
    raw_texts: RawTexts | str = "the rows of the 2023 release are not read a second time",
) -> Origin:
    """The origin for one repository of the release.

    Args:
        repository: Its name on the Hub, below `medalpaca`.
        name: The JSON file in it.
        convert: Its converter.
        revision: The commit, where one is known; the hash or the lock file pins the content.
        sha256: The known hash of the file.
        size: Its known size in bytes.
        rows: How many rows the release states.
        raw_texts: As in `Origin`.
    """
    file = File(
        name,
        url=f"hf://datasets/{OWNER}/{repository}@{revision}/{name}",
        sha256=sha256,
        size=size,
    )
    return Origin(
        files=(file,),
        read=json_rows.read_array,
        convert=convert,
        expected_rows=rows,
        detect=json_rows.starts_with_2023_row,
        raw_texts=raw_texts,
    )


def question_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a question and its answer, for `check --against-raw`."""
    yield None, {"input": unquote(item["input"]), "output": item["output"]}


def published_row(raw: Raw) -> PublishedRow | Reject:
    """The row's three texts; a field that is missing, no text or empty makes it a reject.

    An empty instruction is no fault: the converters write their own in style `meadow`.
    """
    where = str(raw["_where"])
    for name in _FIELDS:
        if not isinstance(raw.get(name), str):
            return Reject(where, Reason.MISSING_FIELD, f"{name} is no text", str(dict(raw)))
    row = PublishedRow(where, *(raw[name] for name in _FIELDS))
    if not row.output.strip():
        return Reject(where, Reason.EMPTY_OUTPUT, "the output is empty", row.input)
    if not row.input.strip():
        return Reject(where, Reason.EMPTY_INPUT, "the input is empty", row.output)
    return row


def repair_spacing(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without runs of spaces and spaces before marks; the names of what was repaired."""
    repairs = []
    single = _RUNS.sub(" ", text)
    if single != text:
        repairs.append("double_space")
    closed = _SPACE_BEFORE_MARK.sub("", single)
    if closed != single:
        repairs.append("space_before_mark")
    return closed, tuple(repairs)


def parse_multiple_choice(row: PublishedRow) -> dict[str, Any] | Reject:
    """A question of the release as MedQA's own row: question, options, answer, answer_idx.

    The options stand in the input as Python prints a dictionary; they are parsed as a literal,
    nothing is evaluated.
    """
    found = _QUESTION.fullmatch(row.input)
    answer = _ANSWER.fullmatch(row.output.strip())
    if not found or not answer:
        return Reject(
            row.where, Reason.BAD_VALUE, "not in the layout Q:... {options}", row.input[-500:]
        )
    try:
        options = ast.literal_eval(found["options"])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        detail = f"the options are no Python literal: {type(error).__name__}"
        return Reject(row.where, Reason.BAD_VALUE, detail, found["options"])
    if isinstance(options, list):
        options = {chr(ord("A") + index): option for index, option in enumerate(options[:26])}
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        detail = "the options are no dictionary of letters"
        return Reject(row.where, Reason.BAD_VALUE, detail, found["options"])
    return {
        "_where": row.where,
        "question": found["question"],
        "options": {key: str(option) for key, option in options.items()},
        "answer_idx": answer[1],
        "answer": answer[2],
    }


def question_converter(
    source: str, instruction: str, *, license: str, rephrased_by: str | None = None
) -> Converter:
    """A converter for rows whose input is a question and whose output is its answer.

    Args:
        source: The source's name.
        instruction: The instruction of style `meadow`; style `2023` keeps the row's own.
        license: The licence of the rows.
        rephrased_by: The model that had put them into words.
    """

    def convert(raw: Raw, options: Options) -> Iterator[Record | Reject]:
        row = published_row(raw)
        if isinstance(row, Reject):
            yield row
            return
        as_published = options.style is Style.PUBLISHED_2023
        question, repairs = repair_spacing(row.input.strip())
        answer, more = repair_spacing(row.output.strip())
        yield make_record(
            source=source,
            key=(row.input, row.output),
            instruction=row.instruction if as_published else instruction,
            input=row.input if as_published else question,
            output=row.output if as_published else answer,
            task=Task.OPEN_QA,
            license=license,
            rephrased_by=rephrased_by,
            repairs=() if as_published else (*repairs, *more),
        )

    return convert
