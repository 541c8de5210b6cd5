"""Known errors of exams and training sets, and what is done about each: errata.toml.

A file of errata is TOML with one `[[errata]]` table an error; `Erratum` says what its keys mean. A
question is named by `question_key`, a hash of its words: no exam text stands in such a file. A file
of one's own has the same form, and is used beside the known ones (`--errata FILE`).

Of an exam, the score with the errata applied stands beside the score without. A training row that
holds a faulty question is left out and counted: rows are never rewritten, since their text is
upstream's. The errors of kind `always` are taken care of whatever the option says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from meadow.config import Settings, read_settings
from meadow.errors import UsageError
from meadow.exams.items import ExamItem
from meadow.schema import normalise_key

KNOWN, OFF = "known", "off"
_DOUBLED: Literal["doubled answer"] = "doubled answer"
_OPTION = re.compile(r"\n\(?([A-Z])[.:)] ")
_PUBLISHED = re.compile(r"Q:(.*)\? ?\n[{\[].*", re.DOTALL)
"""A question as the 2023 release prints it."""
_ANSWER = re.compile(r"\(?([A-Z])\b")

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Erratum(Settings):
    """One known error.

    Args:
        name: A name for messages and counts.
        about: The exams and sources that have the error.
        address: Where the error was made public.
        kind: What is wrong.
        done: `left out` (not scored, and no training row), `answer` (scored by the right answer;
            no training row), or `always` (taken care of by the reader, whatever the option says).
        question: Which question, as `question_key`.
        rule: Which questions, where a rule finds them instead.
        answer: The `question_key` of the right option's text.
        note: What one ought to know.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    about: tuple[str, ...] = Field(min_length=1)
    address: Annotated[str, Field(pattern=r"^https?://\S+$")]
    kind: Literal[
        "no case", "doubled option", "wrong key", "no right option", "unclear", "repeated"
    ]
    done: Literal["left out", "answer", "always"]
    question: Key | None = None
    rule: Literal["doubled answer", "scored once", "upstream labels"] | None = None
    answer: Key | None = None
    note: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Erratum:
        if (self.question is None) is (self.rule is None):
            raise ValueError(f"{self.name} needs question or rule, and not both")
        if (self.answer is not None) is not (self.done == "answer"):
            raise ValueError(f"{self.name}: the key answer goes with done = 'answer'")
        return self


class ErrataFile(Settings):
    """A file of errata.

    Args:
        errata: The errors.
    """

    errata: tuple[Erratum, ...] = ()


def question_key(text: str) -> str:
    """32 hexadecimal digits of SHA-256 over a text in lower case, white space run together."""
    words = normalise_key(text).casefold()
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read_errata(given: Sequence[str | Path]) -> tuple[Erratum, ...]:
    """The errata that an option names: nothing or `off`, `known`, or files beside the known ones.

    Raises:
        UsageError: A file has an unknown key or a wrong value, or `off` stands beside others.
        FileError: A file cannot be read.
    """
    if OFF in given and len(given) > 1:
        raise UsageError("--errata off stands beside other errata", fix="leave one of them out")
    if not given or OFF in given:
        return ()
    files = [Path(__file__).with_suffix(".toml"), *(Path(p) for p in given if p != KNOWN)]
    return tuple(erratum for path in files for erratum in read_settings(path, ErrataFile).errata)


def corrections(items: Iterable[ExamItem], errata: Iterable[Erratum]) -> dict[str, tuple[str, str]]:
    """Id of a faulty item -> the erratum's name, and the label of the right option.

    The label is "" where the item is left out, also since no option is the right one.
    """
    faults = {one.question: one for one in errata if one.question and one.done != "always"}
    found = {}
    for item in items if faults else ():
        if one := faults.get(question_key(item.question)):
            right = (label for label, text in item.options if question_key(text) == one.answer)
            found[item.item_id] = (one.name, next(right, ""))
    return found


def row_faults(errata: Iterable[Erratum]) -> dict[str, str]:
    """What `row_fault` looks for: question keys and rules -> the erratum's name."""
    return {
        one.question or str(one.rule): one.name
        for one in errata
        if one.done != "always" and (one.question or one.rule == _DOUBLED)
    }


def described(faults: Iterable[str]) -> dict[str, list[str]]:
    """Faults as settings of a folder say them: those of the known errata, and one's own."""
    known = row_faults(read_errata([KNOWN])).keys()
    return {"known": sorted(known & set(faults)), "own": sorted(set(faults) - known)}


def row_fault(question: str, output: str, faults: Iterable[str]) -> str | None:
    """Which of the faults a training row has; None where it has none.

    Args:
        question: The row's input, or its instruction where that is blank: a question by itself, or
            with its options below, one a line as "A: text", or as the 2023 release prints them.
        output: The row's output.
        faults: Keys of `row_faults`.
    """
    published = _PUBLISHED.fullmatch(question.strip())
    stem, *rest = [published[1]] if published else _OPTION.split(question)
    for text in (question, stem):
        if (key := question_key(text)) in faults:
            return key
    answer = _ANSWER.match(output)
    options = dict(zip(rest[::2], (question_key(text) for text in rest[1::2]), strict=True))
    right = options.get(answer[1]) if answer else None
    doubled = right is not None and list(options.values()).count(right) > 1
    return _DOUBLED if doubled and _DOUBLED in faults else None
