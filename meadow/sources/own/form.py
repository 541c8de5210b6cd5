"""What a source's TOML file may say: data, with no key that is not known.

docs/own-source.md explains every key with examples. A field that takes a text with columns in it is
a `Text`; it is taken apart when the file is read, so that an open brace is told at once.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from meadow.config import Settings
from meadow.licenses import LICENSES
from meadow.prompt import EXAM_INSTRUCTION
from meadow.schema import Reason, Task
from meadow.sources.own.template import parse

Format = Literal["csv", "jsonl", "json", "parquet"]
OPTIONS = ("options", "answer", "answer_label", "answer_text", "options_as_python")
"""The fields that [options] makes."""
_FIRST_WORD = re.compile(r"[a-z][a-z0-9_]{1,60}")


def _template(text: str) -> str:
    parse(text)
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _address(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s<>\"'\\]+", text):
        raise ValueError("should be an address that begins with https://")
    return text


Text = Annotated[str, AfterValidator(_template)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Address = Annotated[str, AfterValidator(_address)]
Texts = tuple[Text, ...]
Flag = Annotated[frozenset[Literal["too_short", "link_only"]], PlainSerializer(sorted)]


class RawFile(Settings):
    """[[files]]: a raw file, and where it can be had; see `meadow.source.File`."""

    name: str = Field(min_length=1)
    url: str | None = Field(default=None, pattern=r"^(https?://|hf://)")
    subset: str = ""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    size: int | None = None
    max_size: int = 2 * 1024**3
    optional: bool = False
    member: str | None = None
    also: tuple[str, ...] = ()
    by_hand: str = ""


class Read(Settings):
    """[read]: how the files are read.

    Args:
        format: csv (with a header, unless `columns` names them), jsonl (an object a line), json
            (a list of objects) or parquet.
        delimiter: Of CSV.
        encoding: Of CSV.
        columns: The columns of a CSV without a header.
        rows: Of JSON: the way to the list where it is not the whole file; "*" where the file is
            one object whose values are the rows (their keys are then the column `_key`). Before
            the end a "*" goes into every value, whose own facts its rows have too: `exams.*.data`.
        members: Of archives: the rows of every member whose name ends so.
        parse: Columns whose texts are JSON.
    """

    format: Format
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: Literal["utf-8", "cp1252", "latin-1"] = "utf-8"
    columns: tuple[str, ...] = ()
    rows: str = ""
    members: str = ""
    parse: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for key, value, format in (
            ("delimiter", self.delimiter != ",", "csv"),
            ("encoding", self.encoding != "utf-8", "csv"),
            ("columns", self.columns, "csv"),
            ("rows", self.rows, "json"),
        ):
            if value and self.format != format:
                raise ValueError(f"{key} is for format {format!r}, and this is {self.format!r}")
        return self


class Credit(Settings):
    """Who is to be named."""

    name: Text = Field(min_length=1)
    url: Text | None = None
    role: str = "author"


class Row(Settings):
    """[row]: what becomes of a raw row. All texts may hold columns.

    Args:
        id: The upstream id; without one a row is known by its `key`.
        key: The texts that a row is known by: what it asks, and not the label of a classification.
        url: Where a reader finds the original; the source's homepage without one.
        license: The key of a row's own licence, where rows differ.
        authors: Who is to be named; licences such as CC BY ask for it.
    """

    task: Task
    instruction: Text = ""
    input: Text = ""
    output: Text = ""
    id: Text | None = None
    key: Texts = ()
    subset: Text | None = None
    url: Text | None = None
    license: Text | None = None
    authors: tuple[Credit, ...] = ()
    meta: dict[str, Text] = Field(default_factory=dict)


class Options(Settings):
    """[options]: the options of a question, and the right one.

    It makes the fields {options} (each on its line as "A: text"), {answer} ("A: text"),
    {answer_label} and {answer_text}.

    Args:
        columns: The column that holds them (a table, a list of texts, a list of tables), or one
            column an option.
        label: In a list of tables: the key of an option's label.
        text: The key of its text.
        labels: What the options are called; None: a table's own names, else A, B, C ...
        answer: The column that tells the right one.
        answer_is: How: by its label (for columns: the column's name), its text, its index from 0 or
            its number from 1.
        answer_text: A column with the right text, which has to agree.
        drop_empty: Whether an option without a text is left out; else its row is rejected.
    """

    columns: str | tuple[str, ...]
    label: str = ""
    text: str = ""
    labels: str | tuple[str, ...] | None = None
    answer: str
    answer_is: Literal["label", "text", "index", "number"] = "label"
    answer_text: str = ""
    drop_empty: bool = False


class Chat(Settings):
    """[chat]: a conversation in a list of messages; its last exchange is the row.

    Args:
        column: The list.
        role: The key of who speaks.
        content: The key of what is said.
        user: Who counts as the user.
        assistant: Who counts as the assistant.
        system: Whose messages are kept in `meta` under "system", and not in the conversation.
        opening: What becomes of a conversation that the assistant opens: rejected, or its opening
            dropped, which is counted.
    """

    column: str
    role: str = "role"
    content: str = "content"
    user: tuple[str, ...] = ("user", "human", "prompter")
    assistant: tuple[str, ...] = ("assistant", "gpt", "bot")
    system: tuple[str, ...] = ("system",)
    opening: Literal["reject", "drop"] = "reject"


class Label(Settings):
    """[labels.NAME]: a field that is a column's value in words.

    `other` is the text for all values that `texts` has not; without it such a row is rejected.
    """

    column: str
    texts: dict[str, str] = Field(min_length=1)
    other: str | None = None


class Filter(Settings):
    """[[reject]]: rows that are not taken, and why; exactly one test.

    Args:
        column: What is looked at.
        equals: Rejected where it is one of these.
        unless: Rejected where it is none of these.
        matches: Rejected where this is found in it.
        shorter_than: Rejected where it has fewer characters.
        longer_than: Rejected where it has more characters.
        missing: Rejected where it is missing or empty.
        reason: The reason that is counted.
        why: The particulars, for a reader of the quarantine.
    """

    column: str
    equals: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    matches: Pattern = ""
    shorter_than: int | None = None
    longer_than: int | None = None
    missing: bool = False
    reason: Reason = Reason.NOT_A_TARGET
    why: str = ""

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        asked = [
            *(self.equals, self.unless, self.matches, self.missing),
            *(self.shorter_than is not None, self.longer_than is not None),
        ]
        if sum(map(bool, asked)) != 1:
            raise ValueError(
                "one of equals, unless, matches, shorter_than, longer_than and missing is needed"
            )
        if self.reason in _MIX_ONLY:
            raise ValueError(f"reason {self.reason.value} is for what comes after a build")
        return self


_MIX_ONLY = {
    *(Reason.NEAR_DUPLICATE, Reason.CONTAMINATED, Reason.OVER_QUOTA),
    *(Reason.DUPLICATE, Reason.CONFLICT, Reason.EXCLUDED, Reason.ERRATUM),
}


class Repair(Settings):
    """[[repair]]: what is put right in a column before it is used, counted under a name.

    Args:
        column: The column; "options" for each option of [options].
        do: A repair of the house: whitespace (runs of it as one space), escapes (characters that a
            program wrote by their numbers) or quotes (what a spreadsheet left of its own).
        pattern: Else what is replaced wherever it is found.
        replace: By what.
        name: What the repair is counted as; of the house's the names are known.
        always: Whether texts of style 2023 are repaired as well.
        explains: For `check --against-raw`: the difference that the repair makes, as a pattern of
            "column: missing → added".
    """

    column: str
    do: Literal["whitespace", "escapes", "quotes"] | None = None
    pattern: Pattern = ""
    replace: str = ""
    name: str = Field(default="", pattern="^[a-z0-9_]*$")
    always: bool = False
    explains: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.do is None) == (not self.pattern):
            raise ValueError("one of do and pattern is needed")
        if self.pattern and not self.name:
            raise ValueError("name is needed: what the repair is counted as")
        return self


class Example(Settings):
    """[[example]]: a raw row, and what has to become of it; `meadow source check` runs them.

    `row` has fields of the record that it becomes, `reject` the reason where it becomes none.
    """

    raw: dict[str, Any]
    row: dict[str, Any] = Field(default_factory=dict)
    reject: Reason | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if bool(self.row) == (self.reject is not None):
            raise ValueError("one of row and reject is needed: what becomes of it")
        return self


class Facts(Settings):
    """[provenance]: what the rows cannot say; see `meadow.source.Provenance`."""

    text_sources: tuple[str, ...] = ()
    arxiv: Address = ""
    github: Address = ""
    derived: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    published_generated: tuple[str, ...] = ()


class Count(Settings):
    """[[counts_2023]], of the house's own sources: see `meadow.source.Count2023`."""

    why: str
    published: int | None = None
    mix: int | None = None
    paper: int | None = None
    subset: str | None = None


class Style2023(Settings):
    """[style_2023], of the house's own sources: the texts of the 2023 release."""

    instruction: Text = ""
    input: Text = ""
    output: Text = ""


class Release(Settings):
    """[published], of the house's own sources: their rows in the 2023 release.

    `layout` says how one holds the upstream row.
    """

    repository: str
    name: str
    layout: Literal["multiple_choice"]
    sha256: str | None = None
    size: int | None = None
    rows: int | None = None


class OwnFacts(Settings):
    """What a source is, apart from its mapping, in the words of `meadow.source.Source`."""

    name: str
    title: str = Field(min_length=1)
    free_text: bool
    license: str
    license_note: str = ""
    disputed: Address = ""
    homepage: Address = ""
    citation: str = ""
    prose: str = ""
    exam: bool = False
    notes: tuple[str, ...] = ()
    mixed_languages: bool = False
    markup: bool = True
    greetings: bool = False
    refuse: Flag = frozenset()
    provenance: Facts = Facts()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not _FIRST_WORD.fullmatch(self.name):
            raise ValueError("name should be of small letters, digits and _, such as my_clinic")
        if self.license not in LICENSES:
            raise ValueError(
                f"license {self.license!r} is not known; one of {', '.join(LICENSES)} "
                "(user-supplied: of your own; unknown: none is stated)"
            )
        return self


class InstalledSource(OwnFacts):
    """What a folder keeps of a source whose code is in another package: its name and version."""

    package: str
    varies: bool = False


class OwnSource(OwnFacts):
    """A source's TOML file; each of its tables is explained at its class.

    `rewrite` says that its rows are flashcards, which `meadow rephrase` makes questions and answers
    of; it is the instruction that they are asked with then.
    """

    expected_rows: int | None = None
    rewrite: str = ""
    published_refused: str = ""
    files: tuple[RawFile, ...] = ()
    read: Read
    row: Row
    options: Options | None = None
    chat: Chat | None = None
    labels: dict[str, Label] = Field(default_factory=dict)
    reject: tuple[Filter, ...] = ()
    repair: tuple[Repair, ...] = ()
    example: tuple[Example, ...] = ()
    style_2023: Style2023 = Style2023()
    published: Release | None = None
    counts_2023: tuple[Count, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        known = LICENSES[self.license]
        if known.attribution and not self.row.authors:
            raise ValueError(
                f'{self.license} asks for attribution: in [row], authors = [{{ name = "..." }}]'
            )
        if known.attribution and not (self.row.url or self.homepage):
            raise ValueError(
                f"{self.license} asks for attribution: say in row.url or homepage where"
            )
        if self.chat is not None:
            if self.row.input or self.row.output or self.row.instruction:
                raise ValueError("[chat] makes instruction, input and output: take them out of row")
            if self.row.task is not Task.DIALOGUE:
                raise ValueError('[chat] makes conversations: row.task is "dialogue"')
        elif not self.row.output:
            raise ValueError("row.output is missing: the column that holds the answer")
        elif not self.asked:
            raise ValueError("row.instruction is missing: what a model is asked to do")
        if self.options is None and self.row.task is Task.MULTIPLE_CHOICE:
            raise ValueError("row.task multiple_choice needs [options]")
        return self

    @property
    def asked(self) -> str:
        """The instruction; the house's own for multiple choice."""
        fallback = EXAM_INSTRUCTION if self.row.task is Task.MULTIPLE_CHOICE else ""
        return self.row.instruction or fallback
