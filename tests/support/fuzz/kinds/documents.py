"""MedQuAD documents, read in small blocks, against lxml's parse of the whole."""

from __future__ import annotations

import random
from pathlib import Path

from lxml import etree
from support.fuzz.mutate import mutant, xml_mutant
from support.fuzz.rows import collected, drain, write_input

from meadow.errors import FileError
from meadow.readers import xml_documents
from meadow.samples import FOLDER
from meadow.source import Options
from meadow.sources import SOURCES, medquad

SEEDS = [path.read_bytes() for path in sorted(FOLDER.glob("medquad/*/*.xml"))]
WELL_FORMED = [seed for seed in SEEDS if b"<QAPair" in seed]
TOKENS = (
    *(b"<QAPair>", b"</QAPair>", b"<QAPair pid='9'>", b"<Answer>", b"</Answer>", b"<Question/>"),
    *(b"<!DOCTYPE d>", b'<!DOCTYPE d SYSTEM "http://127.0.0.1:9/x">', b"<!--", b"-->", b"<?x ?>"),
    *(b'<!ENTITY a "aaaa">', b"&a;", b"&amp;", b"&#0;", b"&#x1F600;", b"<![CDATA[ <b> ]]>", b"]]>"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\xc3", b"<a>" * 70, b"</a>", b"<x:y>"),
    *(b' a="1" a="2"', b'<?xml version="1.0" encoding="utf-16"?>'),
    b'<?xml version="1.0" encoding="latin-1"?>',
)
ORIGIN = SOURCES["medquad"].upstream


def make(index: int) -> bytes:
    """A mutant of a sample."""
    chance = random.Random(f"documents {index}")
    if index % 2:
        return xml_mutant(chance, chance.choice(WELL_FORMED), "QAPair")
    return mutant(chance, chance.choice(SEEDS), TOKENS)


def check(data: bytes, folder: Path) -> str:
    """The pairs of a document that lxml parses whole, or an error after those before the break."""
    item = write_input(folder, "1_X_QA/1.xml", data)
    xml_documents.BLOCK = (7, 300, 256 * 1024)[len(data) % 3]
    wanted = reference(data)
    try:
        kept, rejects, _ = collected(medquad.read([item], Options()))
    except FileError as error:
        # what one parse takes, another block size must take too, but for our own caps
        if wanted is not None and not _is_capped(error):
            raise AssertionError(f"refused, and lxml takes it: {error.what}") from error
        raise
    if wanted is not None:
        found = [(row["question"], row["answer"]) for row in kept]
        assert found == wanted, (found, wanted)
    else:
        raise AssertionError("a document that lxml refuses was accepted")
    drain(ORIGIN, [item])
    return "rejects" if rejects else "rows"


def _is_capped(error: FileError) -> bool:
    return any(word in error.what for word in ("nested", "document type", "more than"))


def reference(data: bytes) -> list[tuple[str, str]] | None:
    """Question and answer of every outermost pair; None where lxml refuses the document."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    found = []
    for pair in root.iter("QAPair"):
        if next(pair.iterancestors("QAPair"), None) is None:
            found.append((_text(pair, "Question"), _text(pair, "Answer")))
    return found


def _text(pair: etree._Element, name: str) -> str:
    element = pair.find(name)
    return "" if element is None else "".join(element.itertext())
