"""Wikitext: any text gives sections, in order, without markup that was never written."""

from __future__ import annotations

import random
import re
from pathlib import Path

from support.fuzz.mutate import mutant

from meadow.samples import FOLDER
from meadow.sources.wikidoc.wikitext import read_wikitext
from meadow.text.render import HtmlLimitError, normalise

TOKENS = (
    *(b"[[", b"]]", b"{{", b"}}", b"{|", b"|}", b"|-", b"||", b"!!", b"|+", b"'''", b"=="),
    *(b"\n== A ==\n", b"[[File:x.png|thumb|", b"[http://x.org y]", b"{{convert|1|kg}}"),
    *(b"{{cite|a=b}}", b"__TOC__", b"<ref>", b"</ref>", b"<ref/>", b"<nowiki>", b"</nowiki>"),
    *(b"<math>", b"</math>", b"<pre>", b"</pre>", b"<!--", b"-->", b"<gallery>", b"<references/>"),
    *(b"<syntaxhighlight>", b"<poem>", b"\n*", b"\n#", b"\n:", b"\n;", b"\n*#:", b"{{!}}"),
    *(b"rowspan=500|", b"colspan=9999|", b"<script>", b"&nbsp;", b"&amp;lt;", b"&lt;b&gt;"),
    *("\ue0000\ue000".encode(), "\ue0007".encode(), b"<b", b"\xc4\xb0"),
)
SEEDS = [
    found.group(1)
    for found in re.finditer(
        rb"<text[^>]*>(.*?)</text>", (FOLDER / "wikidoc/export.xml").read_bytes(), re.DOTALL
    )
]


def make(index: int) -> bytes:
    """A mutant of a page's text, or marks in any order."""
    chance = random.Random(f"wikitext {index}")
    if index % 3 == 0:
        parts = [chance.choice((*TOKENS, b"a", b" ", b"\n")) for _ in range(chance.randint(1, 60))]
        return b"".join(parts)
    return mutant(chance, chance.choice(SEEDS), TOKENS)


def check(data: bytes, folder: Path) -> str:
    """Sections in normal form with known levels; the lead first."""
    text = data.decode("utf-8", "replace")
    try:
        sections = read_wikitext(text).sections
    except HtmlLimitError:
        return "reject"
    assert sections[0].level == 0
    for section in sections:
        assert normalise(section.text) == section.text, section.text
        assert 0 <= section.level <= 6
        assert "\ue000" not in section.text + section.heading, section
    return "sections"
