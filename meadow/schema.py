"""The record: the one shape that crosses every stage, and the only place where it is defined.

`id, instruction, input, output` come first and mean what they meant in the 2023 release; the other
columns say where a row comes from and under which licence it may be used. A row that does not make
it is a `Reject` with a `Reason`: a value, never only a log line.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from json import encoder
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
EXCERPT_LENGTH = 500
_quoted: Callable[[str], str] = encoder.encode_basestring
"""A text as JSON."""


class Task(StrEnum):
    """What a record asks of a model.

    >>> str(meadow.Task.OPEN_QA)
    'open_qa'
    """

    OPEN_QA = "open_qa"
    MULTIPLE_CHOICE = "multiple_choice"
    CLASSIFICATION = "classification"
    SUMMARIZATION = "summarization"
    DIALOGUE = "dialogue"
    INSTRUCTION = "instruction"


class Style(StrEnum):
    """Which instruction texts a build uses."""

    MEADOW = "meadow"
    """Clean instructions and repaired text: the default."""
    PUBLISHED_2023 = "2023"
    """The strings of the 2023 release, misspellings included."""


class Reason(StrEnum):
    """Why a candidate row is not in the corpus.

    >>> meadow.Reason.BAD_JSON.malformed, meadow.Reason.DUPLICATE.malformed
    (True, False)

    Malformed input counts towards exit code 3; selection rules, duplicates and conflicts do not.
    """

    # malformed input
    BAD_JSON = "bad_json"
    BAD_CSV = "bad_csv"
    BAD_XML = "bad_xml"
    BAD_ENCODING = "bad_encoding"
    BAD_VALUE = "bad_value"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    LONE_SURROGATE = "lone_surrogate"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    ANSWER_NOT_IN_OPTIONS = "answer_not_in_options"
    UNKNOWN_LABEL = "unknown_label"
    ORPHAN = "orphan"
    """The answer's question (or the reply's parent) is not in the file."""
    # empty upstream
    EMPTY_INPUT = "empty_input"
    EMPTY_OUTPUT = "empty_output"
    # the same again
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The same input under two labels: all rows of the group go."""
    # selection rules
    MEDIA = "media"
    """A field that is used holds an image or a sound."""
    LINK_ONLY = "link_only"
    BOILERPLATE = "boilerplate"
    NO_HEADING_RULE = "no_heading_rule"
    NO_TOPIC = "no_topic"
    NOT_AN_ARTICLE = "not_an_article"
    NOT_A_TARGET = "not_a_target"
    """The row is well-formed but of a kind that this source does not use."""
    LANGUAGE = "language"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TRUNCATED = "truncated"
    HTML_RESIDUE = "html_residue"
    UNREAD_MARKUP = "unread_markup"
    """A template, tag or formula in the text was not understood: without it the text has a hole."""
    LOW_RANK = "low_rank"
    DELETED = "deleted"
    LICENSE = "license"
    EXCLUDED = "excluded"
    """Named in exclude_ids.txt: a takedown request."""
    ERRATUM = "erratum"
    """Holds a question that is known to be faulty, and errata were asked for."""
    # mixing
    NEAR_DUPLICATE = "near_duplicate"
    CONTAMINATED = "contaminated"
    OVER_QUOTA = "over_quota"

    @property
    def malformed(self) -> bool:
        """Whether the reason says that the input itself is broken."""
        return self in _MALFORMED


# the first group above
_MALFORMED = frozenset(list(Reason)[: list(Reason).index(Reason.ORPHAN) + 1])

Raw = Mapping[str, Any]
"""One upstream row as its reader found it, with `_where` (file and line, or row id)."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A candidate that did not become a record.

    >>> meadow.Reject("medqa/train.jsonl:3", meadow.Reason.BAD_JSON).to_json()
    '{"where": "medqa/train.jsonl:3", "reason": "bad_json", "detail": "", "excerpt": ""}'

    Args:
        where: File and line or row id, relative to the raw folder.
        reason: Why.
        detail: The particulars, for a human.
        excerpt: The beginning of the row, at most 500 characters.
    """

    where: str
    reason: Reason
    detail: str = ""
    excerpt: str = ""

    def to_json(self) -> str:
        """One line of `quarantine/<source>.jsonl`."""
        # an encoder for a dictionary takes thrice as long, and a third of a source may be rejects
        detail, excerpt = self.detail[:EXCERPT_LENGTH], self.excerpt[:EXCERPT_LENGTH]
        return (
            f'{{"where": {_quoted(printable(self.where))}, "reason": "{self.reason.value}", '
            f'"detail": {_quoted(printable(detail))}, "excerpt": {_quoted(printable(excerpt))}}}'
        )


class Refused(Exception):
    """A raw row that becomes no record; the arguments are those of its `Reject`, but for where."""

    def __init__(self, reason: Reason, detail: str = "", excerpt: str = "") -> None:
        super().__init__(detail)
        self.reason, self.detail, self.excerpt = reason, detail, excerpt


