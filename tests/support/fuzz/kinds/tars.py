"""Tar archives, plain and packed, read member by member and as they arrive over the network."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

from support.fuzz.engine import SilentDifferenceError
from support.fuzz.kinds.zips import MEMBERS
from support.fuzz.mutate import mutant

from meadow.errors import FileError
from meadow.fetch.members import member_blocks
from meadow.readers.archives import members

TOKENS = (
    *(b"ustar", b"\x00" * 512, b"0000000", b"77777777777\x00", b"\x80\x00\x00\x00\x00\x00\x00\xff"),
    *(b"\xff" * 12, b"x", b"L", b"g", b"K", b"2", b"5", b"30 size=99999999999999999999\n"),
    *(b"path=", b"12 size=\xc2\xb2\n", b"9" * 600 + b" path=x\n", b"-1 path=x\n", b"0 =\n"),
    b"20 path=../../x\n",
)
LONG = "a/" + "long" * 60 + ".xml"


def _packed(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    form = tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in {LONG: b"long name", **MEMBERS}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a/link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


SEEDS = [_packed(kind, mode) for kind in ("pax", "gnu") for mode in ("w:", "w:gz", "w:bz2", "w:xz")]


def make(index: int) -> bytes:
    """A few flips, cuts and wrong headers."""
    chance = random.Random(f"tars {index}")
    return mutant(chance, chance.choice(SEEDS), TOKENS, most=3, binary=index % 3 == 0)


def check(data: bytes, folder: Path) -> str:
    """Nothing but contents and errors; behind gzip's checksum the contents are the packed ones."""
    path = folder / "archive.tar"
    path.write_bytes(data)
    packed = {b"long name", *MEMBERS.values()}
    guarded = data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))
    streamed = _streamed(data)
    found = 0
    contents = []
    for _, stream in members(path):
        contents.append(stream.read())
        found += 1
    # the checksum stands at the end: only an archive that was read to it is vouched for
    if guarded and any(content not in packed for content in contents):
        raise SilentDifferenceError(f"a member reads {contents}"[:200])
    return f"{'some' if found else 'no'} members, streamed {streamed}"


def _streamed(data: bytes) -> str:
    step = 100 + len(data) % 1000
    blocks = (data[at : at + step] for at in range(0, len(data), step))
    try:
        content = b"".join(member_blocks(blocks, "b/3.txt", cap=10_000, where="archive"))
    except FileError:
        return "refused"
    return "kept" if content in MEMBERS.values() else "changed"
