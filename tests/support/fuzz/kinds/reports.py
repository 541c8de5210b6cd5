"""Reports and pages: any text of a corpus is escaped text, whatever it was written to be."""

from __future__ import annotations

import copy
import json
import random
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from support.fuzz.kinds import cards
from support.fuzz.mutate import encodable, odd_text

from meadow.api import open_corpus
from meadow.errors import UsageError
from meadow.quality.browse import index_html, write_site
from meadow.quality.page import render_html, render_markdown
from meadow.quality.report import build_report

PAGES = (
    "",
    "https://x.example/space/",
    "http://127.0.0.1:8000/",
    "javascript:alert(1)",
    "//x",
    "data:a",
)
ALLOWED = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
    *("section", "nav", "p", "h1", "h2", "h3", "dl", "dt", "dd", "div", "a", "table", "thead"),
    *("tbody", "tr", "th", "td", "svg", "text", "rect", "line", "path", "figure", "figcaption"),
    *("details", "summary", "b", "code", "small", "ul", "li", "span", "strong", "em"),
}


@cache
def _report() -> dict[str, Any]:
    """A report of a corpus with everything in it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "corpus"
        values = dict.fromkeys(cards.FIELDS, "plain words " * 30) | {
            "stage": "mix",
            "license": "mit",
        }
        cards.hostile(values, place).write(place)
        return build_report(open_corpus(place))


def prepare(folder: Path) -> None:
    """As for cards."""
    cards.prepare(folder)


def make(index: int) -> bytes:
    """Every tenth a corpus to be measured, else a report with hostile texts in it; and a page."""
    chance = random.Random(f"reports {index}")
    page = chance.choice(PAGES)
    if index % 10 == 0:
        return json.dumps({"page": page, "values": json.loads(cards.make(index))}).encode()
    return json.dumps({"page": page, "seed": index}).encode()


def _hostile(value: Any, chance: random.Random) -> Any:
    """The report with hostile texts for a third of its texts."""
    if isinstance(value, dict):
        return {key: _hostile(item, chance) for key, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item, chance) for item in value]
    if isinstance(value, str) and chance.random() < 0.35:
        return chance.choice((*cards.ATTACKS, encodable(odd_text(chance)), '" onclick="alert(1)'))
    return value


def check(data: bytes, folder: Path) -> str:
    """No script, no handler, no address but ours; well-formed; the Markdown twin has no markup."""
    given = json.loads(data)
    if "values" in given:
        place = folder / "corpus"
        cards.hostile(given["values"], place).write(place)
        corpus = open_corpus(place)
        report = build_report(corpus)
        check_html(corpus._repr_html_(), ALLOWED)
    else:
        report = _hostile(copy.deepcopy(_report()), random.Random(f"values {given['seed']}"))
    title = report["warnings"][0] if report["warnings"] else ""
    check_html(index_html(title=title, base=title, search=title, connect=""), None)
    _site(title, folder)
    page = given["page"]
    try:
        html = render_html(report, page=page)
        text = render_markdown(report, page=page)
    except UsageError:
        assert not page.startswith("http")
        return "refused page"
    check_html(html, ALLOWED, page)
    cards.check_markdown(text.replace(page, "https://page.invalid/") if page else text, {})
    return "page"


def _site(origin: str, folder: Path) -> None:
    """A hostile address of shards is refused, or is nothing but an address."""
    if not origin:
        return
    try:
        write_site(folder / "site", shard_origin=origin, title=origin)
    except UsageError:
        return
    check_html((folder / "site/index.html").read_text(encoding="utf-8"), None)


class Page(HTMLParser):
    """What is alive in a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


@cache
def _own_scripts() -> list[dict[str, str]]:
    page = Page()
    page.feed(index_html())
    return [attributes for tag, attributes in page.tags if tag == "script"]


def check_html(html: str, allowed: set[str] | None, page: str = "") -> None:
    """Only the elements that the template has; `allowed` None: those of the browse page."""
    found = Page()
    found.feed(html)
    found.close()
    if allowed is None:
        ours = Page()
        ours.feed(index_html())
        shape = [tag for tag, _ in found.tags]
        assert shape == [tag for tag, _ in ours.tags], "a value became an element"
        assert [a for tag, a in found.tags if tag == "script"] == _own_scripts()
    for tag, attributes in found.tags:
        assert allowed is None or tag in allowed, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"href", "src", "xlink:href", "action", "formaction"}:
                start = value.strip().lower()
                assert not start.startswith(("javascript:", "vbscript:")), value
                assert start.startswith(("#", "http://", "https://", "data:,")) or allowed is None
