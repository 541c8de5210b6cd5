"""Text exports of an Anki deck: notes (with or without GUIDs) and cards.

The file may begin with `#key:value` lines that name the separator, say whether fields are HTML, and
give the columns of GUID, note type, deck and tags; the rest is separated text whose quoted fields
may hold line breaks. Rows are read as Anki reads them: a quote counts at the beginning of a field
only, a row that begins with `#` is a comment. What Anki would guess wrongly is not guessed: bytes
that are neither UTF-8 nor marked as UTF-16 are refused, and a separator has to fit the rows.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path

from meadow.errors import FileError
from meadow.readers.archives import open_binary, open_input
from meadow.readers.delimited import MAX_FIELD
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Input
from meadow.sources.anki.templates import NoteType

SEPARATORS = {
    "tab": "\t",
    "pipe": "|",
    "semicolon": ";",
    "colon": ":",
    "comma": ",",
    "space": " ",
}
"""Their names in `#separator:`, in the order in which Anki looks for them."""
SAMPLE = 8 * 1024
"""Bytes after the `#` lines in which Anki looks for a separator."""
MAX_BYTES = 1024**3
_SETTING = re.compile(r"#([a-z][a-z ]*):(.*)")
_TAG = re.compile(r"</?(?:br|div|p|span|b|i|u|em|strong|font|img|ul|ol|li|sub|sup|a)\b[^>]*>|&\w+;")
_DELETED = "nid\tmid\tfields"
"""How Anki's list of deleted notes begins."""


@dataclass(slots=True)
class _Header:
    """What the lines before the first row say."""

    separator: str = ""
    is_html: bool | None = None
    columns: dict[str, int] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    names: str = ""


def read_text_export(item: Input) -> Iterator[Raw | Reject]:
    """Yield every row as a note, in the shape of the collection reader.

    `guid` is "" where the export has none. `cloze` is None: an export does not say what a note
    type makes, so its fields must. Fields of an export without HTML are escaped, so that what
    comes out is HTML in every case.

    Raises:
        FileError: The file cannot be read, its encoding is unknown, or no separator fits its rows.
    """
    csv.field_size_limit(MAX_FIELD)
    with open_input(item, MAX_BYTES) as binary:
        lines = _lines(binary.read(), item.label)
    header, start = _read_header(lines)
    if not header.separator and start < len(lines):
        raise FileError(
            "no text export: no separator splits its lines into two fields",
            where=item.label,
            fix="export the deck from Anki (File > Export), or begin with #separator:tab",
        )
    yield from _rows(lines, start, header, item.label)


def is_text_export(path: Path) -> bool:
    """Whether a file is text that a separator splits, or begins as Anki's exports do."""
    if re.match(r"(?i)(?:readme|licen[cs]e|copying|changelog)\b", path.name):
        return False
    with open_binary(path) as file:
        try:
            header, _ = _read_header(_lines(file.read(8 * SAMPLE), path.name))
        except FileError:
            return False
    return bool(header.separator)


def _lines(data: bytes, label: str) -> list[str]:
    """The lines as they stand, by the byte order mark; UTF-8 without one."""
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\x00\x00" not in data[:4]:
            text = data.decode("utf-16", "surrogatepass")
        elif b"\x00" in data[:SAMPLE]:
            raise FileError(
                "no text in UTF-8: it holds zero bytes, as UTF-16 without its mark does",
                where=label,
                fix="save it as UTF-8, or export the deck from Anki again",
            )
        else:
            # surrogateescape carries a bad byte through to its own row, where it is a reject
            text = data.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError as error:
        raise FileError(
            f"the text breaks off: {error}", where=label, fix="export the deck again"
        ) from error
    return list(io.StringIO(text, newline=""))


def _read_header(lines: list[str]) -> tuple[_Header, int]:
    """What the `#` lines at the beginning say, and the first row; no separator: no export."""
    header = _Header()
    is_export = False
    rows = (number for number, line in enumerate(lines) if line.strip() and line[0] != "#")
    start = next(rows, len(lines))
    for line in lines[:start]:
        if not (found := _SETTING.fullmatch(line.rstrip("\r\n"))):
            continue
        key, value = found[1], found[2].strip()
        is_export = True
        if key == "separator":
            known = value if value in SEPARATORS.values() else ""
            header.separator = SEPARATORS.get(value.lower(), known)
        elif key == "html":
            header.is_html = value.lower() == "true"
        elif key == "columns":
            header.names = found[2]
        elif key.endswith(" column"):
            if value.isdecimal() and len(value) < 5 and int(value):
                header.columns[key.removesuffix(" column")] = int(value) - 1
        else:
            header.values[key] = value
    guessed = header.separator or _guess(lines[start : start + SAMPLE])
    header.separator = guessed or ("\t" if is_export else "")
    return header, start


