"""Archives and packed files: what was packed, or an error. A flipped bit is never another text."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import re
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import zstandard
from support import anki_deck
from support.fuzz.engine import Kind, SilentDifferenceError, mutants
from support.fuzz.mutate import mutant
from support.fuzz.rows import outcome, write_input

from meadow.errors import FileError
from meadow.fetch.members import member_blocks
from meadow.readers.archives import members, open_7z_member, open_binary, open_input
from meadow.samples import FOLDER
from meadow.schema import Reject
from meadow.source import Input
from meadow.sources import SOURCES
from meadow.sources.anki.package import read_collection

MEMBERS = {
    "a/1.xml": b"<a>one</a>" * 40,
    "a/2.xml": b"<a>two</a>" + bytes(range(256)),
    "b/3.txt": b"three\n" * 300,
    "b/empty.xml": b"",
}
ZIP_TOKENS = (
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"),
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"../../x", b"\x08\x00", b"\x0c\x00", b"\x0e\x00"),
    *(b"\x01\x00", b"\x63\x00", b"\x5d\x00", b"\x01\x99\x07\x00", b"\xff" * 8),
)


def zip_of(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, method)
        archive.comment = b"a comment" if method == zipfile.ZIP_STORED else b""
    return buffer.getvalue()


def check_zip(data: bytes, folder: Path) -> str:
    """Contents are those that were packed; a name may have changed, since nothing guards it."""
    path = folder / "archive.zip"
    path.write_bytes(data)
    packed = set(MEMBERS.values())
    found = 0
    for _, stream in members(path):
        _held_to(stream.read(), packed)
        found += 1
    with open_input(Input(path, "archive.zip", member="1.xml")) as file:
        # an archive whose end is gone is a plain file, which the reader of its format refuses
        _held_to(file.read(), packed | {data})
    return "all" if found == len(MEMBERS) else "some"


def _held_to(content: bytes, packed: set[bytes]) -> None:
    if content not in packed:
        raise SilentDifferenceError(f"{len(content)} bytes: {content[:80]!r}")


TAR_TOKENS = (
    *(b"ustar", b"\x00" * 512, b"0000000", b"77777777777\x00", b"\x80\x00\x00\x00\x00\x00\x00\xff"),
    *(b"\xff" * 12, b"x", b"L", b"g", b"K", b"2", b"5", b"30 size=99999999999999999999\n"),
    *(b"path=", b"12 size=\xc2\xb2\n", b"9" * 600 + b" path=x\n", b"-1 path=x\n", b"0 =\n"),
    b"20 path=../../x\n",
)


def tar_of(form: int, mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in {"a/" + "long" * 60 + ".xml": b"long name", **MEMBERS}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a/link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def check_tar(data: bytes, folder: Path) -> str:
    """Nothing but contents and errors; behind gzip's checksum the contents are the packed ones."""
    path = folder / "archive.tar"
    path.write_bytes(data)
    step = 100 + len(data) % 1000
    blocks = (data[at : at + step] for at in range(0, len(data), step))
    try:
        content = b"".join(member_blocks(blocks, "b/3.txt", cap=10_000, where="archive"))
        streamed = "kept" if content in MEMBERS.values() else "changed"
    except FileError:
        streamed = "refused"
    contents = [stream.read() for _, stream in members(path)]
    # the checksum stands at the end: only an archive that was read to it is vouched for
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        for content in contents:
            _held_to(content, {b"long name", *MEMBERS.values()})
    return f"{'some' if contents else 'no'} members, streamed {streamed}"


TEXT = b"".join(b'{"row": %d, "text": "seven times %d"}\n' % (n, n * 7) for n in range(60))
PARTS = (TEXT[:1000], TEXT[1000:])
_ZSTD = zstandard.ZstdCompressor(write_checksum=True)
MAGIC = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
PACKED = [
    gzip.compress(TEXT, mtime=0),
    b"".join(gzip.compress(part, mtime=0) for part in PARTS),
    bz2.compress(TEXT),
    _ZSTD.compress(TEXT),
    b"".join(map(_ZSTD.compress, PARTS)),
]


def check_packed(data: bytes, folder: Path) -> str:
    """What is read to the end without an error is the text, or whole members of it."""
    path = folder / "file"
    path.write_bytes(data)
    with open_binary(path) as file:
        content = file.read()
    if not data.startswith(MAGIC):
        assert content == data
        return "plain"
    # members can be lost, doubled or swapped without a trace; what is in one cannot be changed
    left = content
    for whole in (TEXT, *PARTS):
        left = left.replace(whole, b"")
    if left:
        raise SilentDifferenceError(f"{len(content)} bytes: {content[:80]!r}")
    return "kept"


POSTS, USERS = (
    (FOLDER / f"stack_exchange/health/{name}.xml").read_bytes() for name in ("Posts", "Users")
)


