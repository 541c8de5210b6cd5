"""Builds Anki collections and packages with the standard library, always to the same bytes.

Run as a script it writes the sample deck: python tests/support/anki_deck.py TARGET.apkg
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NOTICE = "Please update to the latest Anki version, then import the .colpkg/.apkg file again."
_DAY = (2026, 1, 1, 0, 0, 0)

_BACK = "{{FrontSide}}\n\n<hr id=answer>\n\n"
BASIC = (1001, "Basic", 0, ("Front", "Back"), (("{{Front}}", _BACK + "{{Back}}"),))
REVERSED = (
    *(1002, "Basic (and reversed card)", 0, ("Front", "Back")),
    (("{{Front}}", _BACK + "{{Back}}"), ("{{Back}}", _BACK + "{{Front}}")),
)
CLOZE = (
    *(1003, "Cloze", 1, ("Text", "Back Extra")),
    (("{{cloze:Text}}", "{{cloze:Text}}<br>\n{{Back Extra}}"),),
)
OCCLUSION = (
    *(1004, "Image Occlusion", 1, ("Occlusion", "Image", "Header", "Back Extra", "Comments")),
    (("{{cloze:Occlusion}} {{Image}}", "{{cloze:Occlusion}} {{Image}}"),),
)
MUSCLE = (
    *(1005, "Muscle", 0, ("Picture", "Name", "Origin", "Insertion")),
    (("{{Name}}", _BACK + "{{Picture}}{{Origin}}"),),
)
NOTE_TYPES: tuple[tuple, ...] = (BASIC, REVERSED, CLOZE, OCCLUSION, MUSCLE)


@dataclass
class Note:
    """A note: its type, its fields, and what may differ from the ordinary."""

    note_type: tuple
    fields: tuple[str, ...]
    guid: str = ""
    tags: str = ""
    deck: int = 1
    home: int = 0
    raw_fields: bytes | None = None
    type_id: int | None = None


@dataclass
class Deck:
    """What goes into a collection."""

    notes: list[Note]
    schema: int = 11
    note_types: tuple[tuple, ...] = NOTE_TYPES
    decks: Mapping[int, str] = field(default_factory=lambda: {1: "Default", 2: "Samples::Heart"})


def collection(deck: Deck) -> bytes:
    """The SQLite file of a deck, schema 11 (JSON in `col`) or 18 (tables)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "collection"
        connection = sqlite3.connect(path)
        connection.create_collation("unicase", _folded)
        connection.execute("PRAGMA page_size = 1024")
        _create(connection, deck)
        for number, note in enumerate(deck.notes, start=1):
            _insert(connection, number, note)
        connection.commit()
        connection.execute("VACUUM")
        connection.close()
        data = bytearray(path.read_bytes())
    # The change counter and the library's version: the only bytes that depend on who wrote them.
    data[24:28] = data[92:96] = (1).to_bytes(4, "big")
    data[96:100] = (3_040_000).to_bytes(4, "big")
    return bytes(data)


def _folded(left: str, right: str) -> int:
    one, other = left.casefold(), right.casefold()
    return (one > other) - (one < other)