def _guess(lines: list[str]) -> str:
    """The separator of rows that no header explains; "" where none fits.

    Anki takes the first of its six that occurs. Here it has to split the rows as well: half of
    them for a tab, which nobody writes in prose; four of five into as many fields for the others;
    all into two for a space.
    """
    if "".join(lines[:1]).rstrip() == _DELETED:
        return ""
    ends = accumulate(len(line.encode("utf-8", "surrogatepass")) for line in lines)
    # a line that begins there is read to its end
    lines = lines[: 1 + sum(1 for _ in takewhile(lambda end: end < SAMPLE, ends))]

    def widths(mark: str) -> Counter[int]:
        rows = csv.reader(lines, delimiter=mark)
        return Counter(len(row) for row in rows if any(row) and not row[0].startswith("#"))

    found = {mark: widths(mark) for mark in SEPARATORS.values()}
    total = max(1, sum(found["\t"].values()))
    if 2 * (total - found["\t"][1]) >= total:
        return "\t" if found["\t"] else ""
    shares = {
        mark: max(
            (n / max(1, counts.total()) for width, n in counts.items() if width > 1), default=0
        )
        for mark, counts in found.items()
        if mark != " "
    }
    best = max(shares, key=lambda mark: shares[mark])
    if shares[best] >= 0.8:
        return best
    return " " if set(found[" "]) == {2} else ""


def _rows(lines: list[str], position: int, header: _Header, label: str) -> Iterator[Raw | Reject]:
    """The rows as notes; one that cannot be read is a reject, and the next line begins a row."""
    while position < len(lines):
        line = lines[position]
        where = f"{label}:{position + 1}"
        if line.startswith("#"):
            position += 1
            if header.separator != " " and header.separator in line:
                yield Reject(where, Reason.NOT_A_TARGET, "begins with #: a comment to Anki", line)
            continue
        try:
            row, taken = _row(lines, position, header.separator)
            if any(row):
                yield _note(row, header, where)
            position += taken
        except csv.Error as error:
            yield Reject(where, Reason.BAD_CSV, f"a quote is open: {error}", printable(line))
            position += 1


def _row(lines: list[str], position: int, separator: str) -> tuple[list[str], int]:
    """The fields of a row and how many lines it has; a quote that stays open is a `csv.Error`."""
    coming = (lines[number] for number in range(position, len(lines)))
    strict = csv.reader(coming, delimiter=separator, strict=True)
    try:
        return next(strict), strict.line_num
    except csv.Error:
        # text after a closing quote goes on, as in Anki, if the line ends outside of quotes
        lenient = csv.reader([lines[position], ""], delimiter=separator)
        row = next(lenient)
        if lenient.line_num > 1:
            raise
        return row, 1


def _note(row: list[str], header: _Header, where: str) -> Raw | Reject:
    if any(has_lone_surrogate(text) or "\x00" in text for text in row):
        return Reject(where, Reason.BAD_ENCODING, "not UTF-8", printable("\t".join(row)[:500]))
    known = {
        name: row[column] if column < len(row) else "" for name, column in header.columns.items()
    }
    taken = set(header.columns.values())
    fields = [text for column, text in enumerate(row) if column not in taken]
    if not fields:
        return Reject(where, Reason.MISSING_FIELD, "no field is left", "\t".join(row)[:500])
    labels = header.names.split(header.separator) if header.names else ()
    names = [name for column, name in enumerate(labels) if column not in taken]
    is_html = header.is_html
    if is_html is None:
        is_html = any(_TAG.search(text) for text in fields)
    if not is_html:
        fields = [html.escape(text, quote=False) for text in fields]
    kind, deck, tags = (
        known.get(name, header.values.get(name, "")) for name in ("notetype", "deck", "tags")
    )
    note_type = NoteType(kind, tuple(names), cloze=None)
    return note_type.note(where, known.get("guid", ""), deck, tags.split(), fields)
