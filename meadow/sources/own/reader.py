"""How the raw files of a source's TOML file are read.

A column that no row has is an error that names it, since a misspelt name would else reject every
row; a column that one row lacks rejects that row.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from meadow.config import did_you_mean
from meadow.errors import FileError, UpstreamChangedError, UsageError
from meadow.readers import delimited, json_rows, parquet
from meadow.readers.archives import is_archive, members, open_input
from meadow.schema import Fact, Raw, Reason, Reject
from meadow.source import Cutting, Input, Options, Piece
from meadow.sources.own.form import OPTIONS, Format, OwnSource, Read
from meadow.sources.own.template import Field, heads, look_up, parse

MOST_JSON = 512 * 1024**2
"""Bytes of a JSON file that is one object: it is held in memory."""
OF_THE_FILE = ("_file", "_subset", "_key")
"""Columns that every row has: its file's name without endings, its part, its key."""
_TABLES = ("csv", "parquet")


@dataclass(frozen=True, slots=True)
class OwnReader:
    """The reader of a source's raw files; tables and JSON Lines can be cut."""

    own: OwnSource

    def __call__(self, inputs: Sequence[Input], options: Options) -> Iterator[Raw | Reject | Fact]:
        """The rows of all files."""
        own, unseen, example = self.own, needed_fields(self.own), None
        for part, subset in _all_parts(inputs, own):
            for row in _read_piece(own, part, subset, partial(_rows, part, own)):
                if unseen and not isinstance(row, Reject | Fact):
                    example, unseen = row, [field for field in unseen if not _is_in(field, row)]
                yield row
        if unseen and example is not None:
            raise _gone(unseen, example, own, ", ".join(item.label for item in inputs))

    def pieces(
        self, inputs: Sequence[Input], options: Options, cutting: Cutting
    ) -> Iterator[Piece]:
        """Runs of rows of each file; all files where only all rows tell which columns there are."""
        own, size, format = self.own, cutting.size, self.own.read.format
        if size is None or format == "json" or (format == "jsonl" and not self._starts(inputs)):
            yield partial(self, inputs, options)
            return
        for part, subset in _all_parts(inputs, own):
            _check_format(part, own)
            found: Iterable[Piece]
            if format == "csv":
                found = _csv(own.read).pieces([part], options, cutting)
            elif format == "jsonl":
                found = json_rows.read_lines.pieces([part], options, cutting)
            else:
                names = _columns(part, own)
                found = [
                    partial(parquet.read_rows, part, names, (), groups)
                    for groups in parquet.row_groups(part, size)
                ]
            for piece in found:
                yield partial(_read_piece, own, part, subset, piece)

    def _starts(self, inputs: Sequence[Input]) -> bool:
        """Whether the first rows have every column between them."""
        seen = {*OF_THE_FILE}
        for part, _ in islice(_all_parts(inputs, self.own), 1):
            for row in islice(_rows(part, self.own), 1000):
                seen.update(() if isinstance(row, Reject) else row)
        return all(_is_in(field, dict.fromkeys(seen)) for field in needed_fields(self.own))


def _read_piece(
    own: OwnSource, part: Input, subset: str, piece: Piece
) -> Iterator[Raw | Reject | Fact]:
    """The rows of a piece and what its file tells; a table's first has to have the columns."""
    unseen = needed_fields(own) if own.read.format in _TABLES else []
    told = {"_file": PurePosixPath(part.label).name.partition(".")[0], "_subset": subset or None}
    for raw in piece():
        if isinstance(raw, Reject | Fact):
            yield raw
            continue
        row = {**told, **raw}
        if unseen and (unseen := [field for field in unseen if not _is_in(field, row)]):
            raise _gone(unseen, row, own, part.label)
        yield parsed(row, own.read.parse)


def _all_parts(inputs: Sequence[Input], own: OwnSource) -> Iterator[tuple[Input, str]]:
    """Every file, or member of an archive, with the part of the source that it is."""
    for item in inputs:
        subset = item.subset or _subset_of(item.label, own)
        for part in _parts(item, own.read):
            yield part, subset