@cache
def sevenzips() -> list[bytes]:
    import py7zr

    found = []
    for method in ("LZMA2", "BZIP2", "COPY", "DEFLATE"):
        buffer = io.BytesIO()
        filters = [{"id": getattr(py7zr, f"FILTER_{method}")}]
        with py7zr.SevenZipFile(buffer, "w", filters=filters) as archive:
            archive.writestr(USERS, "Users.xml")
            archive.writestr(POSTS, "Posts.xml")
        found.append(buffer.getvalue())
    return found


def check_sevenzip(data: bytes, folder: Path) -> str:
    """The member's bytes are those that were packed."""
    path = folder / "site.7z"
    path.write_bytes(data)
    with open_7z_member(path, lambda name: name.lower().endswith("posts.xml")) as file:
        if file is None:
            return "no posts"
        _held_to(file.read(), {POSTS, USERS})
    return "kept"


@cache
def decks() -> list[bytes]:
    """Anki packages of every form."""
    deck = anki_deck.sample()
    return [
        anki_deck.modern_package(deck),
        anki_deck.modern_package(deck, zstd=True),
        anki_deck.package([("collection.anki2", anki_deck.collection(deck)), ("media", b"{}")]),
    ]


def shown(data: bytes, folder: Path) -> str:
    """Every note and reject of a package, in order."""
    rows = read_collection(write_input(folder, "deck.apkg", data), time_limit=5.0)
    return "\n".join(
        r.to_json() if isinstance(r, Reject) else repr(sorted(r.items())) for r in rows
    )


@cache
def packed_notes() -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        return {shown(deck, Path(folder)) for deck in decks()}


def check_deck(data: bytes, folder: Path) -> str:
    """The notes of one of the packages, or an expected error."""
    wanted = packed_notes()
    found = shown(data, folder)
    if found not in wanted:
        raise SilentDifferenceError(found[:400])
    return "kept"


SQLITE_TOKENS = (
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f" * 9, b"\x81" * 9, b"\x0d", b"\x05"),
    *(b"\x0a", b"\x02", b"CREATE TABLE", b"CREATE VIEW ", b"CREATE TRIGGER", b"randomblob(1e9)"),
    *(b"SELECT", b"unicase", b"\x1f", b"{}", b"null", b'"flds"', b'"ord": "x"', b'"type": 1'),
    *(b"\xed\xa0\x80", b"\xff\xfe", b'"name": {}', b'"ord": null', b'"ord": 1e999', b"[]"),
    *(b'"1001"', b'"x"', b"9" * 20),
)


@cache
def databases() -> list[bytes]:
    deck = anki_deck.sample()
    return [anki_deck.collection(deck), anki_deck.collection(anki_deck.Deck(deck.notes, schema=18))]


def make_database(chance: random.Random, index: int) -> bytes:
    """A database with its pages, its SQL or its JSON damaged."""
    seed = chance.choice(databases())
    if index % 3:
        return mutant(chance, seed, SQLITE_TOKENS, most=3, binary=index % 3 == 1)
    # inside the JSON of the note types, at the same length: the pages stay whole
    places = [found.span() for found in re.finditer(rb'[{}":,\[\]0-9a-z_ ]{12,}', seed)]
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        start, stop = chance.choice(places)
        token = chance.choice(SQLITE_TOKENS)
        at = chance.randrange(start, stop)
        if at + len(token) <= stop:
            data[at : at + len(token)] = token
    return bytes(data)


def check_database(data: bytes, folder: Path) -> str:
    """The whole source from the file alone, and from a package with right checksums."""
    name = "collection.anki2"
    if not len(data) % 2:
        name, data = "deck.apkg", anki_deck.package([(name, data)])
    return outcome(SOURCES["anki"].upstream, [write_input(folder, name, data)])


KINDS = (
    Kind(
        "zips",
        mutants(
            [zip_of(m) for m in (zipfile.ZIP_DEFLATED, 0, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)],
            ZIP_TOKENS,
            most=3,
            binary=True,
        ),
        check_zip,
        2_000,
        "zip",
    ),
    Kind(
        "tars",
        mutants(
            [
                tar_of(form, mode)
                for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
                for mode in ("w:", "w:gz", "w:bz2", "w:xz")
            ],
            TAR_TOKENS,
            most=3,
            binary=True,
        ),
        check_tar,
        2_000,
        "tar",
    ),
    Kind(
        "packed",
        mutants(
            PACKED,
            (*MAGIC, b"\x00" * 8, b"\xff" * 8, b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"),
            most=2,
            binary=True,
        ),
        check_packed,
        3_000,
        "packed",
    ),
    Kind(
        "sevenzips",
        mutants(
            sevenzips,
            (b"7z\xbc\xaf\x27\x1c", b"\xff" * 8, b"\x00" * 8, b"\x17", b"\x01\x04\x06", b"P\x00o"),
            most=2,
            binary=True,
        ),
        check_sevenzip,
        1_000,
        "sevenzip",
    ),
    Kind("decks", mutants(decks, ZIP_TOKENS, most=2, binary=True), check_deck, 1_000, "sqlite"),
    Kind("databases", make_database, check_database, 1_000, "sqlite"),
)
