"""Notes of an Anki collection: a SQLite database of schema 11 to 18.

The database is somebody else's file: it is opened read-only and immutable, checked before the first
query, kept from running its own schema's functions, and stopped when it takes too long. SQLite has
no checksums, so a flipped byte inside a text is not seen here: the checksum of the package is what
protects against that.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Raw, Reason, Reject
from meadow.sources.anki.crowdanki import BROKEN, model_of
from meadow.sources.anki.templates import NoteType

OLDEST_SCHEMA = 11
NEWEST_SCHEMA = 18
UPGRADE_NOTICE = "Please update to the latest Anki version"
"""How the only note of a modern package's second collection begins; it is never data."""
MAX_FIELDS = 1024**2
"""Bytes of one note; a longer one is rejected."""
TIME_LIMIT = 300.0
MAX_VALUE = 256 * 1024**2


class _Watch:
    """Stops a query that takes longer than the limit; time spent outside a query is free."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.restart()

    def restart(self) -> None:
        """Give the next query the whole limit."""
        self.deadline = time.monotonic() + self.limit

    def expired(self) -> bool:
        """Whether the query that runs is over its limit."""
        return time.monotonic() >= self.deadline


def read_database(path: Path, label: str, time_limit: float) -> Iterator[Raw | Reject]:
    """Yield every note in the order in which the notes were made.

    Args:
        path: The database.
        label: How rejects and errors name it.
        time_limit: Seconds that it may take for one answer (the check, or 500 notes).

    Raises:
        FileError: The database is damaged, too slow, or none of Anki's.
        UpstreamChangedError: The schema is older or newer than the supported ones.
    """
    watch = _Watch(time_limit)
    try:
        with contextlib.closing(_open(path, watch)) as connection:
            schema = _check(connection, label)
            note_types = _note_types(connection, label)
            decks = _decks(connection)
            if schema == OLDEST_SCHEMA and _is_notice(connection):
                raise FileError(
                    "the collection holds only the notice for old Anki versions",
                    where=label,
                    fix="give the .apkg itself, or its collection.anki21 or collection.anki21b",
                )
            found = connection.execute(
                "SELECT n.id, n.guid, n.mid, n.tags, n.flds,"
                # a card in a filtered deck has its home in odid
                " (SELECT CASE WHEN c.odid > 0 THEN c.odid ELSE c.did END"
                " FROM cards c WHERE c.nid = n.id ORDER BY c.ord, c.id LIMIT 1)"
                " FROM notes n ORDER BY n.id"
            )
            watch.restart()
            while rows := found.fetchmany(500):
                for note_id, guid, kind, tags, fields, deck in rows:
                    where = f"{label}:note {_number(note_id)}"
                    note_type = note_types.get(_number(kind))
                    yield _note(where, guid, note_type, tags, fields, decks.get(_number(deck), ""))
                watch.restart()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # UnicodeDecodeError: sqlite3's own message quotes a damaged name
        what = (
            f"the database takes more than {time_limit:g} s"
            if watch.expired()
            else f"the database is damaged: {error}"
        )
        raise FileError(
            what, where=label, fix="in Anki: Tools > Check Database, then export again"
        ) from error


def _open(path: Path, watch: _Watch) -> sqlite3.Connection:
    """The database, read-only, with the collation that Anki's own indexes name."""
    uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    # Bytes, so that bad UTF-8 is one note's fault and not the query's.
    connection.text_factory = bytes
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.create_collation("unicase", _compare_folded)
    connection.set_progress_handler(watch.expired, 20_000)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _compare_folded(left: str, right: str) -> int:
    one, other = left.casefold(), right.casefold()
    return (one > other) - (one < other)