def _create(connection: sqlite3.Connection, deck: Deck) -> None:
    connection.executescript(
        """
        CREATE TABLE col (id integer PRIMARY KEY, ver integer, models text, decks text);
        CREATE TABLE notes (id integer PRIMARY KEY, guid text, mid integer, tags text, flds text);
        CREATE TABLE cards (id integer PRIMARY KEY, nid integer, did integer, ord integer,
            odid integer);
        CREATE INDEX ix_cards_nid ON cards (nid);
        """
    )
    models, decks = "", ""
    if deck.schema < 15:
        models = json.dumps(
            {
                str(number): {
                    "name": name,
                    "type": kind,
                    # upstream gives no order of the keys: ord says it
                    "flds": [
                        {"name": field, "ord": position} for position, field in enumerate(fields)
                    ][::-1],
                    "tmpls": [
                        {"name": f"Card {position}", "ord": position, "qfmt": front, "afmt": back}
                        for position, (front, back) in enumerate(templates)
                    ][::-1],
                }
                for number, name, kind, fields, templates in deck.note_types
            }
        )
        decks = json.dumps({str(number): {"name": name} for number, name in deck.decks.items()})
    else:
        connection.executescript(
            """
            CREATE TABLE notetypes (id integer PRIMARY KEY, name text COLLATE unicase, config blob);
            CREATE TABLE fields (ntid integer, ord integer, name text COLLATE unicase,
                PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
            CREATE TABLE templates (ntid integer, ord integer, name text COLLATE unicase,
                config blob, PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
            CREATE TABLE decks (id integer PRIMARY KEY, name text COLLATE unicase);
            CREATE UNIQUE INDEX idx_notetypes_name ON notetypes (name);
            """
        )
        for number, name, kind, fields, templates in deck.note_types:
            config = b"\x08\x01\x1a\x00" if kind else b"\x1a\x00"
            connection.execute("INSERT INTO notetypes VALUES (?, ?, ?)", (number, name, config))
            for position, label in enumerate(fields):
                connection.execute("INSERT INTO fields VALUES (?, ?, ?)", (number, position, label))
            for position, sides in enumerate(templates):
                connection.execute(
                    "INSERT INTO templates VALUES (?, ?, ?, ?)",
                    (number, position, f"Card {position}", _message(sides)),
                )
        for number, name in deck.decks.items():
            separated = name.replace("::", "\x1f")
            connection.execute("INSERT INTO decks VALUES (?, ?)", (number, separated))
    connection.execute("INSERT INTO col VALUES (1, ?, ?, ?)", (deck.schema, models, decks))


def _message(sides: tuple[str, str]) -> bytes:
    """A protobuf message: the sides as fields 1 and 2, then a number and a double, as Anki has."""
    found = b""
    for key, side in zip((b"\x0a", b"\x12"), sides, strict=True):
        data = side.encode()
        found += key + bytes((len(data) & 0x7F | 0x80, len(data) >> 7)) + data
    return found + b"\x28\x07" + b"\x31" + bytes(8)


def _insert(connection: sqlite3.Connection, number: int, note: Note) -> None:
    guid = note.guid or f"guid-{number:04d}"
    flds: object = "\x1f".join(note.fields)
    type_id = note.type_id if note.type_id is not None else note.note_type[0]
    connection.execute(
        "INSERT INTO notes VALUES (?, ?, ?, ?, ?)",
        (1_700_000_000_000 + number, guid, type_id, f" {note.tags} ", flds),
    )
    if note.raw_fields is not None:
        connection.execute(
            "UPDATE notes SET flds = CAST(? AS TEXT) WHERE id = ?",
            (note.raw_fields, 1_700_000_000_000 + number),
        )
    connection.execute(
        "INSERT INTO cards VALUES (?, ?, ?, 0, ?)",
        (1_800_000_000_000 + number, 1_700_000_000_000 + number, note.deck, note.home),
    )


def notice() -> bytes:
    """The second collection of a modern package: one note, for programs that are too old."""
    return collection(Deck([Note(BASIC, (NOTICE, ""), guid="notice")]))


def package(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A ZIP archive with the members, in order, dated the same day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, _DAY)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()


def modern_package(deck: Deck, *, zstd: bool = False) -> bytes:
    """A package as a current Anki writes it: the collection and the notice for older ones."""
    data = collection(deck)
    name = "collection.anki21"
    if zstd:
        import zstandard

        data, name = zstandard.ZstdCompressor().compress(data), "collection.anki21b"
    meta = b"\x08\x03" if zstd else b"\x08\x02"
    return package([("meta", meta), (name, data), ("collection.anki2", notice()), ("media", b"{}")])


def sample() -> Deck:
    """The invented cards (CC0) of anki_sample.jsonl: markup, media, clozes of every kind, gaps."""
    types = {note_type[1]: note_type for note_type in NOTE_TYPES}
    text = Path(__file__).with_name("anki_sample.jsonl").read_text(encoding="utf-8")
    notes = []
    for line in text.splitlines():
        values = json.loads(line)
        note_type = types[values.pop("type")]
        notes.append(Note(note_type, tuple(values.pop("fields")), **values))
    return Deck(notes)


def sample_package() -> bytes:
    """The deck of `meadow/samples/anki`."""
    return modern_package(sample())


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(sample_package())
