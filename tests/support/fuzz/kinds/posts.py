"""Posts.xml of a data dump: no row is lost without a word."""

from __future__ import annotations

import random
import re
from pathlib import Path

from support.fuzz.mutate import mutant
from support.fuzz.rows import collected, drain, write_input

from meadow.samples import FOLDER
from meadow.schema import Reason
from meadow.source import Options
from meadow.sources import SOURCES
from meadow.sources.stack_exchange import dump as stack_dump

SEEDS = [path.read_bytes() for path in sorted(FOLDER.glob("stack_exchange/*/Posts.xml"))]
USERS = (FOLDER / "stack_exchange/health/Users.xml").read_bytes()
TOKENS = (
    *(b"<row ", b"/>", b"</row>", b"<posts>", b"</posts>", b"<row Id=", b' Id="7"', b' Score="9"'),
    *(b' PostTypeId="2"', b' PostTypeId="1"', b' ParentId="1"', b' AcceptedAnswerId="2"', b'" '),
    *(b"&#x0;", b"&#xA;", b"&#xD800;", b"&#x110000;", b"&lt;script&gt;", b"&nbsp;", b"&amp;amp;"),
    *(b"<!DOCTYPE posts [", b'<!ENTITY a "b">', b"&a;", b"<!--", b"-->", b"<![CDATA[", b"]]>"),
    *(b'<?xml version="1.0" encoding="utf-16"?>', b"\xef\xbb\xbf", b"\xff\xfe", b"\x0b", b"\xc3"),
    *(b"\r\n", b"\n\n", b"\n</posts>", b'Score="999999999999999999"', b'Id="-1"', b'Id=""', b"'"),
    *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b'Body="', b'="', b"&lt;pre&gt;"),
)
ORIGIN = SOURCES["stack_exchange"].upstream


def make(index: int) -> bytes:
    """A mutant of a sample, now and then with lines in another order or form."""
    chance = random.Random(f"posts {index}")
    seed = chance.choice(SEEDS)
    if index % 2:
        # inside an attribute the row stays well-formed more often
        lines = seed.splitlines(keepends=True)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(lines))
            lines[at] = mutant(chance, lines[at].rstrip(), TOKENS, most=1) + b"\n"
        return b"".join(lines)
    return mutant(chance, seed, TOKENS)


def check(data: bytes, folder: Path) -> str:
    """Every line that begins a row was read or is told, and every pair stands whole in the file."""
    item = write_input(folder, "Posts.xml", data, subset="fuzz")
    users = write_input(folder, "Users.xml", USERS, subset="fuzz", role="users")
    kept, rejects, facts = collected(stack_dump.read([item, users], Options()))
    for row in kept:
        assert row["answer"]["ParentId"] == row["question"]["Id"]
    starts = sum(
        line.strip(b" \t\r\x0b\x0c").startswith(b"<row")
        for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    )
    read = sum(fact.count for fact in facts if fact.group == "posts_read")
    told = sum(reject.reason is not Reason.ORPHAN for reject in rejects)
    # a row that spans lines may hold others
    assert read + told >= starts or re.search(rb"<row[^>]*\n", data), f"{starts} rows, {read} read"
    counted = drain(ORIGIN, [item])
    assert counted["row"] + counted["reject"] >= len(kept) + len(rejects)
    return "rejects" if rejects else "rows"
