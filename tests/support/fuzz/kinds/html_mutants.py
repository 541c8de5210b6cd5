"""Mutated HTML: text in normal form or a reject; never an exception, never a second form."""

from __future__ import annotations

import html
import json
import random
from pathlib import Path

from support.fuzz.mutate import mutant

from meadow.samples import FOLDER
from meadow.text.render import (
    HtmlLimitError,
    html_to_text,
    normalise,
    quote_literal_markup,
    render_html,
)

TOKENS = (
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
SEEDS = [
    *(path.read_bytes() for path in sorted(FOLDER.glob("*/*.html"))),
    *(
        html.unescape(line.partition('Body="')[2].partition('" ')[0]).encode()
        for path in sorted(FOLDER.glob("stack_exchange/*/Posts.xml"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if 'Body="' in line
    ),
    *(
        str(json.loads(line).get("html", "")).encode()
        for path in sorted(FOLDER.glob("wikidoc*/pages.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if '"html"' in line and line.endswith("}")
    ),
]


def make(index: int) -> bytes:
    """A mutant of a body or page of the samples."""
    chance = random.Random(f"html_mutants {index}")
    if index % 10 == 0:
        return b"".join(chance.choice((*TOKENS, b"a ")) for _ in range(chance.randint(1, 40)))
    return mutant(chance, chance.choice(SEEDS), TOKENS)


def rendered(text: str) -> str | None:
    """The text of HTML; None where it is over a cap."""
    try:
        return html_to_text(text, base_url="https://example.org/a/")
    except HtmlLimitError:
        return None


def check(data: bytes, folder: Path) -> str:
    """Normal form, literal markup quoted once, the same text at the second time of asking."""
    source = data.decode("utf-8", "replace")
    text = rendered(source)
    if text is None:
        return "reject"
    assert normalise(text) == text, text
    assert quote_literal_markup(text) == text, (text, quote_literal_markup(text))
    text.encode("utf-8")
    assert render_html(source, base_url="https://example.org/a/").text == text
    return "text"