@dataclass(frozen=True, slots=True)
class Fact:
    """A count that a reader or converter adds to its source's facts; it is no candidate row.

    Args:
        group: What is counted ("posts_read", "images_dropped").
        value: The value within the group ("question").
        count: How many.
    """

    group: str
    value: str
    count: int = 1


class Author(NamedTuple):
    """Who is to be named: what CC BY and CC BY-SA ask for."""

    name: str
    url: str | None = None
    role: str = "author"


class Record(NamedTuple):
    """One instruction example with its provenance.

    >>> from meadow.schema import from_row, make_record
    >>> record = make_record(
    ...     source="anki", source_id="1", instruction="What is anaemia?", output="Too little "
    ...     "haemoglobin.", task=meadow.Task.OPEN_QA, license="user-supplied",
    ... )
    >>> isinstance(record, meadow.Record), len(record.id), record.repairs
    (True, 32, ())

    Make one with `make_record`; `repairs` is not a column: it stands in `meta` under "repairs".
    """

    id: str
    instruction: str
    input: str
    output: str
    source: str
    subset: str | None
    task: Task
    license: str
    """The licence of the answer, as a key of `meadow.licenses.LICENSES`."""
    url: str | None
    authors: tuple[Author, ...]
    source_id: str | None
    """The upstream id; None where upstream has none."""
    rephrased_by: str | None
    """The model that rewrote the text; None where nothing was rewritten by a model."""
    meta: str
    """A JSON object with sorted keys."""

    @property
    def repairs(self) -> tuple[str, ...]:
        """The named repairs that the text went through."""
        if '"repairs"' not in self.meta:
            return ()
        return tuple(json.loads(self.meta).get("repairs", ()))

    def with_text(
        self, *, instruction: str, input: str, output: str, repairs: Iterable[str] = ()
    ) -> Record:
        """The record with other texts, and further repairs noted."""
        found = dict.fromkeys((*self.repairs, *repairs))
        meta = json.loads(self.meta)
        if found:
            meta["repairs"] = list(found)
        return self._replace(
            instruction=instruction, input=input, output=output, meta=dump_meta(meta)
        )


COLUMNS: tuple[str, ...] = Record._fields
DERIVED = ("messages", "reasoning")
"""Columns that a mix can have besides: all that they hold stands in the others."""


Asked = TypeVar("Asked")


def one_record(
    make: Callable[[Raw, Asked], Record],
) -> Callable[[Raw, Asked], Iterator[Record | Reject]]:
    """The converter of a source each of whose rows becomes one record, or is `Refused`."""

    @wraps(make)
    def convert(raw: Raw, options: Asked) -> Iterator[Record | Reject]:
        try:
            yield make(raw, options)
        except Refused as error:
            yield Reject(str(raw["_where"]), error.reason, error.detail, error.excerpt)

    return convert


def make_record(
    *,
    source: str,
    key: Iterable[str] | None = None,
    source_id: str | None = None,
    instruction: str,
    output: str,
    task: Task,
    license: str,
    input: str = "",
    subset: str | None = None,
    url: str | None = None,
    authors: Iterable[Author] = (),
    rephrased_by: str | None = None,
    meta: Mapping[str, Any] | None = None,
    repairs: Iterable[str] = (),
) -> Record:
    """A record whose id is stable: from the upstream id, or from the upstream content.

    `source_id` is the upstream id, unique within the source. Where there is none, `key` has the
    upstream texts that identify the row: not what the converter wrote (instruction texts), so that
    ids survive other styles, nor the label of a classification, so that two labels of one text are
    seen. The other arguments are the columns; `repairs` names the repairs made, in order.
    """
    if source_id is None and key is None:
        raise ValueError(f"{source}: a record needs source_id or key")
    if repaired := list(dict.fromkeys(repairs)):
        meta = {**(meta or {}), "repairs": repaired}
    # by place, in the order of the columns: names take twice as long
    return Record(
        record_id(source, "content", *(key or ()))
        if source_id is None
        else record_id(source, "id", source_id),
        instruction,
        input,
        output,
        source,
        subset,
        task,
        license,
        url,
        tuple(authors),
        source_id,
        rephrased_by,
        dump_meta(meta or {}),
    )


