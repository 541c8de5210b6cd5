"""7z archives of a site: the posts that were packed, or an error."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from support.fuzz.engine import SilentDifferenceError
from support.fuzz.mutate import mutant

from meadow.readers.archives import open_7z_member
from meadow.samples import FOLDER

POSTS = (FOLDER / "stack_exchange/health/Posts.xml").read_bytes()
USERS = (FOLDER / "stack_exchange/health/Users.xml").read_bytes()
TOKENS = (b"7z\xbc\xaf\x27\x1c", b"\xff" * 8, b"\x00" * 8, b"\x17", b"\x01\x04\x06", b"P\x00o\x00")


@cache
def _seeds() -> list[bytes]:
    import py7zr

    found = []
    for filters in (
        [{"id": py7zr.FILTER_LZMA2, "preset": 1}],
        [{"id": py7zr.FILTER_BZIP2}],
        [{"id": py7zr.FILTER_COPY}],
        [{"id": py7zr.FILTER_DEFLATE}],
    ):
        buffer = io.BytesIO()
        with py7zr.SevenZipFile(buffer, "w", filters=filters) as archive:
            archive.writestr(USERS, "Users.xml")
            archive.writestr(POSTS, "Posts.xml")
        found.append(buffer.getvalue())
    return found


def make(index: int) -> bytes:
    """A few flips, cuts and wrong numbers."""
    chance = random.Random(f"sevenzips {index}")
    return mutant(chance, chance.choice(_seeds()), TOKENS, most=2, binary=index % 4 != 0)


def check(data: bytes, folder: Path) -> str:
    """The member's bytes are those that were packed."""
    path = folder / "site.7z"
    path.write_bytes(data)
    with open_7z_member(path, lambda name: name.lower().endswith("posts.xml")) as file:
        if file is None:
            return "no posts"
        content = file.read()
    if content not in {POSTS, USERS}:
        raise SilentDifferenceError(f"{len(content)} bytes: {content[:80]!r}")
    return "kept"
