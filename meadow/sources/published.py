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
from typing import Any, NamedTuple
from urllib.parse import unquote

from meadow.readers import json_rows
from meadow.schema import Raw, Reason, Record, Refused, Style, Task, make_record, one_record
from meadow.source import Converter, File, Options, Origin, RawTexts

OWNER = "medalpaca"
PAPER_ARXIV = "https://arxiv.org/abs/2304.08247"
REPHRASED_BY = "gpt-3.5-turbo"
"""The model that the 2023 project names for the texts that it did not take as they were."""
_QUESTION = re.compile(r"Q:(?P<question>.*)\? ?\n(?P<options>[{\[].*[}\]]),?\s*", re.DOTALL)
_ANSWER = re.compile(r"([A-Z])\s*:\s*(.*)", re.DOTALL)
_RUNS = re.compile(r"(?<=\S) {2,}")
_SPACE_BEFORE_MARK = re.compile(r"(?<=\w) +(?=[?!.,;:](?:\s|$))")


class PublishedRow(NamedTuple):
    """The three texts of a row of the release, as they are."""

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
        raw_texts=raw_texts,
    )


def question_texts(item: Any, _: str) -> Iterator[tuple[None, Mapping[str, str]]]:
    """The words of a question and its answer, for `check --against-raw`."""
    yield None, {"input": unquote(item["input"]), "output": item["output"]}


def published_row(raw: Raw) -> PublishedRow:
    """The row's three texts.

    An empty instruction is no fault: the converters write their own in style `meadow`.

    Raises:
        Refused: A field is missing, no text or empty.
    """
    for name in PublishedRow._fields:
        if not isinstance(raw.get(name), str):
            raise Refused(Reason.MISSING_FIELD, f"{name} is no text", str(dict(raw)))
    row = PublishedRow(*(raw[name] for name in PublishedRow._fields))
    if not row.output.strip():
        raise Refused(Reason.EMPTY_OUTPUT, "the output is empty", row.input)
    if not row.input.strip():
        raise Refused(Reason.EMPTY_INPUT, "the input is empty", row.output)
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


def multiple_choice(raw: Raw) -> dict[str, Any]:
    """A question of the release as MedQA's own row: question, options, answer, answer_idx.

    The options stand in the input as Python prints a dictionary; they are parsed as a literal,
    nothing is evaluated.

    Raises:
        Refused: It is in another layout.
    """
    row = published_row(raw)
    found = _QUESTION.fullmatch(row.input)
    answer = _ANSWER.fullmatch(row.output.strip())
    if not found or not answer:
        raise Refused(Reason.BAD_VALUE, "not in the layout Q:... {options}", row.input[-500:])
    try:
        options = ast.literal_eval(found["options"])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        detail = f"the options are no Python literal: {type(error).__name__}"
        raise Refused(Reason.BAD_VALUE, detail, found["options"]) from None
    if isinstance(options, list):
        options = {chr(ord("A") + index): option for index, option in enumerate(options[:26])}
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        detail = "the options are no dictionary of letters"
        raise Refused(Reason.BAD_VALUE, detail, found["options"])
    return {
        "_where": raw["_where"],
        "question": found["question"],
        "options": {key: str(option) for key, option in options.items()},
        "answer_idx": answer[1],
        "answer": answer[2],
    }


def question_converter(source: str, instruction: str, *, license: str, **facts: Any) -> Converter:
    """A converter for rows whose input is a question and whose output is its answer.

    Args:
        source: The source's name.
        instruction: The instruction of style `meadow`; style `2023` keeps the row's own.
        license: The licence of the rows.
        facts: What else `make_record` is told of every row.
    """

    @one_record
    def convert(raw: Raw, options: Options) -> Record:
        row = published_row(raw)
        as_published = options.style is Style.PUBLISHED_2023
        question, repairs = repair_spacing(row.input.strip())
        answer, more = repair_spacing(row.output.strip())
        return make_record(
            source=source,
            key=(row.input, row.output),
            instruction=row.instruction if as_published else instruction,
            input=row.input if as_published else question,
            output=row.output if as_published else answer,
            task=Task.OPEN_QA,
            license=license,
            **facts,
            repairs=() if as_published else (*repairs, *more),
        )

    return convert