def record_id(source: str, kind: str, *parts: str) -> str:
    """32 hexadecimal digits: 128 bits of SHA-256 over source, kind and the normalised parts."""
    text = "\x1f".join((source, kind, *map(normalise_key, parts)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def normalise_key(text: str) -> str:
    """NFC with runs of white space as one space: what makes two upstream texts the same text."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def dump_meta(meta: Mapping[str, Any]) -> str:
    """`meta` as its column holds it: JSON, sorted keys, no spaces to spare."""
    return "".join(_META(meta, 0))


# `JSONEncoder.encode` without the new encoder that it makes for every object; json's own types do
# not know it
_META: Callable[[Any, int], Sequence[str]] = encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, json.JSONEncoder().default, _quoted, None, ":", ",", True, False, True
)


_SURROGATE = re.compile("[\ud800-\udfff]")


def has_lone_surrogate(text: str) -> bool:
    """Whether the text cannot be encoded as UTF-8 (valid JSON can hold such text)."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def printable(text: str) -> str:
    """The text with every lone surrogate as U+FFFD, so that it can be written anywhere."""
    return _SURROGATE.sub("\ufffd", text) if has_lone_surrogate(text) else text


_DIGITS = re.compile(r"(\d+)")


def order_key(text: str) -> bytes:
    """A sort key that puts "a2" before "a10": digits by value, the rest by code point."""
    found = []
    for index, part in enumerate(_DIGITS.split(text)):
        if index % 2 and len(part) < 40:
            digits = (part.lstrip("0") or "0") if part.isascii() else str(int(part))
            found.append(b"\x01%c%b" % (len(digits), digits.encode()))
        elif part:
            escaped = part.encode("utf-8", "surrogatepass").replace(b"\x00", b"\x00\xff")
            found.append(b"\x02%b\x00\x00" % escaped)
    return b"".join(found)


# A conversation: the turns before the last message stand flattened in `input`, and `meta` says
# under "turns" how long each is. To look for "Assistant:" would cut a turn that quotes one.

SPEAKERS = ("User", "Assistant")
_BETWEEN = "\n\n"


def join_turns(turns: Sequence[str]) -> str:
    """Turns of user and assistant, the user's first, as one text."""
    named = (f"{SPEAKERS[number % 2]}: {text}" for number, text in enumerate(turns))
    return _BETWEEN.join(named)


def split_turns(text: str, meta: str) -> list[str]:
    """The turns that `join_turns` joined; none where `meta` tells of none, or of other ones."""
    if '"turns":' not in meta:
        return []
    turns: list[str] = []
    start = 0
    try:
        for length in json.loads(meta)["turns"]:
            begin = start + len(SPEAKERS[len(turns) % 2]) + len(": ")
            turns.append(text[begin : begin + length])
            start = begin + length + len(_BETWEEN)
    except (ValueError, TypeError, KeyError, RecursionError):
        return []  # a corpus can come from anybody
    return turns if len(turns) % 2 == 0 and join_turns(turns) == text else []


# A reasoning stands before the answer in `output`, between the tags that chat templates and the
# trainers of thinking models know.

THINKING = ("<think>\n", "\n</think>\n\n")
"""Before the reasoning, and between it and the answer."""


def with_reasoning(reasoning: str, answer: str) -> str:
    """An output that shows how its answer was come to."""
    return f"{THINKING[0]}{reasoning}{THINKING[1]}{answer}"


def split_reasoning(output: str) -> tuple[str | None, str]:
    """Reasoning and answer of an output; None where it shows none."""
    if not output.startswith(THINKING[0]) or THINKING[1] not in output:
        return None, output
    reasoning, _, answer = output.removeprefix(THINKING[0]).partition(THINKING[1])
    return reasoning, answer


def messages_of(instruction: str, text: str, output: str, meta: str) -> list[dict[str, str]]:
    """A row as chat messages: turns alternate, the user's is the first, the assistant's the last.

    A row of one exchange is the instruction and, after a blank line, the input; then the output.

    Args:
        instruction: Of the row: of a conversation the last message.
        text: The row's input: of a conversation the turns before.
        output: The answer.
        meta: The row's further facts, as JSON.
    """
    earlier = split_turns(text, meta)
    asked = f"{instruction}{_BETWEEN}{text}" if text and not earlier else instruction
    return [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate([*earlier, asked, output])
    ]


def arrow_schema() -> pa.Schema:
    """The Arrow schema of every shard (pyarrow is imported here, so that help stays fast)."""
    import pyarrow as pa

    author = pa.struct([("name", pa.string()), ("url", pa.string()), ("role", pa.string())])
    columns = {
        name: pa.list_(pa.field("element", author)) if name == "authors" else pa.string()
        for name in COLUMNS
    }
    return pa.schema(list(columns.items()))


def to_rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Records as plain rows, column by column name."""
    for record in records:
        row = {name: getattr(record, name) for name in COLUMNS}
        row["task"] = record.task.value
        row["authors"] = [{"name": a.name, "url": a.url, "role": a.role} for a in record.authors]
        yield row


def from_row(row: Mapping[str, Any]) -> Record:
    """A row as read back from a shard."""
    values = {name: row[name] for name in COLUMNS}
    values["task"] = Task(row["task"])
    values["authors"] = tuple(Author(**author) for author in row["authors"] or ())
    return Record(**values)
