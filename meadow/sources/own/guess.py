"""A first TOML file for a raw file: what its columns look like, and why they were taken for that.

Everything here is a guess and says so, in a comment at the line; what cannot be guessed (the
licence, whether people wrote freely) is left to whoever knows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from meadow.config import toml_key, toml_value
from meadow.errors import FileError, UsageError
from meadow.readers.archives import is_archive, members, open_input
from meadow.schema import Raw, Reject
from meadow.source import Input, other_split
from meadow.sources.own.form import Chat, Read
from meadow.sources.own.reader import format_of, parsed, rows_in
from meadow.sources.own.rows import LETTERS
from meadow.sources.own.template import as_text

LOOKED_AT = 5000
"""Rows from the beginning of the file."""
# Names of columns in English, German, French and Spanish.
_QUESTION = (
    r"q|questions?|\w*frage|pregunta|prompt|query|instruction|input|patient|sentence|satz|text"
)
_ANSWER = (
    r"(?<![\W_])a(?![\W_])|answers?|\w*antwort|r[eé]ponse|respuesta|response|output|completion"
    r"|reply"
)
_LABEL = r"label|class|category|kategorie|decision|verdict|urteil|klasse|target"
_RIGHT = r"answer|cop|correct\w*|richtig\w*|l(?:o|ö|oe)sung|key|solution|gold|label|ra"
_OPTIONS = r"option\w*|choices?|answers?|antworten|auswahl|opciones|endings"
_SEVERAL = (r"op[a-h]", r"(?:option|choice|antwort)_?[a-h1-9]", r"[A-H]")
"""Names of columns that hold an option each."""
_ID = r"\w*_?id|nr\.?|nummer|number|key|uid|pmid"
_ROLES = {"role", "from", "speaker", "author"}
_SPEAKERS = 6
"""Who may speak in a conversation."""
_FEW = 12
"""Values of a column that may be labels."""
_MOST = 0.6
"""The share of rows that have to fit a guess: a few may be wrong."""
_LONG = 200
"""Characters from which on a column is no fact beside the row."""


@dataclass(slots=True)
class Column:
    """What a column holds in the rows that were looked at.

    Args:
        name: Its name; of what stands inside of another the way to it.
        values: The values that are there.
    """

    name: str
    values: list[Any] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The values as texts."""
        return [as_text(value).strip() for value in self.values]

    @property
    def length(self) -> float:
        """Characters of a value, on average."""
        return sum(map(len, self.texts)) / max(1, len(self.values))

    @property
    def kind(self) -> str:
        """What its values are, by the first."""
        first = next((value for value in self.values if value not in ({}, [])), None)
        if isinstance(first, Mapping):
            return "table"
        if isinstance(first, list):
            return "list of tables" if isinstance(first[0], Mapping) else "list"
        return "text" if isinstance(first, str) else "number" if self.values else "empty"

    def is_named(self, pattern: str) -> bool:
        """Whether a word of its name is one of these."""
        return re.search(rf"(?i)(?:\A|[\W_])(?:{pattern})(?:\Z|[\W_])", self.name) is not None

    def told(self, rows: int) -> str:
        """One line for the file."""
        few = set(self.texts)
        repeats = len(few) < len(self.values) and len(few) <= _FEW
        if self.kind in ("text", "number") and repeats and self.length < 40:
            shown = ", ".join(repr(text) for text in sorted(few)[:6])
            held = f"{len(few)} values: {shown}{' ...' if len(few) > 6 else ''}"
        else:
            held = f"{self.kind}, {self.length:,.0f} characters on average"
        missing = rows - len(self.values)
        return f"{self.name}: {held}{f', missing in {missing:,}' if missing else ''}"


@dataclass(slots=True)
class Guess:
    """A first TOML file.

    Args:
        text: The file.
        name: The source's name.
        rows: How many rows were looked at.
        said: What was guessed, a line each.
    """

    text: str
    name: str
    rows: int
    said: list[str]


