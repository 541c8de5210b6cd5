"""XML, wikitext and HTML: no row is lost without a word, no text gets another form."""

from __future__ import annotations

import html
import json
import random
import re
from pathlib import Path
from xml.sax.saxutils import escape

from lxml import etree
from support.fuzz.engine import Kind, mutants
from support.fuzz.mutate import mutant, xml_mutant
from support.fuzz.rows import collected, drain, write_input

from meadow.errors import FileError
from meadow.readers import xml_documents
from meadow.samples import FOLDER
from meadow.schema import Reason
from meadow.source import Options
from meadow.sources import SOURCES, medquad
from meadow.sources.stack_exchange import dump as stack_dump
from meadow.sources.wikidoc import pages as mediawiki
from meadow.sources.wikidoc.html_pages import NotAnArticleError, read_page
from meadow.sources.wikidoc.wikitext import read_wikitext
from meadow.text.render import (
    HtmlLimitError,
    html_to_text,
    normalise,
    quote_literal_markup,
    render_html,
)

POSTS = [path.read_bytes() for path in sorted(FOLDER.glob("stack_exchange/*/Posts.xml"))]
USERS = (FOLDER / "stack_exchange/health/Users.xml").read_bytes()
POST_TOKENS = (
    *(b"<row ", b"/>", b"</row>", b"<posts>", b"</posts>", b"<row Id=", b' Id="7"', b' Score="9"'),
    *(b' PostTypeId="2"', b' PostTypeId="1"', b' ParentId="1"', b' AcceptedAnswerId="2"', b'" '),
    *(b"&#x0;", b"&#xA;", b"&#xD800;", b"&#x110000;", b"&lt;script&gt;", b"&nbsp;", b"&amp;amp;"),
    *(b"<!DOCTYPE posts [", b'<!ENTITY a "b">', b"&a;", b"<!--", b"-->", b"<![CDATA[", b"]]>"),
    *(b'<?xml version="1.0" encoding="utf-16"?>', b"\xef\xbb\xbf", b"\xff\xfe", b"\x0b", b"\xc3"),
    *(b"\r\n", b"\n\n", b"\n</posts>", b'Score="999999999999999999"', b'Id="-1"', b'Id=""', b"'"),
    *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b'Body="', b'="', b"&lt;pre&gt;"),
)


def make_posts(chance: random.Random, index: int) -> bytes:
    """A mutant of a dump; every second inside its lines, which stay rows more often."""
    seed = chance.choice(POSTS)
    if not index % 2:
        return mutant(chance, seed, POST_TOKENS)
    lines = seed.splitlines(keepends=True)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        lines[at] = mutant(chance, lines[at].rstrip(), POST_TOKENS, most=1) + b"\n"
    return b"".join(lines)


def check_posts(data: bytes, folder: Path) -> str:
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
    counted = drain(SOURCES["stack_exchange"].upstream, [item])
    assert counted["row"] + counted["reject"] >= len(kept) + len(rejects)
    return "rejects" if rejects else "rows"


