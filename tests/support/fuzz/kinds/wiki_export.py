"""MediaWiki XML exports, and the wikitext in them."""

from __future__ import annotations

import random
from pathlib import Path
from xml.sax.saxutils import escape

from lxml import etree
from support.fuzz.kinds import documents, wikitext
from support.fuzz.mutate import mutant, xml_mutant
from support.fuzz.rows import collected, drain, write_input

from meadow.samples import FOLDER
from meadow.source import Options
from meadow.sources import SOURCES
from meadow.sources.wikidoc import pages as mediawiki

SEED = (FOLDER / "wikidoc/export.xml").read_bytes()
TOKENS = (
    *(b"<page>", b"</page>", b"<revision>", b"</revision>", b"<title>", b"</title>", b"<ns>1</ns>"),
    *(b"<ns>0x</ns>", b"<ns>\xd9\xa3</ns>", b"<ns>\xc2\xb2</ns>", b"<ns>-1</ns>", b"<ns></ns>"),
    *(b'<redirect title="x"/>', b"<text>", b"</text>", b"<timestamp>9</timestamp>", b"<mediawiki>"),
    *documents.TOKENS,
    *wikitext.TOKENS,
)
ORIGIN = SOURCES["wikidoc"].upstream


def make(index: int) -> bytes:
    """A mutant of the sample."""
    chance = random.Random(f"wiki_export {index}")
    if index % 3 == 0:
        return xml_mutant(chance, SEED, "page")
    if index % 3 == 1:
        # wikitext goes wrong inside a document that does not
        text = mutant(chance, chance.choice(wikitext.SEEDS), wikitext.TOKENS)
        return SEED.replace(chance.choice(wikitext.SEEDS), _escaped(text))
    return mutant(chance, SEED, TOKENS)


def _escaped(text: bytes) -> bytes:
    plain = "".join(
        c for c in text.decode("utf-8", "replace") if c in "\n\t" or " " <= c < "\ufffe"
    )
    return escape(plain).encode()


def check(data: bytes, folder: Path) -> str:
    """An export that lxml parses whole gives a row or a reject for each of its pages."""
    item = write_input(folder, "export.xml", data)
    kept, rejects, facts = collected(mediawiki.read([item], Options()))
    read = sum(fact.count for fact in facts if fact.value == "XML export")
    if read:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        try:
            root = etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            raise AssertionError("an export that lxml refuses was accepted") from error
        pages = sum(etree.QName(e).localname == "page" for e in root.iter("*"))
        assert read == pages, f"{pages} pages, {read} read"
        told = {row["title"] for row in kept} | {reject.where for reject in rejects}
        assert told or not pages
    counted = drain(ORIGIN, [item])
    assert counted["row"] + counted["reject"] >= len(rejects)
    return "rejects" if rejects else "rows"
