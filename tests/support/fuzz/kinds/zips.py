"""ZIP archives: whatever member is read whole is one that was packed, or the archive is refused."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

from support.fuzz.engine import SilentDifferenceError
from support.fuzz.mutate import mutant

from meadow.readers.archives import members, open_input
from meadow.source import Input

MEMBERS = {
    "a/1.xml": b"<a>one</a>" * 40,
    "a/2.xml": b"<a>two</a>" + bytes(range(256)),
    "b/3.txt": b"three\n" * 300,
    "b/empty.xml": b"",
}
TOKENS = (
    *(b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"),
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"../../x", b"\x08\x00", b"\x0c\x00", b"\x0e\x00"),
    *(b"\x01\x00", b"\x63\x00", b"\x5d\x00", b"\x01\x99\x07\x00", b"\xff" * 8),
)


def _packed(method: int, *, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, method)
        archive.comment = comment
    return buffer.getvalue()


SEEDS = [
    _packed(zipfile.ZIP_DEFLATED),
    _packed(zipfile.ZIP_STORED, comment=b"a comment"),
    _packed(zipfile.ZIP_BZIP2),
    _packed(zipfile.ZIP_LZMA),
]


def make(index: int) -> bytes:
    """A few flips, cuts and wrong numbers."""
    chance = random.Random(f"zips {index}")
    seed = chance.choice(SEEDS)
    return mutant(chance, seed, TOKENS, most=3, binary=index % 4 != 0)


def check(data: bytes, folder: Path) -> str:
    """Contents are those that were packed; a name may have changed, since nothing guards it."""
    path = folder / "archive.zip"
    path.write_bytes(data)
    packed = set(MEMBERS.values())
    found = []
    for _, stream in members(path):
        content = stream.read()
        if content not in packed:
            raise SilentDifferenceError(f"a member reads {content[:60]!r}")
        found.append(content)
    with open_input(Input(path, "archive.zip", member="1.xml")) as file:
        content = file.read()
        # an archive whose end is gone is a plain file, which the reader of its format refuses
        if content not in packed and content != data:
            raise SilentDifferenceError(f"the member reads {content[:60]!r}")
    return "all" if len(found) == len(MEMBERS) else "some"