DOCUMENTS = [path.read_bytes() for path in sorted(FOLDER.glob("medquad/*/*.xml"))]
PAIRED = [seed for seed in DOCUMENTS if b"<QAPair" in seed]
DOCUMENT_TOKENS = (
    *(b"<QAPair>", b"</QAPair>", b"<QAPair pid='9'>", b"<Answer>", b"</Answer>", b"<Question/>"),
    *(b"<!DOCTYPE d>", b'<!DOCTYPE d SYSTEM "http://127.0.0.1:9/x">', b"<!--", b"-->", b"<?x ?>"),
    *(b'<!ENTITY a "aaaa">', b"&a;", b"&amp;", b"&#0;", b"&#x1F600;", b"<![CDATA[ <b> ]]>", b"]]>"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\xc3", b"<a>" * 70, b"</a>", b"<x:y>"),
    *(b' a="1" a="2"', b'<?xml version="1.0" encoding="utf-16"?>'),
    b'<?xml version="1.0" encoding="latin-1"?>',
)


def make_document(chance: random.Random, index: int) -> bytes:
    """A mutant of a MedQuAD document; every second is well-formed."""
    if index % 2:
        return xml_mutant(chance, chance.choice(PAIRED), "QAPair")
    return mutant(chance, chance.choice(DOCUMENTS), DOCUMENT_TOKENS)


def check_document(data: bytes, folder: Path) -> str:
    """In small blocks: the pairs of lxml's parse of the whole, or an error where it has one."""
    item = write_input(folder, "1_X_QA/1.xml", data)
    xml_documents.BLOCK = (7, 300, 256 * 1024)[len(data) % 3]
    wanted = _outermost_pairs(data)
    try:
        kept, rejects, _ = collected(medquad.read([item], Options()))
    except FileError as error:
        # what one parse takes, another block size must take too, but for our own caps
        capped = any(word in error.what for word in ("nested", "document type", "more than"))
        if wanted is not None and not capped:
            raise AssertionError(f"refused, and lxml takes it: {error.what}") from error
        raise
    assert wanted is not None, "a document that lxml refuses was accepted"
    found = [(row["question"], row["answer"]) for row in kept]
    assert found == wanted, (found, wanted)
    drain(SOURCES["medquad"].upstream, [item])
    return "rejects" if rejects else "rows"


def _outermost_pairs(data: bytes) -> list[tuple[str, str]] | None:
    """Question and answer of every outermost pair; None where lxml refuses the document."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None

    def text(pair: etree._Element, name: str) -> str:
        element = pair.find(name)
        return "" if element is None else "".join(element.itertext())

    return [
        (text(pair, "Question"), text(pair, "Answer"))
        for pair in root.iter("QAPair")
        if next(pair.iterancestors("QAPair"), None) is None
    ]


EXPORT = (FOLDER / "wikidoc/export.xml").read_bytes()
WIKITEXT_TOKENS = (
    *(b"[[", b"]]", b"{{", b"}}", b"{|", b"|}", b"|-", b"||", b"!!", b"|+", b"'''", b"=="),
    *(b"\n== A ==\n", b"[[File:x.png|thumb|", b"[http://x.org y]", b"{{convert|1|kg}}"),
    *(b"{{cite|a=b}}", b"__TOC__", b"<ref>", b"</ref>", b"<ref/>", b"<nowiki>", b"</nowiki>"),
    *(b"<math>", b"</math>", b"<pre>", b"</pre>", b"<!--", b"-->", b"<gallery>", b"<references/>"),
    *(b"<syntaxhighlight>", b"<poem>", b"\n*", b"\n#", b"\n:", b"\n;", b"\n*#:", b"{{!}}"),
    *(b"rowspan=500|", b"colspan=9999|", b"<script>", b"&nbsp;", b"&amp;lt;", b"&lt;b&gt;"),
    *("\ue0000\ue000".encode(), "\ue0007".encode(), b"<b", b"\xc4\xb0"),
)
WIKITEXTS = re.findall(rb"<text[^>]*>(.*?)</text>", EXPORT, re.DOTALL)
EXPORT_TOKENS = (
    *(b"<page>", b"</page>", b"<revision>", b"</revision>", b"<title>", b"</title>", b"<ns>1</ns>"),
    *(b"<ns>0x</ns>", b"<ns>\xd9\xa3</ns>", b"<ns>\xc2\xb2</ns>", b"<ns>-1</ns>", b"<ns></ns>"),
    *(b'<redirect title="x"/>', b"<text>", b"</text>", b"<timestamp>9</timestamp>", b"<mediawiki>"),
    *DOCUMENT_TOKENS,
    *WIKITEXT_TOKENS,
)


def make_wikitext(chance: random.Random, index: int) -> bytes:
    """A mutant of a page's text, or marks in any order."""
    if index % 3:
        return mutant(chance, chance.choice(WIKITEXTS), WIKITEXT_TOKENS)
    return b"".join(chance.choices((*WIKITEXT_TOKENS, b"a", b" ", b"\n"), k=chance.randint(1, 60)))


def check_wikitext(data: bytes, folder: Path) -> str:
    """Sections in normal form with known levels, without markup that was never written."""
    try:
        sections = read_wikitext(data.decode("utf-8", "replace")).sections
    except HtmlLimitError:
        return "reject"
    assert sections[0].level == 0
    for section in sections:
        assert normalise(section.text) == section.text, section.text
        assert 0 <= section.level <= 6
        assert "\ue000" not in section.text + section.heading, section
    return "sections"


def make_export(chance: random.Random, index: int) -> bytes:
    """A mutant of an export; wikitext goes wrong inside a document that does not, too."""
    if index % 3 == 0:
        return xml_mutant(chance, EXPORT, "page")
    if index % 3 == 1:
        text = mutant(chance, chance.choice(WIKITEXTS), WIKITEXT_TOKENS).decode("utf-8", "replace")
        plain = "".join(c for c in text if c in "\n\t" or " " <= c < "\ufffe")
        return EXPORT.replace(chance.choice(WIKITEXTS), escape(plain).encode())
    return mutant(chance, EXPORT, EXPORT_TOKENS)


def check_export(data: bytes, folder: Path) -> str:
    """An export that lxml parses whole gives a row or a reject for each of its pages."""
    item = write_input(folder, "export.xml", data)
    kept, rejects, facts = collected(mediawiki.read([item], Options()))
    read = sum(fact.count for fact in facts if fact.value == "XML export")
    if read:
        try:
            root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
        except etree.XMLSyntaxError as error:
            raise AssertionError("an export that lxml refuses was accepted") from error
        pages = sum(etree.QName(e).localname == "page" for e in root.iter("*"))
        assert read == pages, f"{pages} pages, {read} read"
        assert not pages or kept or rejects
    counted = drain(SOURCES["wikidoc"].upstream, [item])
    assert counted["row"] + counted["reject"] >= len(rejects)
    return "rejects" if rejects else "rows"


HTML_TOKENS = (
    *(b"<", b">", b"</", b"/>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE html>"),
    *(b"<?php ?>", b"<script>", b"</script>", b"<style>", b"<img src=x onerror=a>", b"<svg>"),
    *(b"<math>", b"<template>", b"<textarea>", b"<select>", b"<table>", b"</table>", b"<tr>"),
    *(b"<td>", b"<li>", b"</p>", b"</br>", b"&#0;", b"&#xD800;", b"&#x110000;", b"&lt;script&gt;"),
    *(b"&amp;lt;", b"&nbsp", b"&notit;", b"&", b'<a href="javascript:alert(1)">'),
    *(b'<a href="http://[">', b"<a href='http://x.org'>", b"</a>", b"<pre>", b"</pre>", b"<code>"),
    *(b"```", b"$$", b"`", b"<b>", b"</i>", b"<sup>2</sup>", b"<plaintext>", b"<div>" * 400),
    *(b"<b>" * 300, b"<p>" * 300, b"<frameset>", b"<noscript>", b"<iframe>", b"<xmp>", b"\x00"),
    *(b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xcc\x81", b"<a b='", b'<a b="', b"<base href=x>"),
)


def _lines(pattern: str) -> list[str]:
    paths = sorted(FOLDER.glob(pattern))
    return [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


BODIES = [
    *(path.read_bytes() for path in sorted(FOLDER.glob("*/*.html"))),
    *(
        html.unescape(line.partition('Body="')[2].partition('" ')[0]).encode()
        for line in _lines("stack_exchange/*/Posts.xml")
        if 'Body="' in line
    ),
    *(
        str(json.loads(line).get("html", "")).encode()
        for line in _lines("wikidoc*/pages.jsonl")
        if '"html"' in line and line.endswith("}")
    ),
]


def make_html(chance: random.Random, index: int) -> bytes:
    """A mutant of a body or page of the samples, or marks in any order."""
    if index % 10:
        return mutant(chance, chance.choice(BODIES), HTML_TOKENS)
    return b"".join(chance.choices((*HTML_TOKENS, b"a "), k=chance.randint(1, 40)))


def check_html(data: bytes, folder: Path) -> str:
    """Normal form, literal markup quoted once, the same text at the second time of asking."""
    source = data.decode("utf-8", "replace")
    try:
        text = html_to_text(source, base_url="https://example.org/a/")
    except HtmlLimitError:
        return "reject"
    assert normalise(text) == text, text
    assert quote_literal_markup(text) == text, (text, quote_literal_markup(text))
    text.encode("utf-8")
    assert render_html(source, base_url="https://example.org/a/").text == text
    return "text"


WIKI_PAGE_TOKENS = (
    *(b'<div class="mw-parser-output">', b'<div id="bodyContent">', b"<h2>", b"</h2>", b"<h3><h3>"),
    *(b'<div class="mw-heading">', b'<span class="mw-headline">', b'<h1 id="firstHeading">x</h1>'),
    *(b'<td rowspan="9999" colspan=99>', b'<span class="mwe-math-element">'),
    *(b'<body class="ns-1">', b'"wgNamespaceNumber":-1', b'"wgNamespaceNumber":' + b"9" * 5000),
    *(b'"wgRevisionId":x', b"<body class='ns-" + b"1" * 5000 + b"'>", b'style="display:none"'),
    *(b"<annotation>", b"<img class=tex>", b'<h2 style="display:none">'),
    *HTML_TOKENS,
)


def check_wiki_page(data: bytes, folder: Path) -> str:
    """The lead first, each section in normal form."""
    try:
        page = read_page(data.decode("utf-8", "replace"), title="A title")
    except (HtmlLimitError, NotAnArticleError):
        return "reject"
    assert page.title
    assert page.sections[0].level == 0
    for section in page.sections:
        assert normalise(section.text) == section.text
        assert "\n" not in section.heading
    return "sections"


KINDS = (
    Kind("posts", make_posts, check_posts, 4_000, "xml"),
    Kind("documents", make_document, check_document, 4_000, "xml"),
    Kind("wiki_export", make_export, check_export, 2_000, "xml"),
    Kind("wikitext", make_wikitext, check_wikitext, 4_000, "wikitext"),
    Kind(
        "wiki_pages",
        mutants([body for body in BODIES if b"mw-" in body], WIKI_PAGE_TOKENS),
        check_wiki_page,
        2_000,
        "wiki_pages",
    ),
    Kind("html_mutants", make_html, check_html, 20_000, "html"),
)
