"""Text exports of an Anki deck: notes (with or without GUIDs) and cards.

The file may begin with `#key:value` lines that name the separator, say whether fields are HTML, and
give the columns of GUID, note type, deck and tags; the rest is separated text whose quoted fields
may hold line breaks. Without those lines the separator is the one that the first row holds. A row
that begins with `#` is a comment (a field that begins so is quoted).
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meadow.errors import FileError
from meadow.readers.archives import open_binary, open_input
from meadow.readers.delimited import MAX_FIELD
from meadow.schema import Raw, Reason, Reject, has_lone_surrogate, printable
from meadow.source import Input

SEPARATORS = {
    "tab": "\t",
    "pipe": "|",
    "semicolon": ";",
    "colon": ":",
    "comma": ",",
    "space": " ",
}
"""Their names in `#separator:`, in the order in which they are guessed."""
_SETTING = re.compile(r"#([a-z][a-z ]*):(.*)")
_TAG = re.compile(r"</?(?:br|div|p|span|b|i|u|em|strong|font|img|ul|ol|li|sub|sup|a)\b[^>]*>|&\w+;")


@dataclass(slots=True)
class _Header:
    """What the lines before the first row say."""

    separator: str = ""
    is_html: bool | None = None
    columns: dict[str, int] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


class _Lines:
    """The lines of a file, without the comments between rows, counted."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = text
        self.number = 0
        self.pending: str | None = None
        self.between_rows = False
        self.row_start = 0

    def take(self) -> str:
        """The next line as it stands; "" at the end."""
        if self.pending is not None:
            line, self.pending = self.pending, None
            return line
        line = self.text.readline(MAX_FIELD)
        self.number += bool(line)
        return line

    def __iter__(self) -> Iterator[str]:
        while line := self.take():
            if self.between_rows:
                if line.startswith("#"):
                    continue
                self.between_rows = False
                self.row_start = self.number
            yield line


def read_text_export(item: Input) -> Iterator[Raw | Reject]:
    """Yield every row as a note, in the shape of the collection reader.

    `guid` is "" where the export has none. `cloze` is False: an export does not say what a note
    type makes, so its fields must. Fields of an export without HTML are escaped, so that what
    comes out is HTML in every case.

    Raises:
        FileError: The file cannot be read, or a quote is open or stray: where the next row begins
            is then unknown.
    """
    csv.field_size_limit(MAX_FIELD)
    with open_input(item) as binary:
        # surrogateescape carries a bad byte through to its own row, where it is a reject
        lines = _Lines(io.TextIOWrapper(binary, "utf-8-sig", "surrogateescape", newline=""))
        header = _read_header(lines)
        rows = csv.reader(lines, delimiter=header.separator, strict=True)
        try:
            while True:
                lines.between_rows = True
                row = next(rows, None)
                if row is None:
                    return
                if any(row):
                    yield _note(row, header, f"{item.label}:{lines.row_start}")
        except csv.Error as error:
            raise FileError(
                f"the export breaks in the row that begins at line {lines.row_start}: {error}",
                where=f"{item.label}:{lines.row_start}",
                fix="a quote is open or stray there; export the deck from Anki again",
            ) from error


def is_text_export(path: Path) -> bool:
    """Whether a file is text that is named `.txt` or begins as Anki's exports do."""
    with open_binary(path) as file:
        start = file.read(4096)
    if b"\x00" in start:
        return False
    named = Path(path.name.removesuffix(".gz")).suffix.lower() == ".txt"
    return named or start.removeprefix(b"\xef\xbb\xbf").startswith(b"#separator:")


def _read_header(lines: _Lines) -> _Header:
    """Take the `#` lines at the beginning; the first row stays."""
    header = _Header()
    while line := lines.take():
        if not line.startswith("#"):
            if line.strip():
                lines.pending = line
                break
            continue
        if not (found := _SETTING.fullmatch(line.rstrip("\r\n"))):
            continue
        key, value = found[1], found[2].strip()
        if key == "separator":
            mark = SEPARATORS.get(value.lower(), value[:1])
            header.separator = "" if mark in '"#' else mark
        elif key == "html":
            header.is_html = value.lower() == "true"
        elif key == "columns" and header.separator:
            header.names = tuple(value.split(header.separator))
        elif key.endswith(" column"):
            if value.isdecimal() and len(value) < 5 and int(value):
                header.columns[key.removesuffix(" column")] = int(value) - 1
        else:
            header.values[key] = value
    if not header.separator:
        first = lines.pending or ""
        header.separator = next((s for s in SEPARATORS.values() if s in first), "\t")
    return header


def _note(row: list[str], header: _Header, where: str) -> Raw | Reject:
    if any(map(has_lone_surrogate, row)):
        return Reject(where, Reason.BAD_ENCODING, "not UTF-8", printable("\t".join(row)[:500]))
    known = {
        name: row[column] if column < len(row) else "" for name, column in header.columns.items()
    }
    taken = set(header.columns.values())
    fields = [text for column, text in enumerate(row) if column not in taken]
    if not fields:
        return Reject(where, Reason.MISSING_FIELD, "no field is left", "\t".join(row)[:500])
    names = [name for column, name in enumerate(header.names) if column not in taken]
    is_html = header.is_html
    if is_html is None:
        is_html = any(_TAG.search(text) for text in fields)
    if not is_html:
        fields = [html.escape(text, quote=False) for text in fields]
    return {
        "_where": where,
        "guid": known.get("guid", ""),
        "note_type": known.get("notetype", header.values.get("notetype", "")),
        "cloze": False,
        "deck": known.get("deck", header.values.get("deck", "")),
        "tags": known.get("tags", header.values.get("tags", "")).split(),
        "field_names": names,
        "fields": fields,
    }