def guess_source(path: Path, *, license: str = "", free_text: bool | None = None) -> Guess:
    """A first TOML file for a raw file.

    Args:
        path: CSV, JSON, JSON Lines or Parquet, packed or in an archive.
        license: The key of the licence, where it is known.
        free_text: Whether people wrote its texts as they talk, where it is known.

    Raises:
        FileError: It cannot be read, or no row could be.
    """
    item, reading = _reading(path)
    found = list(islice(rows_in(item, Read(**reading)), LOOKED_AT))
    rows = [row for row in found if not isinstance(row, Reject)]
    if not rows:
        raise FileError(
            f"no row could be read as {reading['format']}",
            where=str(path),
            fix="write the TOML file by hand: docs/own-source.md",
        )
    if parse := _json_columns(rows):
        reading["parse"] = parse
        rows = [row for each in rows if not isinstance(row := parsed(each, parse), Reject)]
    seen = _Seen(len(rows), _columns(rows))
    parts = [
        _head(path, license, free_text, seen),
        _table("read", reading, {"format": "by the first bytes of the file"}),
        seen.mapping(),
    ]
    text = "\n".join("\n".join(part) + "\n" for part in parts)
    return Guess(text, _name(path), len(rows), seen.said)


def _reading(path: Path) -> tuple[Input, dict[str, Any]]:
    """How a file is read: the values of [read]."""
    if not is_archive(path):
        item = Input(path, path.name)
        return item, _format(item)
    for name, stream in members(path):
        stream.close()
        if ending := re.search(r"\.(?:jsonl|json|csv)(?:\.gz)?\Z", name):
            item = Input(path, name, member=name)
            return item, {**_format(item), "members": ending[0]}
    raise FileError(
        "no CSV, JSON or JSON Lines in the archive", where=str(path), fix="unpack it; name a file"
    )


def _format(item: Input) -> dict[str, Any]:
    found = format_of(item)
    if found is None:
        raise FileError(
            "the file is in no format that is read",
            where=str(item.path),
            fix="CSV, JSON, JSON Lines and Parquet are read; write it as one of them",
        )
    if found == "csv":
        return {"format": found, **_of_table(item)}
    if found == "json":
        with open_input(item) as file:
            start = file.read(1 << 16).decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
        if not start.startswith("["):
            return {"format": found, "rows": _way_to_rows(item)}
    return {"format": found}


def _of_table(item: Input) -> dict[str, Any]:
    """Encoding and delimiter of a CSV, and names for its columns where it has no header."""
    with open_input(item) as file:
        head = file.read(1 << 16)
    told: dict[str, Any] = {}
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else the last character is cut in two
            told["encoding"] = "cp1252"
        text = head.decode("cp1252" if told else "utf-8-sig", "ignore")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    if delimiter != "," and first.count(delimiter):
        told["delimiter"] = delimiter
    names = next(iter(rows_in(item, Read(format="csv", **told))), None)
    if isinstance(names, dict) and any(len(name) > 60 for name in names):  # a row, and no header
        told["columns"] = [f"column_{number}" for number in range(1, len(names))]
    return told


def _way_to_rows(item: Input) -> str:
    """The way to the rows of a JSON file that is one object."""
    for way in ("data", "rows", "items", "examples", "questions", "train"):
        try:
            next(iter(rows_in(item, Read(format="json", rows=way))))
        except (UsageError, StopIteration):
            continue
        return way
    return "*"


def _json_columns(rows: Sequence[Raw]) -> list[str]:
    """The columns whose texts are objects or lists of JSON; a few may be broken."""
    texts = {
        name: [value for row in rows if isinstance(value := row.get(name), str) and value.strip()]
        for name in dict.fromkeys(name for row in rows for name in row)
    }
    return [name for name, found in texts.items() if found and _share_of_json(found) > _MOST]


def _share_of_json(texts: Sequence[str]) -> float:
    read = (parsed({"text": t, "_where": ""}, ["text"]) for t in texts if t.lstrip()[:1] in "{[")
    return sum(not isinstance(row, Reject) for row in read) / len(texts)


def _columns(rows: Sequence[Raw]) -> list[Column]:
    found: dict[str, Column] = {}

    def add(name: str, value: Any) -> None:
        column = found.setdefault(name, Column(name))
        if value is not None and value == value and value != "":
            column.values.append(value)
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}", inner)

    for row in rows:
        for name, value in row.items():
            if name != "_where":
                add(name, value)
    # a brace or a bar in a name has a meaning in a template
    return [c for c in found.values() if c.values and not re.search(r"[{}|]", c.name)]


def _name(path: Path) -> str:
    stem = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_")
    return stem if re.match("[a-z]", stem) and len(stem) > 1 else f"my_{stem or 'source'}"