def _check(connection: sqlite3.Connection, label: str) -> int:
    """The schema version, after the checks that come before any other query."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != b"ok":
        detail = _text(found[0]) if found else "no answer"
        raise sqlite3.DatabaseError(" ".join(detail.split()))
    kinds = {
        _text(name): (_text(kind), _text(sql))
        for name, kind, sql in connection.execute("SELECT name, type, sql FROM sqlite_master")
    }
    for table in ("col", "notes", "cards"):
        kind, sql = kinds.get(table, ("", ""))
        if kind != "table" or sql.lstrip().upper().startswith("CREATE VIRTUAL"):
            raise FileError(
                f"no table {table}: not an Anki collection",
                where=label,
                fix="give the .apkg, or Anki's own collection.anki2",
            )
    row = connection.execute("SELECT ver FROM col").fetchone()
    schema = row[0] if row else None
    if not isinstance(schema, int):
        raise sqlite3.DatabaseError("table col has no version")
    if not OLDEST_SCHEMA <= schema <= NEWEST_SCHEMA:
        side = "newer" if schema > NEWEST_SCHEMA else "older"
        raise UpstreamChangedError(
            f"collection schema {schema} is {side} than the supported"
            f" {OLDEST_SCHEMA} to {NEWEST_SCHEMA}",
            where=label,
            fix="export the deck from a current Anki with 'support older Anki versions'",
        )
    return schema


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {_text(name) for (name,) in rows}


def _note_types(connection: sqlite3.Connection, label: str) -> dict[int, NoteType]:
    """Note types by id: tables from schema 15 on, JSON in `col` before."""
    tables = _tables(connection)
    try:
        if not {"notetypes", "fields"} <= tables:
            models = json.loads(connection.execute("SELECT models FROM col").fetchone()[0])
            return {int(number): model_of(model) for number, model in models.items()}
        names: dict[int, list[str]] = {}
        for parent, name in connection.execute("SELECT ntid, name FROM fields ORDER BY ntid, ord"):
            names.setdefault(parent, []).append(_text(name))
        templates: dict[int, list[tuple[str, str]]] = {}
        if "templates" in tables:
            for parent, config in connection.execute(
                "SELECT ntid, config FROM templates ORDER BY ntid, ord"
            ):
                templates.setdefault(parent, []).append(_sides(config))
        return {
            number: NoteType(
                _text(name),
                tuple(names.get(number, ())),
                _is_cloze(config),
                tuple(templates.get(number, ())),
            )
            for number, name, config in connection.execute("SELECT id, name, config FROM notetypes")
        }
    except BROKEN as error:
        raise FileError(
            f"the note types cannot be read: {type(error).__name__} {error}",
            where=label,
            fix="export the deck from Anki again",
        ) from error


def _sides(message: bytes) -> tuple[str, str]:
    """A template's front and back: fields 1 and 2 of its protobuf message, which are written first.

    A field that is empty is not written at all.
    """
    sides = {0x0A: "", 0x12: ""}
    position = 0
    while position < len(message) and message[position] in sides:
        key, size, shift = message[position], 0, 0
        while shift == 0 or (message[position] >= 0x80 and shift < 35):
            position += 1
            size |= (message[position] & 0x7F) << shift
            shift += 7
        position += 1
        sides[key] = message[position : position + size].decode("utf-8", "replace")
        position += size
    return sides[0x0A], sides[0x12]


def _is_cloze(config: object) -> bool:
    """Whether a note type's protobuf message has field 1 (its kind) set to 1, cloze.

    Field 1 is written first, and not at all where it is 0.
    """
    return isinstance(config, bytes) and config[:2] == b"\x08\x01"


def _decks(connection: sqlite3.Connection) -> dict[int, str]:
    """Deck names by id, `::` between a deck and its parts in every schema."""
    if "decks" in _tables(connection):
        rows = connection.execute("SELECT id, name FROM decks")
        return {number: _text(name).replace("\x1f", "::") for number, name in rows}
    with contextlib.suppress(*BROKEN):
        decks = json.loads(connection.execute("SELECT decks FROM col").fetchone()[0])
        return {int(number): str(deck["name"]) for number, deck in decks.items()}
    return {}


def _is_notice(connection: sqlite3.Connection) -> bool:
    rows = connection.execute("SELECT flds FROM notes LIMIT 2").fetchall()
    return len(rows) == 1 and _text(rows[0][0]).startswith(UPGRADE_NOTICE)


def _note(
    where: str,
    guid: object,
    note_type: NoteType | None,
    tags: object,
    fields: object,
    deck: str,
) -> Raw | Reject:
    if note_type is None:
        return Reject(where, Reason.ORPHAN, "the note's type is not in the collection")
    if not isinstance(fields, bytes):
        return Reject(where, Reason.BAD_VALUE, "the fields are no text")
    if len(fields) > MAX_FIELDS:
        return Reject(where, Reason.TOO_LARGE, f"{len(fields):,} bytes of fields")
    try:
        texts = fields.decode("utf-8").split("\x1f")
        name = guid.decode("utf-8") if isinstance(guid, bytes) else str(guid)
        labels = tags.decode("utf-8").split() if isinstance(tags, bytes) else []
    except UnicodeDecodeError as error:
        return Reject(where, Reason.BAD_ENCODING, str(error), _text(fields))
    return note_type.note(where, name, deck, labels, texts)


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