def needed_fields(own: OwnSource) -> list[Field]:
    """The columns that rows have to have, as the fields that name them."""
    made = {*own.labels, *(OPTIONS if own.options else ()), *OF_THE_FILE}
    found = [
        field for field in fields_of(own) if not field.optional and not made.issuperset(field.ways)
    ]
    columns = [label.column for label in own.labels.values()]
    if own.options is not None:
        given = own.options.columns
        # one of several columns may be missing where a question has fewer options
        columns += [given] if isinstance(given, str) else given[:2]
        columns += [own.options.answer, *filter(None, [own.options.answer_text])]
    if own.chat is not None:
        columns.append(own.chat.column)
    # a filter or a repair that looks at a column which is not there would do nothing, unseen
    columns += [filter.column for filter in own.reject]
    columns += [
        repair.column for repair in own.repair if own.options is None or repair.column != "options"
    ]
    found += [Field((column,), False) for column in columns if column not in OF_THE_FILE]
    return list(dict.fromkeys(found))


def fields_of(own: OwnSource) -> list[Field]:
    """The fields of every text."""
    row = own.row
    texts = [own.asked, row.input, row.output, row.id, *row.key, row.subset, row.url, row.license]
    texts += [text for author in row.authors for text in (author.name, author.url)]
    texts += [*row.meta.values()]
    return [field for text in texts if text for field in parse(text).fields]


def _is_in(field: Field, row: Raw) -> bool:
    return any(head in row for way in field.ways for head in heads(way))


def _gone(unseen: Sequence[Field], row: Raw, own: OwnSource, label: str) -> UpstreamChangedError:
    names = [way for field in unseen for way in field.ways]
    there = [name for name in row if not name.startswith("_")]
    made = [*own.labels, *(OPTIONS if own.options else ())]
    return UpstreamChangedError(
        f"{own.name}: no column {', '.join(map(repr, names))}, which the source's TOML file names",
        where=label,
        fix=f"{did_you_mean(names[0], [*there, *made])}the columns are {', '.join(there[:50])}; "
        "{name|} in braces makes a column optional",
    )


def _subset_of(label: str, own: OwnSource) -> str:
    """The part that a file's name stands for, where [[files]] tells it."""
    name = PurePosixPath(label).name
    for file in own.files:
        if file.subset and any(
            fnmatch(name, PurePosixPath(n).name) for n in (file.name, *file.also)
        ):
            return file.subset
    return ""


def _parts(item: Input, read: Read) -> Iterator[Input]:
    """The file, or the wanted members of an archive one by one."""
    if not read.members or not is_archive(item.path):
        yield item
        return
    found = False
    for name, stream in members(item.path, suffix=read.members):
        stream.close()
        found = True
        yield replace(item, label=f"{item.label}!{name}", member=name)
    if not found:
        raise FileError(
            f"the archive has no member whose name ends in {read.members!r}",
            where=str(item.path),
            fix="mend read.members in the source's TOML file",
        )


def format_of(item: Input) -> Format | None:
    """The format that the first bytes of a file tell; None where they tell none.

    Raises:
        FileError: It cannot be read, or is empty.
    """
    if not is_archive(item.path) and parquet.is_parquet(item.path):
        return "parquet"
    with open_input(item) as file:
        head = file.read(1 << 16)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text:
        raise FileError("the file is empty", where=item.label, fix="fetch it again")
    if text[:1] not in (b"[", b"{"):
        return None if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")) else "csv"
    first = text.split(b"\n", 1)[0]
    try:
        line = json.loads(first)
    except ValueError:
        # it goes on in the next line, is longer than what was read, or is broken
        if text[1:].lstrip()[:1] in (b'"', b"{", b"["):
            return "json"
        return "jsonl" if text[:1] == b"{" else "csv"
    if isinstance(line, list):
        return "json"
    return "jsonl" if b"\n" in text.rstrip() or not _is_nested(line) else "json"


def _is_nested(line: Mapping[str, Any]) -> bool:
    """Whether an object looks like a file of rows: all of its values are objects or lists."""
    return all(isinstance(value, dict | list) for value in line.values())


def _check_format(item: Input, own: OwnSource) -> None:
    found, told = format_of(item), own.read.format
    if (found, told) == ("csv", "jsonl"):  # or lines of which the first is broken
        lines = islice(json_rows.read_lines([item], Options()), 100)
        found = "jsonl" if any(not isinstance(row, Reject) for row in lines) else found
    # what a CSV begins with may be anything but the beginning of another format
    if found != told and (found is None or {found, told} != {"json", "jsonl"}):
        raise UsageError(
            f"{own.name}: the file is {found or 'in no format that is read'}, and the source's "
            f"TOML file says {told}",
            where=item.label,
            fix=f'read.format = "{found}"' if found else "csv, jsonl, json and parquet are read",
        )