def _head(path: Path, license: str, free_text: bool | None, seen: _Seen) -> list[str]:
    lines = [
        f"# A first guess, from {seen.rows:,} rows of {path.name}. Every key: docs/own-source.md",
        f"name = {toml_value(_name(path))}",
        f"title = {toml_value(path.name)}",
    ]
    if not license:
        lines.append("# Say it: a key such as cc-by-4.0; user-supplied for data of your own.")
    lines.append(f"license = {toml_value(license or 'unknown')}")
    if free_text is None:
        lines += [
            "# Say it: true where people wrote as they talk (then personal data is looked for and",
            "# replaced), false for edited texts. Without this line nothing is built.",
            "# free_text = true",
        ]
    else:
        lines.append(f"free_text = {toml_value(free_text)}")
    if other_split([path.name]):
        lines.append("exam = true  # the file's name tells of another split than train")
    lines += ["", "# The columns:"]
    return [*lines, *(f"#   {column.told(seen.rows)}" for column in seen.columns)]


def _table(name: str, values: Mapping[str, Any], why: Mapping[str, str]) -> list[str]:
    """A table, with the reason of a key behind it."""
    lines = [f"[{name}]"]
    for key, value in values.items():
        reason = f"  # {' '.join(why[key].split())}" if key in why else ""
        lines.append(f"{toml_key(key)} = {toml_value(value)}{reason}")
    return lines


