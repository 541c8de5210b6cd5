"""Saved MediaWiki pages, and pages of a store: sections or one reject."""

from __future__ import annotations

import random
from pathlib import Path

from support.fuzz.kinds.html_mutants import SEEDS as PAGES
from support.fuzz.kinds.html_mutants import TOKENS as TAGS
from support.fuzz.mutate import mutant

from meadow.samples import FOLDER
from meadow.sources.wikidoc.html_pages import NotAnArticleError, read_page
from meadow.text.render import HtmlLimitError, normalise

TOKENS = (
    *(b'<div class="mw-parser-output">', b'<div id="bodyContent">', b"<h2>", b"</h2>", b"<h3><h3>"),
    *(b'<div class="mw-heading">', b'<span class="mw-headline">', b'<h1 id="firstHeading">x</h1>'),
    *(b'<td rowspan="9999" colspan=99>', b'<span class="mwe-math-element">'),
    *(b'<body class="ns-1">', b'"wgNamespaceNumber":-1', b'"wgNamespaceNumber":' + b"9" * 5000),
    *(b'"wgRevisionId":x', b"<body class='ns-" + b"1" * 5000 + b"'>", b'style="display:none"'),
    *(b"<annotation>", b"<img class=tex>", b'<h2 style="display:none">'),
    *TAGS,
)
SEEDS = [(FOLDER / "wikidoc/saved_page.html").read_bytes(), *(p for p in PAGES if b"mw-" in p)]


def make(index: int) -> bytes:
    """A mutant of a page."""
    chance = random.Random(f"wiki_pages {index}")
    return mutant(chance, chance.choice(SEEDS), TOKENS)


def check(data: bytes, folder: Path) -> str:
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
