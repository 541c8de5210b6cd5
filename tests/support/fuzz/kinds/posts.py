"""Posts.xml of a data dump, against a reference that parses each line alone with lxml."""

from __future__ import annotations

import random
import re
from pathlib import Path

from lxml import etree
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
_ROW_FAULTS = {Reason.ORPHAN}


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
    """Every well-formed pair is there with its text, every bad line is told."""
    item = write_input(folder, "Posts.xml", data, subset="fuzz")
    stack_dump.BLOCK_BYTES = (64, 1000, 4 * 1024**2)[len(data) % 3]
    users = write_input(folder, "Users.xml", USERS, subset="fuzz", role="users")
    kept, rejects, facts = collected(stack_dump.read([item, users], Options()))
    expected, starts = reference(data)
    got = {row["answer"]["Id"]: row for row in kept}
    for number, (answer, question) in expected.items():
        row = got[number]
        assert row["answer"] == answer, (row["answer"], answer)
        assert row["question"] == question, (row["question"], question)
    read = sum(fact.count for fact in facts if fact.group == "posts_read")
    told = sum(reject.reason not in _ROW_FAULTS for reject in rejects)
    assert read + told >= starts, f"{starts} rows, {read} read and {told} told of"
    counted = drain(ORIGIN, [item])
    assert counted["row"] + counted["reject"] >= len(kept) + len(rejects)
    return "rejects" if rejects else "rows"


def reference(data: bytes) -> tuple[dict[str, tuple[dict[str, str], dict[str, str]]], int]:
    """Answer id -> (answer, question) of pairs that stand whole on lines of their own; and the
    lines that begin a row.

    Ids that stand twice are left out: which of the two counts is the reader's rule.
    """
    questions: dict[str, list[dict[str, str]]] = {}
    answers: dict[str, list[dict[str, str]]] = {}
    starts = 0
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for line in lines:
        text = line.strip(b" \t\r\x0b\x0c")
        starts += text.startswith(b"<row")
        if not text.startswith(b"<row ") or len(line) > 1024**2:
            continue
        try:
            element = etree.fromstring(text, etree.XMLParser(resolve_entities=False))
        except (etree.XMLSyntaxError, ValueError):
            continue
        row = {str(key): str(value) for key, value in element.attrib.items()}
        # names beyond ASCII are told as a reject: no dump has them
        if element.tag != "row" or len(element) or element.text or not "".join(row).isascii():
            continue
        if _is_post(row):
            kind = questions if row["PostTypeId"] == "1" else answers
            kind.setdefault(str(int(row["Id"])), []).append(row)
    pairs = {}
    for number, found in answers.items():
        row = found[0]
        if len(found) > 1 or row["PostTypeId"] != "2" or int(row["Score"]) < 5:
            continue
        asked = questions.get(str(int(row.get("ParentId") or 0)), [])
        if len(asked) == 1 and row.get("ParentId") and row["Id"] == number:
            pairs[number] = (row, asked[0])
    # a row that spans lines may have one of these ids too
    if len(re.findall(rb"<row[^>]*\n", data)):
        return {}, 0
    return pairs, starts


def _is_post(row: dict[str, str]) -> bool:
    names = ("Id", "PostTypeId", "Score")
    numbers = (*names, "AcceptedAnswerId", "ParentId")
    return all(row.get(name) for name in names) and all(
        re.fullmatch(r"-?[0-9]{1,18}", row.get(name) or "0") for name in numbers
    )
