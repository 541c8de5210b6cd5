"""Anki packages: the notes that were packed, or an error. A flipped bit is never another note."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from support import anki_deck
from support.fuzz.engine import SilentDifferenceError
from support.fuzz.kinds.zips import TOKENS
from support.fuzz.mutate import mutant
from support.fuzz.rows import write_input

from meadow.schema import Reject
from meadow.sources.anki.package import read_collection

EXCERPT = 400


@cache
def seeds() -> list[bytes]:
    """Packages of every form."""
    deck = anki_deck.sample()
    return [
        anki_deck.modern_package(deck),
        anki_deck.modern_package(deck, zstd=True),
        anki_deck.package([("collection.anki2", anki_deck.collection(deck)), ("media", b"{}")]),
    ]


@cache
def originals() -> tuple[str, ...]:
    """What the packages hold, as text; one entry for each."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return tuple(shown(seed, Path(folder)) for seed in seeds())


def shown(data: bytes, folder: Path) -> str:
    """Every note and reject of a package, in order."""
    item = write_input(folder, "deck.apkg", data)
    rows = read_collection(item, time_limit=5.0)
    return "\n".join(
        r.to_json() if isinstance(r, Reject) else repr(sorted(r.items())) for r in rows
    )


def make(index: int) -> bytes:
    """A few flips, cuts and wrong numbers."""
    chance = random.Random(f"decks {index}")
    return mutant(chance, chance.choice(seeds()), TOKENS, most=2, binary=index % 5 != 0)


def check(data: bytes, folder: Path) -> str:
    """The notes of one of the packages, or an expected error."""
    originals()
    found = shown(data, folder)
    if found not in originals():
        raise SilentDifferenceError(found[:EXCERPT])
    return "kept"