def _rows(item: Input, own: OwnSource) -> Iterator[Raw | Reject]:
    _check_format(item, own)
    if own.read.format != "parquet":
        return rows_in(item, own.read)
    return parquet.read_rows(item, _columns(item, own))


def _columns(item: Input, own: OwnSource) -> list[str]:
    """The columns of a Parquet file that are used."""
    needed = needed_fields(own)
    there = parquet.columns_of(item)
    columns = own.options.columns if own.options is not None else ()
    several = [columns] if isinstance(columns, str) else columns
    used = [*fields_of(own), *needed, *(Field((name,), False) for name in several)]
    wanted = [head for field in used for way in field.ways for head in heads(way)]
    if any(not _is_in(field, dict.fromkeys(there)) for field in needed):
        return there  # the message tells all that there is
    return [name for name in dict.fromkeys(wanted) if name in there]


def _csv(read: Read) -> delimited.CsvReader:
    return delimited.CsvReader((), read.columns or None, read.delimiter, read.encoding)


def rows_in(item: Input, read: Read) -> Iterator[Raw | Reject]:
    """The rows of a file with all of their columns."""
    if read.format == "csv":
        return _csv(read)([item], Options())
    if read.format == "jsonl":
        return json_rows.read_lines([item], Options())
    if read.format == "json":
        return _values(item, read.rows) if read.rows else json_rows.read_array([item], Options())
    return parquet.read_rows(item, parquet.columns_of(item))


def _values(item: Input, rows: str) -> Iterator[Raw | Reject]:
    """The rows of a JSON file that is one object: a list in it, or its values."""
    with open_input(item, MOST_JSON) as file:
        try:
            whole = json_rows.DECODER.decode(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise FileError(
                f"the JSON cannot be read: {error}",
                where=item.label,
                fix="fetch the file again and compare its checksum",
            ) from error
    try:
        pairs = list(_led_to(whole, rows))
    except LookupError:
        raise UsageError(
            f"no list or object of rows at {rows!r}",
            where=item.label,
            fix="mend read.rows in the source's TOML file"
            + (f": the keys are {', '.join(list(whole)[:20])}" if isinstance(whole, dict) else ""),
        ) from None
    for key, value in pairs:
        text = json.dumps(value, ensure_ascii=False)
        row = json_rows.check_object(value, text, f"{item.label}#{key}")
        yield row if isinstance(row, Reject) else {"_key": str(key), **row}


def _led_to(whole: Any, way: str) -> Iterator[tuple[str, Any]]:
    """The rows at the end of a way, by their keys or numbers.

    A "*" before the end goes into every value there, and its rows have the value's own facts too:
    of {"papers": {"one": {"year": 2031, "data": [...]}}} the way `papers.*.data` leads to the
    entries of `data`, each with its `year`.

    Raises:
        LookupError: The way does not lead to a list or an object, somewhere.
    """
    head, star, rest = f".{way}".partition(".*.")
    if star:
        for name, value in _led_to(whole, head.lstrip(".") or "*"):
            own = value.items() if isinstance(value, dict) else ()
            facts = {key: fact for key, fact in own if not isinstance(fact, dict | list)}
            for key, row in _led_to(value, rest):
                yield f"{name}.{key}", {**facts, **row} if isinstance(row, dict) else row
        return
    found = whole if way == "*" else look_up(whole, way) if isinstance(whole, dict) else None
    if not isinstance(found, dict | list):
        raise LookupError(way)
    pairs: Iterable[tuple[Any, Any]]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    yield from ((str(key), value) for key, value in pairs)


def parsed(row: Raw, columns: Sequence[str]) -> Raw | Reject:
    """The row with the columns that hold JSON as what they hold."""
    found: dict[str, Any] = {}
    for name in columns:
        if isinstance(text := row.get(name), str) and text.strip():
            try:
                found[name] = json_rows.DECODER.decode(text)
            except (ValueError, RecursionError) as error:
                return Reject(str(row["_where"]), Reason.BAD_JSON, f"{name}: {error}", text)
    return {**row, **found} if found else row
