"""The database inside a deck: whose notes are bad, and what a hostile one can do."""

import sqlite3
import time
from pathlib import Path

import pytest
from support.anki_deck import BASIC, Deck, Note, collection
from support.stopwatch import Stopwatch

from meadow.errors import FileError, MeadowError, UpstreamChangedError
from meadow.schema import Reason
from meadow.sources.anki import collection as anki_collection
from meadow.sources.anki.collection import read_database


def write(path: Path, deck: Deck, *statements: str) -> Path:
    path.write_bytes(collection(deck))
    connection = sqlite3.connect(path)
    connection.create_collation("unicase", lambda a, b: (a > b) - (a < b))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def read(path: Path, time_limit: float = 30.0) -> list:
    return list(read_database(path, "deck", time_limit))


TWO = [Note(BASIC, ("one", "1")), Note(BASIC, ("two", "2"))]


def test_a_bad_note_is_one_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anki_collection, "MAX_FIELDS", 100)
    notes = [
        Note(BASIC, ("good", "1")),
        Note(BASIC, ("bad", ""), raw_fields=b"caf\xe9\x1flatin"),
        Note(BASIC, ("no type", ""), type_id=77),
        Note(BASIC, ("x" * 101, "")),
        Note(BASIC, ("number", "")),
        Note(BASIC, ("good", "2")),
    ]
    table = "CREATE TABLE notes (id, guid, mid, tags, flds)"
    rename = "ALTER TABLE notes RENAME TO old"
    fields = "iif(flds LIKE 'number%', 42, flds)"
    copy = f"INSERT INTO notes SELECT id, guid, mid, tags, {fields} FROM old"
    found = read(write(tmp_path / "c", Deck(notes), rename, table, copy))
    assert [getattr(row, "reason", None) for row in found] == [
        *(None, Reason.BAD_ENCODING, Reason.ORPHAN, Reason.TOO_LARGE, Reason.BAD_VALUE, None)
    ]
    assert found[1].where == "deck:note 1700000000002"


_ENDLESS = (
    "CREATE VIEW notes AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
    " SELECT id, '' AS guid, 1001 AS mid, '' AS tags, 'a' AS flds FROM n"
)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["DROP TABLE col"], "no table col"),
        (["DROP TABLE notes"], "no table notes"),
        (["DROP TABLE cards"], "no table cards"),
        (["DROP TABLE notes", _ENDLESS], "no table notes"),
        (["UPDATE col SET models = '{'"], "note types cannot be read"),
        (['UPDATE col SET models = \'{"1001": {"name": "x"}}\''], "note types cannot be read"),
        (["UPDATE col SET models = '[1]'"], "note types cannot be read"),
        (["UPDATE col SET models = replace(models, ': 0', ': 1e999')"], "types cannot be read"),
        (["UPDATE col SET models = NULL"], "note types cannot be read"),
        (["DELETE FROM col"], "has no version"),
        (["UPDATE col SET ver = 'eleven'"], "has no version"),
    ],
)
def test_a_collection_that_is_none(statements: list[str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "c", Deck(TWO), *statements)
    watch = Stopwatch()
    with pytest.raises(FileError, match=message):
        read(path)
    assert watch.within(2)


def test_decks_that_cannot_be_read_cost_only_their_names(tmp_path: Path) -> None:
    found = read(write(tmp_path / "c", Deck(TWO), "UPDATE col SET decks = '?'"))
    assert [row["deck"] for row in found] == ["", ""]


def test_a_slow_database_is_stopped(tmp_path: Path) -> None:
    # without its index, each note looks through all cards
    notes = [Note(BASIC, (str(number), "")) for number in range(6_000)]
    path = write(tmp_path / "c", Deck(notes), "DROP INDEX ix_cards_nid")
    watch = Stopwatch()
    with pytest.raises(FileError, match="takes more than"):
        read(path, time_limit=0.02)
    assert watch.within(2)


def test_time_between_notes_is_not_counted(tmp_path: Path) -> None:
    notes = [Note(BASIC, (str(number), "")) for number in range(1_200)]
    found = 0
    for row in read_database(write(tmp_path / "c", Deck(notes)), "deck", 0.5):
        if found % 400 == 0:
            time.sleep(0.3)
        found += "fields" in row
    assert found == 1_200


def test_the_file_is_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "c", Deck(TWO))
    before = path.read_bytes()
    path.chmod(0o400)
    read(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["c"]


@pytest.mark.realdata
def test_real_collections(upstream: Path) -> None:
    folder = upstream / "anki"
    assert len(read(folder / "mcat_exports/collection_schema18.anki2")) == 65
    assert read(folder / "ankidroid/initial_version_2_12_1.anki2") == []
    # healthy, though quick_check fails on it without Anki's own collation
    assert read(folder / "ankidroid/schema16.anki2") == []
    with pytest.raises(FileError, match="damaged"):
        read(folder / "ankidroid/initial_version_2_12_1_corrupt_regular.anki2")
    with pytest.raises(UpstreamChangedError, match="schema 250 is newer"):
        read(folder / "ankidroid/schema250.anki2")
    with pytest.raises(UpstreamChangedError, match="schema 1 is older"):
        read(folder / "ankitects_tests/anki2-alpha.anki2")


def check_mutants(folder: Path, count: int) -> None:
    """SQLite has no checksums: a flip is an error, or other text; never a crash or a hang."""
    import hashlib

    path = folder / "c"
    good = collection(Deck(TWO * 20, 18))
    errors = 0
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).digest()
        mutant = bytearray(good)
        for offset in range(0, 4 * (1 + number % 4), 4):
            place = int.from_bytes(digest[offset : offset + 4], "big") % len(good)
            mutant[place] ^= digest[16 + offset // 4] or 1
        if number % 10 == 0:
            del mutant[int.from_bytes(digest[20:24], "big") % len(good) :]
        path.write_bytes(mutant)
        watch = Stopwatch()
        try:
            list(read_database(path, "deck", 5.0))
        except MeadowError:
            errors += 1
        assert watch.within(2), number
    assert errors > count // 10


def test_flipped_bytes_end_soon(tmp_path: Path) -> None:
    check_mutants(tmp_path, 300)
