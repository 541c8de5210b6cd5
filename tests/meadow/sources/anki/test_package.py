"""Decks in every form, and the archives that are none."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
import zstandard
from support.anki_deck import (
    BASIC,
    CLOZE,
    NOTICE,
    Deck,
    Note,
    collection,
    modern_package,
    notice,
    package,
    sample,
    sample_package,
)
from support.stopwatch import Stopwatch

from meadow.errors import FileError, MeadowError, UpstreamChangedError
from meadow.source import Input
from meadow.sources.anki import package as anki_package
from meadow.sources.anki.package import is_package_or_collection, read_collection

DECK = Deck([Note(BASIC, ("front", "back")), Note(CLOZE, ("a {{c1::b}}", ""), deck=2, tags="x y")])


def rows(data: bytes, folder: Path, name: str = "deck.apkg") -> list:
    path = folder / name
    path.write_bytes(data)
    return list(read_collection(Input(path, f"anki/{name}")))


def without_place(found: list) -> list:
    return [{key: value for key, value in row.items() if key != "_where"} for row in found]


def test_a_note_has_its_type_deck_tags_and_fields(tmp_path: Path) -> None:
    first, second = rows(collection(DECK), tmp_path, "collection.anki2")
    assert first == {
        "_where": "anki/collection.anki2:note 1700000000001",
        "guid": "guid-0001",
        "note_type": "Basic",
        "cloze": False,
        "deck": "Default",
        "tags": [],
        "field_names": ["Front", "Back"],
        "fields": ["front", "back"],
        "templates": (("{{Front}}", "{{FrontSide}}\n\n<hr id=answer>\n\n{{Back}}"),),
    }
    assert (second["cloze"], second["deck"], second["tags"]) == (True, "Samples::Heart", ["x", "y"])


@pytest.mark.parametrize("schema", [11, 14, 15, 16, 17, 18])
def test_every_supported_schema_gives_the_same_notes(schema: int, tmp_path: Path) -> None:
    expected = without_place(rows(collection(DECK), tmp_path, "collection.anki2"))
    found = rows(collection(Deck(DECK.notes, schema)), tmp_path, "other.anki2")
    assert without_place(found) == expected


def test_every_package_gives_the_same_notes(tmp_path: Path) -> None:
    bare = without_place(rows(collection(DECK), tmp_path, "collection.anki2"))
    new = Deck(DECK.notes, 18)
    forms = {
        "anki21.apkg": modern_package(DECK),
        "anki21b.apkg": modern_package(new, zstd=True),
        "full.colpkg": modern_package(new, zstd=True),
        "old.apkg": package([("collection.anki2", collection(DECK)), ("media", b"{}")]),
        "notice_first.apkg": package(
            [("collection.anki2", notice()), ("collection.anki21", collection(DECK))]
        ),
    }
    forms["collection.anki21b"] = zstandard.ZstdCompressor().compress(collection(new))
    for name, data in forms.items():
        assert without_place(rows(data, tmp_path, name)) == bare, name


def test_the_notice_is_never_a_note(tmp_path: Path) -> None:
    found = rows(modern_package(DECK), tmp_path)
    assert not any(NOTICE in field for row in found for field in row["fields"])
    for data in (
        package([("collection.anki2", notice())]),
        package([("meta", b"\x08\x03"), ("collection.anki2", notice())]),
        # a notice in another language is told by the version alone
        package(
            [
                ("meta", b"\x08\x02"),
                ("collection.anki2", collection(Deck([Note(BASIC, ("Bitte", ""))]))),
            ]
        ),
    ):
        with pytest.raises(FileError, match="only the notice"):
            rows(data, tmp_path)
    with pytest.raises(FileError, match="only the notice"):
        rows(notice(), tmp_path, "collection.anki2")


def test_newer_packages_are_refused(tmp_path: Path) -> None:
    data = package([("meta", b"\x08\x04"), ("collection.anki99", b"?")])
    with pytest.raises(UpstreamChangedError, match="package version 4 is newer"):
        rows(data, tmp_path)


@pytest.mark.parametrize(("schema", "side"), [(1, "older"), (10, "older"), (19, "newer")])
def test_other_schemas_are_refused(schema: int, side: str, tmp_path: Path) -> None:
    with pytest.raises(UpstreamChangedError, match=f"schema {schema} is {side}"):
        rows(collection(Deck(DECK.notes, schema)), tmp_path)


def test_an_open_collection_is_refused(tmp_path: Path) -> None:
    (tmp_path / "collection.anki2-wal").write_bytes(b"unsaved")
    with pytest.raises(FileError, match="Anki has it open"):
        rows(collection(DECK), tmp_path, "collection.anki2")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("no deck", package([("readme.txt", b"hello")]), "holds no Anki collection"),
        ("no archive", b"hello, I am a text", "neither an Anki package"),
        ("empty", b"", "neither an Anki package"),
        ("cut zip", sample_package()[:700], "truncated or damaged"),
        ("cut sqlite", collection(DECK)[:3000], "damaged"),
        ("no sqlite", package([("collection.anki21", b"x" * 5000)]), "damaged"),
        ("empty member", package([("collection.anki21", b"")]), "no table col|damaged"),
        ("cut zstd", package([("collection.anki21b", b"\x28\xb5\x2f\xfd\x00")]), "damaged"),
        ("nested", package([("deck.apkg", sample_package())]), "holds no Anki collection"),
        ("outside", package([("../../collection.anki21", collection(DECK))]), "holds no Anki"),
    ],
)
def test_what_is_no_deck_is_one_clear_error(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FileError, match=message):
        rows(data, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"deck.apkg"}


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("collection.anki21", collection(DECK))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("collection.anki21", collection(DECK))
    with pytest.raises(FileError, match="twice"):
        rows(buffer.getvalue(), tmp_path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(package([("collection.anki21", collection(DECK))]))
    data[6] |= 1
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8] |= 1
    with pytest.raises(FileError, match="encrypted"):
        rows(bytes(data), tmp_path)


def test_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    data = bytearray(package([("collection.anki21", collection(DECK))]))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 16 : directory + 20] = struct.pack("<I", 12345)
    with pytest.raises(FileError, match="damaged"):
        rows(bytes(data), tmp_path)


def test_bombs_stop_at_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = b"SQLite format 3\x00" + bytes(40 * 1024**2)
    packed = zstandard.ZstdCompressor(level=19).compress(zeros)
    monkeypatch.setattr(anki_package, "MAX_COLLECTION", 30 * 1024**2)
    for data in (
        package([("collection.anki21", zeros)]),
        package([("collection.anki21b", packed)]),
    ):
        watch = Stopwatch()
        with pytest.raises(FileError, match="unpacks to more than"):
            rows(data, tmp_path)
        assert watch.within(2)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anki_package, "MAX_MEMBERS", 3)
    with pytest.raises(FileError, match="more than 3 members"):
        rows(modern_package(DECK), tmp_path)


def test_the_sample_is_what_the_script_writes(root: Path) -> None:
    path = root / "meadow/samples/anki/sample.apkg"
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(io.BytesIO(sample_package())) as made:
        assert ours.namelist() == made.namelist()
        for name in ours.namelist():
            assert ours.read(name) == made.read(name)


def test_detection_goes_by_content(tmp_path: Path) -> None:
    for name, data, expected in (
        ("a.txt", sample_package(), True),
        ("b.apkg", b"front\tback\n", False),
        ("c", collection(DECK), True),
        ("d", b"", False),
    ):
        (tmp_path / name).write_bytes(data)
        assert is_package_or_collection(tmp_path / name) is expected


@pytest.mark.realdata
def test_real_packages(upstream: Path) -> None:
    folder = upstream / "anki"
    counts = {
        path.name: len(list(read_collection(Input(path, path.name))))
        for path in sorted(folder.rglob("*.apkg"))
    }
    assert counts == {
        "MCAT_High_Yield.apkg": 65,
        "diffmodels2-1.apkg": 1,
        "diffmodeltemplates-1.apkg": 1,
        "mcat_legacy.apkg": 65,
        "mcat_modern.apkg": 65,
        "media.apkg": 1,
        "update1.apkg": 1,
    }


def check_mutants(folder: Path, every: int) -> None:
    """A package protects its bytes by CRC: a flip in it never changes a note."""
    good = modern_package(Deck(sample().notes[:6]))
    expected = without_place(rows(good, folder))
    errors = 0
    for position in range(0, len(good), every):
        mutant = bytearray(good)
        mutant[position] ^= 1 << (position % 8)
        try:
            found = without_place(rows(bytes(mutant), folder))
        except MeadowError:
            errors += 1
        else:
            assert found == expected, position
    assert errors > len(good) // every // 2


def test_flipped_bytes_are_an_error_or_a_checked_deck(tmp_path: Path) -> None:
    check_mutants(tmp_path, every=23)
