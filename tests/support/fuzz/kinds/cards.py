"""Cards: any text in a manifest or a row stays text, in the front matter and in the Markdown."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from support import corpora
from support.corpora import record, write_corpus
from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable, odd_text

from meadow.api import open_corpus
from meadow.cards.card import front as card_front
from meadow.cards.card import lint_card, render_card
from meadow.cards.documents import render_documents
from meadow.cards.rows import rows_by_source
from meadow.corpus.manifest import Manifest, Step
from meadow.schema import Author

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SITES = re.compile(r"https?://[\w./~:%?=#&-]+|mailto:[\w.@+-]+|LICENSE[\w./]*")
ATTACKS = (
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>"),
    *("[a](javascript:alert(1))", "\n\n<script>alert(1)</script>\n\n"),
    *("![a](http://evil.example/x.png)", "[a]: javascript:alert(1)", "\n---\nlicense: mit\n---\n"),
    *("\n```\n<script>alert(1)</script>\n```\n", "<!-- generated:licenses -->"),
    *("<!-- /generated -->", "-->", "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "|a|b|"),
    *("\n# Heading\n", "<a href='javascript:alert(1)'>x</a>", "`", "````", "``` ```", "\n    code"),
    *("<javascript:alert(1)>", "&lt;script&gt;", "&#60;script&#62;", "<svg/onload=alert(1)>"),
    *("<!--", "]]>", "<?php", "<http://e.example>", "!!python/object/apply:os.system ['x']"),
    *("&a *a", "a: b", "- x", "'", '"', "\\", "\u2028", "~", "=a"),
)
FIELDS = (
    *("contact", "recipe", "style", "model", "prompt", "exam", "reason", "repair", "origin"),
    *("version", "step", "license", "text", "author", "subset", "url", "kept", "fact"),
)


def prepare(folder: Path) -> None:
    """Asking for versions costs more than a card; what stands there is hostile anyway."""
    corpora.library_versions = lambda: {"pyarrow": "0"}


def make(index: int) -> bytes:
    """A text for each place that a card takes one from."""
    chance = random.Random(f"cards {index}")
    found = {}
    for name in FIELDS:
        how = chance.random()
        if how < 0.4:
            found[name] = "".join(chance.choice(ATTACKS) for _ in range(chance.randint(1, 2)))
        elif how < 0.6:
            found[name] = encodable(odd_text(chance))
        elif how < 0.7:
            found[name] = encodable(text_of(chance))
        else:
            found[name] = "plain"
    found["stage"] = chance.choice(("build", "mix"))
    return json.dumps(found).encode()


def check(data: bytes, folder: Path) -> str:
    """The front matter reads back, and the Markdown holds no live markup."""
    values = json.loads(data)
    place = folder / "corpus"
    manifest = hostile(values, place)
    # what is written is what a reader of somebody's folder has to take
    manifest.write(place)
    manifest = open_corpus(place).manifest
    whole = len(data) % 10 == 0
    documents = _documents(manifest, place, whole)
    card = documents["README.md"]
    assert card.startswith("---\n")
    front, separator, body = card[4:].partition("\n---\n")
    assert separator
    counted = rows_by_source(manifest, lambda name: place / name)
    wanted = card_front(manifest, lambda name: place / name, counted)
    assert yaml.load(front, _LOADER) == wanted, (front, wanted)
    check_markdown(body, values)
    if whole:
        assert lint_card(card, card) == []
        check_markdown(documents["LICENSES/README.md"], values)
        document = json.loads(documents["croissant.json"])
        assert json.loads(json.dumps(document)) == document
    return values["stage"]


def _documents(manifest: Manifest, place: Path, whole: bool) -> dict[str, str]:
    """Path -> text: the card, and now and then all documents."""
    if whole:
        found = render_documents(manifest, lambda name: place / name)
        return {name: data.decode("utf-8") for name, data in found.items()}
    counted = rows_by_source(manifest, lambda name: place / name)
    card = render_card(manifest, lambda name: place / name, counted)
    card.encode("utf-8")
    return {"README.md": card}


def hostile(values: dict[str, str], place: Path) -> Manifest:
    """A corpus of one row whose manifest says all these things."""
    row = record(
        "medquad",
        1,
        values["text"] or "x",
        input=values["text"],
        license=values["license"] or "mit",
        subset=values["subset"],
        url=values["url"],
        authors=(Author(values["author"], values["url"]),),
        rephrased_by=values["model"],
    )
    manifest = write_corpus(place, [row]).manifest
    entry = manifest.sources["medquad"]
    entry = replace(
        entry,
        rows_in=2,
        rejected={values["reason"]: 1},
        repaired={values["repair"]: 1, f"scrubbed_{values['repair']}": 1},
        origin=values["origin"],
        facts={values["fact"]: {values["fact"]: 1}},
    )
    details = {
        "contact": values["contact"],
        "warnings": [values["reason"]],
        "contamination": {
            values["exam"]: {"items": 1, "rows": {"stem": 1}, "verdict": values["exam"]}
        },
        "rephrase": {
            values["origin"]: {
                "model": values["model"],
                "prompt": values["prompt"],
                "prompt_sha256": values["prompt"],
                "items": 1,
                "rewritten": 1,
                f"kept_{values['kept']}": 1,
            }
        },
        "reason": {
            "medquad": {
                "model": values["model"],
                "prompt": values["prompt"],
                "prompt_sha256": values["prompt"],
                "items": 1,
                "rewritten": 0,
                f"kept_{values['kept']}": 1,
                "tries": 1,
                "tried": 1,
                "repeated": 1,
                "at_try": [0],
                "guessing": 0.2,
                "left_out": {values["reason"]: 1},
                "exams": {values["exam"]: {}},
            }
        },
    }
    job = {"source": values["origin"], "model": values["model"], "exams": {values["exam"]: {}}}
    settings = {
        "reason": [job | {"tries": 1}],
        "recipe": values["recipe"],
        "options": {"style": values["style"]},
        "sources": ["medquad"],
    }
    if values["stage"] == "mix":
        return replace(
            manifest,
            stage="mix",
            sources={},
            configs={"plain": {"train": entry.shards}},
            steps=(Step(values["step"], 2, 1, {values["reason"]: 1}),),
            details=details,
            settings=settings,
            versions={values["version"]: values["version"]},
        )
    settings["recipe"] = settings["recipe"] if len(values["recipe"]) % 2 else ""
    return replace(
        manifest,
        sources={"medquad": entry},
        details=details,
        settings=settings,
        versions={values["version"]: values["version"]},
    )


class Live(HTMLParser):
    """Collects what is alive in HTML: elements, attributes and addresses that a card has not."""

    def __init__(self, allowed: set[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.allowed = allowed
        self.found: list[str] = []
        self.comments: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.allowed:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or (name == "style" and not value.startswith("text-align")):
                self.found.append(f"{name}={value}")
            if name in {"href", "src", "action", "formaction", "xlink:href", "data"}:
                self.links.append(value or "")

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())


ALLOWED = {
    *("p", "a", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "table", "thead", "tbody"),
    *("tr", "th", "td", "code", "pre", "em", "strong", "blockquote", "hr", "br"),
}


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def check_markdown(text: str, values: dict[str, Any]) -> None:
    """Rendered as a web site would, with raw HTML allowed, it holds nothing that was not ours."""
    live = Live(ALLOWED)
    live.feed(_renderer().render(text))
    live.close()
    assert not live.found, live.found
    opened = [c for c in live.comments if c.startswith("generated:")]
    closed = [c for c in live.comments if c == "/generated"]
    assert len(opened) == len(closed) == len(set(opened)), live.comments
    assert len(live.comments) == len(opened) + len(closed), live.comments
    for link in live.links:
        if link.startswith("https://page.invalid/#"):
            continue
        assert SITES.fullmatch(link), link
        assert "evil.example" not in link, link
        assert "e.example" not in link, link
    for line in text.split("\n"):
        assert line != "# Heading", "a heading from a value"
