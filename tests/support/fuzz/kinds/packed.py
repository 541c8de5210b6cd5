"""gzip, bzip2 and zstandard files: the packed text or an error, never another text."""

from __future__ import annotations

import bz2
import gzip
import random
from pathlib import Path

import zstandard
from support.fuzz.engine import SilentDifferenceError
from support.fuzz.mutate import mutant

from meadow.readers.archives import open_binary

TEXT = b"".join(b'{"row": %d, "text": "seven times %d"}\n' % (n, n * 7) for n in range(60))
_ZSTD = zstandard.ZstdCompressor(write_checksum=True)
SEEDS = [
    gzip.compress(TEXT, mtime=0),
    gzip.compress(TEXT[:1000], mtime=0) + gzip.compress(TEXT[1000:], mtime=0),
    bz2.compress(TEXT),
    _ZSTD.compress(TEXT),
    _ZSTD.compress(TEXT[:1000]) + _ZSTD.compress(TEXT[1000:]),
]
MAGIC = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
TOKENS = (*MAGIC, b"\x00" * 8, b"\xff" * 8, b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd")


def make(index: int) -> bytes:
    """A few flips and cuts."""
    chance = random.Random(f"packed {index}")
    return mutant(chance, chance.choice(SEEDS), TOKENS, most=2, binary=index % 5 != 0)


def check(data: bytes, folder: Path) -> str:
    """What is read to the end without an error is the text, or whole members of it."""
    path = folder / "file"
    path.write_bytes(data)
    with open_binary(path) as file:
        content = file.read()
    if not data.startswith(MAGIC):
        assert content == data
        return "plain"
    # members can be lost, doubled or swapped without a trace; what is in one cannot be changed
    wholes = {b"", TEXT, TEXT[:1000], TEXT[1000:]}
    if not _made_of(content, wholes - {b""}):
        raise SilentDifferenceError(f"{len(content)} bytes: {content[:80]!r}")
    return "kept"


def _made_of(content: bytes, wholes: set[bytes]) -> bool:
    while content:
        head = next(
            (w for w in sorted(wholes, key=len, reverse=True) if content.startswith(w)), None
        )
        if head is None:
            return False
        content = content[len(head) :]
    return True