@dataclass(slots=True)
class _Seen:
    """The rows that were looked at, and what was said of them."""

    rows: int
    columns: list[Column]
    said: list[str] = field(default_factory=list)

    def mapping(self) -> list[str]:
        """The tables that say what becomes of a row."""
        for column in self.columns:
            if column.kind == "list of tables" and (keys := _chat_keys(column)):
                return self._chat(column, *keys)
        if found := self._options():
            return self._choice(*found)
        names = {column.name.lower(): column for column in self.columns}
        if {"instruction", "output"} <= names.keys():
            order = ("instruction", "input", "output")
            return self._instruction([names[name] for name in order if name in names])
        return self._texts()

    def _row(
        self, values: dict[str, Any], why: dict[str, str], used: Sequence[Column]
    ) -> list[str]:
        """[row], with the id, and what is left over in `meta`."""
        taken = {column.name for column in used}
        number = next((c for c in self.columns if c.name not in taken and self._is_id(c)), None)
        if number is not None:
            values["id"] = f"{{{number.name}}}"
            why["id"] = "named like an id, and different in every row"
            self.said.append(f"id: {number.name}")
            taken.add(number.name)
        inside = tuple(f"{name}." for name in taken)
        rest = [c for c in self.columns if c.name not in taken and not c.name.startswith(inside)]
        plain = [c for c in rest if c.kind in ("text", "number") and c.name.count(".") < 2]
        short = [column for column in plain if column.length < _LONG]
        lines = _table("row", values, why)
        if short:
            meta = {_key(column.name): f"{{{column.name}|}}" for column in short}
            lines.append("# the other short columns; take out what is of no use")
            lines.append(f"meta = {toml_value(meta)}")
        if unused := [c.name for c in rest if c not in short and c.kind != "table"]:
            lines.append(f"# not used: {', '.join(unused)}")
            self.said.append(f"not used: {', '.join(unused)}")
        return lines

    def _is_id(self, column: Column) -> bool:
        whole = len(column.values) == self.rows == len(set(column.texts))
        return column.kind in ("text", "number") and whole and column.is_named(_ID)

    def _chat(self, chat: Column, role: str, content: str) -> list[str]:
        roles = Counter(as_text(each.get(role)) for value in chat.values for each in value)
        self.said.append(f"a conversation: {chat.name} ({role}: {', '.join(roles)})")
        told: dict[str, Any] = {"column": chat.name}
        if (role, content) != ("role", "content"):
            told |= {"role": role, "content": content}
        lines = self._row({"task": "dialogue"}, {"task": "a list of messages"}, [chat])
        counted = ", ".join(f"{name} {count:,}" for name, count in roles.items())
        lines += ["", *_table("chat", told, {"column": f"messages by role: {counted}"})]
        usual = Chat(column="")
        strange = roles.keys() - {*usual.user, *usual.assistant, *usual.system}
        others = [name for name in roles if name in strange]
        if others and roles.keys() & {*usual.user} and roles.keys() & {*usual.assistant}:
            lines.append(f"# conversations with other roles are rejected: {', '.join(others)}")
        elif others:
            lines.append("# these roles are not known: say who is the user and who the assistant")
            lines.append(f"user = {toml_value(others[:1])}")
            lines.append(f"assistant = {toml_value(others[1:])}")
        return lines

    def _options(self) -> tuple[list[Column], Column, str] | None:
        """The columns of options, that of the right one, and how it tells it."""
        several = ("table", "list", "list of tables")
        found = [[column] for column in self.columns if column.kind in several]
        found.sort(key=lambda group: not group[0].is_named(_OPTIONS))
        for pattern in _SEVERAL:
            group = [c for c in self.columns if re.fullmatch(f"(?i){pattern}", c.name)]
            found += [group] if len(group) > 1 else []
        for group in found:
            inside = tuple(f"{column.name}." for column in group)
            right = [
                column
                for column in self.columns
                if column not in group and not column.name.startswith(inside)
                if column.kind in ("text", "number")
            ]
            told = [(column, how) for column in right if (how := _told_by(group, column))]
            told.sort(key=lambda pair: (not pair[0].is_named(_RIGHT), pair[1] == "text"))
            for column, how in told:
                named = column.is_named(_RIGHT) and (len(group) > 1 or group[0].is_named(_OPTIONS))
                # the label of an option in a column of another name is no accident, a number may be
                if named or (how == "label" and not column.texts[0].isdigit()):
                    return group, column, how
        return None

    def _choice(self, options: list[Column], right: Column, how: str) -> list[str]:
        names, _, shown = _entries(options)
        inside = tuple(f"{column.name}." for column in options)
        texts = [
            column
            for column in self.columns
            if column not in (*options, right) and column.kind == "text"
            if not column.name.startswith(inside)
        ]
        asked = _best(texts, _QUESTION)
        why = "named like a question" if asked else "the longest text; is it the question?"
        asked = asked or max(texts, key=lambda c: c.length, default=right)
        stated = [c for c in texts if c is not asked and set(c.texts) <= shown][:1]
        columns = [column.name for column in options]
        self.said.append(
            f"multiple choice: {asked.name}; options: {', '.join(columns)}; right: {right.name}"
        )
        lines = self._row(
            {
                "task": "multiple_choice",
                "input": f"{{{asked.name}}}\n{{options}}",
                "output": "{answer}",
            },
            {"input": f"{asked.name}: {why}"},
            [*options, right, asked, *stated],
        )
        told: dict[str, Any] = {"columns": columns if len(columns) > 1 else columns[0]}
        reasons = {"answer_is": f"its values: {', '.join(sorted(set(right.texts))[:5])}"}
        if options[0].kind == "list of tables":
            told["label"], told["text"] = _entry_keys(options[0])
        if len(options) == 1 and names and not names <= set(LETTERS):
            told["labels"] = LETTERS[:8]
            reasons["labels"] = f"the file calls them {', '.join(sorted(names)[:5])}"
        told |= {"answer": right.name, "answer_is": how}
        if stated:
            told["answer_text"] = stated[0].name
            reasons["answer_text"] = "always the text of an option: it has to be the right one's"
        return [*lines, "", *_table("options", told, reasons)]

    def _instruction(self, columns: Sequence[Column]) -> list[str]:
        """Alpaca's three columns, or two of them."""
        names = [column.name for column in columns]
        self.said.append(f"instructions: {', '.join(names)}")
        values = {"task": "instruction", "instruction": f"{{{names[0]}}}"}
        if len(names) > 2:
            values["input"] = f"{{{names[1]}|}}"
        values["output"] = f"{{{names[-1]}}}"
        return self._row(values, {"task": "columns of these names"}, columns)

    def _texts(self) -> list[str]:
        """A text and its label, or a question and its answer."""
        texts = [c for c in self.columns if c.kind in ("text", "list") and not self._is_id(c)]
        labels = [column for column in self.columns if self._is_label(column)]
        label = next((column for column in labels if column.is_named(_LABEL)), None)
        others = [column for column in texts if column not in labels]
        if len(others) == 1 and not any(column.is_named(_ANSWER) for column in texts):
            label = label or next(iter(labels), None)
        texts = [column for column in texts if column is not label]
        asked = _best(texts, _QUESTION)
        answer = _best([column for column in texts if column is not asked], _ANSWER)
        # what few rows have is neither
        by_length = sorted(texts, key=lambda c: (len(c.values) < _MOST * self.rows, -c.length))
        if answer is None and label is not None and texts:
            return self._labelled(asked or by_length[0], label)
        why = {"instruction": "say what a model is asked to do"}
        rest = [column for column in by_length if column not in (asked, answer)]
        why["output"] = "named like an answer" if answer else "the longest text; is it the answer?"
        answer = answer or (rest.pop(0) if rest else None)
        why["input"] = "named like a question" if asked else "the longest text besides; is it?"
        asked = asked or (rest.pop(0) if rest else None)
        if asked and answer:
            self.said.append(f"a question and its answer: {asked.name}, {answer.name}")
        else:
            self.said.append("no question and answer were found: fill in row.input and row.output")
        values = {
            "task": "open_qa",
            "instruction": "Answer this question truthfully.",
            "input": f"{{{asked.name if asked else 'the question'}}}",
            "output": f"{{{answer.name if answer else 'the answer'}}}",
        }
        return self._row(values, why, [column for column in (asked, answer) if column])

    def _is_label(self, column: Column) -> bool:
        different = len(set(column.texts))
        return 2 <= different <= min(_FEW, max(2, self.rows // 2)) and column.length < 40

    def _labelled(self, asked: Column, label: Column) -> list[str]:
        values = sorted(set(label.texts))
        self.said.append(f"a text and its label: {asked.name}, {label.name} ({', '.join(values)})")
        lines = self._row(
            {
                "task": "classification",
                "instruction": f"Which of these is it: {', '.join(values)}?",
                "input": f"{{{asked.name}}}",
                "output": "{words}",
            },
            {"task": f"{label.name} has {len(values)} values in {self.rows:,} rows"},
            [asked, label],
        )
        told = {"column": label.name, "texts": {value: value for value in values}}
        why = {"texts": "say each in words; a value that is not here rejects its row"}
        return [*lines, "", *_table("labels.words", told, why)]


def _key(name: str) -> str:
    """A key of `meta` for a column; [options] has taken two names."""
    key = re.sub(r"\W+", "_", name.lower()).strip("_") or "column"
    return f"{key}_upstream" if key in ("options", "answer") else key


def _best(columns: Sequence[Column], pattern: str) -> Column | None:
    """The column of that name; else the longest with the word in its name."""
    named = [column for column in columns if column.is_named(pattern)]
    whole = [column for column in named if re.fullmatch(f"(?i){pattern}", column.name)]
    return max(whole or named, key=lambda column: column.length, default=None)


def _chat_keys(column: Column) -> tuple[str, str] | None:
    """The keys of who speaks, which has few words for values, and of what is said."""
    messages = [each for value in column.values for each in value if isinstance(each, Mapping)][
        :LOOKED_AT
    ]
    texts = {
        key: [each[key] for each in messages if isinstance(each.get(key), str)]
        for key in dict.fromkeys(key for each in messages for key in each)
    }
    roles = [
        key
        for key, found in texts.items()
        if len(found) == len(messages) and len(set(found)) <= _SPEAKERS
        if key in _ROLES or len(set(found)) < len(found)
        if all(re.fullmatch(r"[^\W\d_]{3,}[\w ]*", text) for text in found)
    ]
    said = [key for key, found in texts.items() if key not in roles and found]
    if not roles or not said:
        return None
    return roles[0], max(said, key=lambda key: sum(map(len, texts[key])))


def _told_by(options: Sequence[Column], right: Column) -> str:
    """How a column tells the right option: label, index, number or text; "" where it does not."""
    names, count, shown = _entries(options)

    def share(known: set[str]) -> float:
        return sum(text in known for text in right.texts) / len(right.texts)

    places = {str(place) for place in range(count)}
    if "0" not in names and share({"0"}) and share(places) > _MOST:
        return "index"
    if max(share(names), share(set(LETTERS[:count]))) > _MOST:
        return "label"
    if share(places | {str(count)}) > _MOST:
        return "number"
    return "text" if share(shown) > _MOST else ""


def _entries(options: Sequence[Column]) -> tuple[set[str], int, set[str]]:
    """The names of options, how many there are at most, and their texts."""
    if len(options) > 1:
        texts = {text for column in options for text in column.texts}
        return {column.name for column in options}, len(options), texts
    names: set[str] = set()
    shown: set[str] = set()
    count = 0
    for value in options[0].values:
        entries: list[tuple[Any, Any]] = []
        if isinstance(value, Mapping):
            entries = list(value.items())
        elif options[0].kind == "list of tables":
            label, text = _entry_keys(options[0])
            entries = [(each.get(label), each.get(text)) for each in value]
        elif isinstance(value, list):
            entries = [(None, each) for each in value]
        entries = [(name, text) for name, text in entries if text is not None]
        names |= {as_text(name) for name, _ in entries if name is not None}
        shown |= {as_text(text).strip() for _, text in entries}
        count = max(count, len(entries))
    return names, count, shown


def _entry_keys(options: Column) -> tuple[str, str]:
    """In a list of tables: the key of an option's label, and of its text, which is the longest."""
    first = next(each for value in options.values for each in value)
    text = max(first, key=lambda key: len(as_text(first[key])))
    return next((key for key in first if key != text), ""), text
