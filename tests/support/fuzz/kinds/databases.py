"""Damaged SQLite inside a whole package: rows, rejects or an error, soon, and no crash."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from support import anki_deck
from support.fuzz.mutate import mutant
from support.fuzz.rows import drain, write_input

from meadow.source import Input, Options
from meadow.sources import SOURCES

TOKENS = (
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f" * 9, b"\x81" * 9, b"\x0d", b"\x05"),
    *(b"\x0a", b"\x02", b"CREATE TABLE", b"CREATE VIEW ", b"CREATE TRIGGER", b"randomblob(1e9)"),
    *(b"SELECT", b"unicase", b"\x1f", b"{}", b"null", b'"flds"', b'"ord": "x"', b'"type": 1'),
    *(b"\xed\xa0\x80", b"\xff\xfe", b'"name": {}', b'"ord": null', b'"ord": 1e999', b"[]"),
    *(b'"1001"', b'"x"', b"9" * 20),
)


@cache
def _seeds() -> list[bytes]:
    deck = anki_deck.sample()
    modern = anki_deck.Deck(deck.notes, schema=18)
    return [anki_deck.collection(deck), anki_deck.collection(modern)]


def make(index: int) -> bytes:
    """The database, with its pages, its SQL or its JSON damaged."""
    chance = random.Random(f"databases {index}")
    seed = chance.choice(_seeds())
    if index % 3 == 0:
        # inside the JSON of the note types, at the same length: the pages stay whole
        places = [found.span() for found in re.finditer(rb'[{}":,\[\]0-9a-z_ ]{12,}', seed)]
        data = bytearray(seed)
        for _ in range(chance.randint(1, 4)):
            start, stop = chance.choice(places)
            token = chance.choice(TOKENS)
            at = chance.randrange(start, stop)
            if at + len(token) <= stop:
                data[at : at + len(token)] = token
        return bytes(data)
    return mutant(chance, seed, TOKENS, most=3, binary=index % 3 == 1)


def check(data: bytes, folder: Path) -> str:
    """The whole source from the file alone, and from a package with right checksums."""
    if len(data) % 2:
        item = write_input(folder, "collection.anki2", data)
    else:
        package = anki_deck.package([("collection.anki2", data)])
        item = write_input(folder, "deck.apkg", package)
    origin = SOURCES["anki"].upstream
    assert origin is not None
    found = drain(origin, [Input(item.path, item.label)], Options())
    return "rejects" if found["reject"] else "rows"
