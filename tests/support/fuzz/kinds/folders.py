"""What is rendered of a folder, and somebody else's folder: any text stays text, or is refused."""

from __future__ import annotations

import copy
import json
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from markdown_it import MarkdownIt
from support import corpora
from support.corpora import record, write_corpus
from support.fuzz.engine import Kind
from support.fuzz.kinds.texts import text_of
from support.fuzz.mutate import encodable, mutant, mutate_value, odd_text

from meadow.api import open_corpus
from meadow.cards.card import lint_card, render_card
from meadow.cards.documents import render_documents
from meadow.cards.header import front_matter as card_front
from meadow.cards.rows import rows_by_source
from meadow.corpus.manifest import NAME, Manifest, NamedFile, Shard, Step
from meadow.corpus.shards import write_parquet
from meadow.errors import MeadowError, UsageError
from meadow.quality.browse import index_html, write_site
from meadow.quality.check import check_corpus
from meadow.quality.page import render_html, render_markdown
from meadow.quality.report import build_report
from meadow.schema import COLUMNS, Author, arrow_schema, to_rows

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


def know_one_version(folder: Path) -> None:
    """Asking for versions costs more than a card; what stands there is hostile anyway."""
    corpora.library_versions = lambda: {"pyarrow": "0"}


def make_card(chance: random.Random, index: int) -> bytes:
    """A text for each place that a card takes one from."""
    found = {}
    for name in FIELDS:
        how = chance.random()
        if how < 0.4:
            found[name] = "".join(chance.choices(ATTACKS, k=chance.randint(1, 2)))
        elif how < 0.7:
            found[name] = encodable(odd_text(chance) if how < 0.6 else text_of(chance))
        else:
            found[name] = "plain"
    found["stage"] = chance.choice(("build", "mix"))
    return json.dumps(found).encode()


def check_card(data: bytes, folder: Path) -> str:
    """The front matter reads back, and the Markdown holds no live markup."""
    values = json.loads(data)
    place = folder / "corpus"

    def find(name: str) -> Path:
        return place / name

    # what is written is what a reader of somebody's folder has to take
    hostile(values, place).write(place)
    manifest = open_corpus(place).manifest
    counted = rows_by_source(manifest, find)
    whole = len(data) % 10 == 0
    documents = {}
    if whole:
        found = render_documents(manifest, find)
        documents = {name: data.decode("utf-8") for name, data in found.items()}
    card = documents["README.md"] if whole else render_card(manifest, find, counted)
    card.encode("utf-8")
    assert card.startswith("---\n")
    front, separator, body = card[4:].partition("\n---\n")
    assert separator
    wanted = card_front(manifest, find, counted)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert yaml.load(front, loader) == wanted, (front, wanted)
    check_markdown(body)
    if whole:
        assert lint_card(card, card) == []
        check_markdown(documents["LICENSES/README.md"])
        document = json.loads(documents["croissant.json"])
        assert json.loads(json.dumps(document)) == document
    return str(values["stage"])


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
    entry = replace(
        manifest.sources["medquad"],
        rows_in=2,
        rejected={values["reason"]: 1},
        repaired={values["repair"]: 1, f"scrubbed_{values['repair']}": 1},
        origin=values["origin"],
        facts={values["fact"]: {values["fact"]: 1}},
    )
    written = {
        "model": values["model"],
        "prompt": values["prompt"],
        "prompt_sha256": values["prompt"],
        "items": 2,
        "rewritten": 1,
        f"kept_{values['kept']}": 1,
    }
    reasoned = written | {
        "tries": 2,
        "tried": 3,
        "repeated": 1,
        "at_try": [1, 0],
        "guessing": 0.2,
        "left_out": {values["reason"]: 1},
        "exams": {values["exam"]: {"items": 3}},
    }
    exam = {"items": 1, "rows": {"stem": 1, "stem+answer": 0}, "verdict": values["exam"]}
    details = {
        "contact": values["contact"],
        "warnings": [values["reason"]],
        "contamination": {values["exam"]: exam},
        "rephrase": {values["origin"]: written},
        "reason": {"medquad": reasoned},
    }
    job = {"source": values["origin"], "model": values["model"], "exams": {values["exam"]: {}}}
    settings = {
        "reason": [job | {"tries": 1}],
        "recipe": values["recipe"] if values["stage"] == "mix" or len(values["recipe"]) % 2 else "",
        "options": {"style": values["style"]},
        "sources": ["medquad"],
    }
    manifest = replace(
        manifest,
        details=details,
        settings=settings,
        versions={values["version"]: values["version"]},
        sources={"medquad": entry},
    )
    if values["stage"] == "build":
        return manifest
    return replace(
        manifest,
        stage="mix",
        sources={},
        configs={"plain": {"train": entry.shards}},
        steps=(Step(values["step"], 2, 1, {values["reason"]: 1}),),
    )


class Live(HTMLParser):
    """What is alive in HTML: elements with their attributes, and comments."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.comments: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())

    def addresses(self, allowed: set[str] | None) -> list[str]:
        """Every address, of allowed elements (None: of any) that run nothing."""
        found = []
        for tag, attributes in self.tags:
            assert allowed is None or tag in allowed, tag
            for name, value in attributes.items():
                assert not name.startswith("on"), (tag, name)
                if name in {"href", "src", "xlink:href", "action", "formaction", "data"}:
                    found.append(value)
        return found


IN_CARDS = {
    *("p", "a", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "table", "thead", "tbody"),
    *("tr", "th", "td", "code", "pre", "em", "strong", "blockquote", "hr", "br"),
}


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def check_markdown(text: str) -> None:
    """Rendered as a web site would, with raw HTML allowed, it holds nothing that was not ours."""
    live = Live(_renderer().render(text))
    for link in live.addresses(IN_CARDS):
        if not link.startswith("https://page.invalid/#"):
            assert SITES.fullmatch(link), link
            assert "evil.example" not in link, link
            assert "e.example" not in link, link
    styles = {attributes.get("style", "text-align") for _, attributes in live.tags}
    assert all(style.startswith("text-align") for style in styles), styles
    opened = [c for c in live.comments if c.startswith("generated:")]
    closed = [c for c in live.comments if c == "/generated"]
    assert len(opened) == len(closed) == len(set(opened)), live.comments
    assert len(live.comments) == len(opened) + len(closed), live.comments
    assert "# Heading" not in text.split("\n"), "a heading from a value"


PAGES = (
    *("", "https://x.example/space/", "http://127.0.0.1:8000/", "javascript:alert(1)", "//x"),
    "data:a",
)
IN_PAGES = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
    *("section", "nav", "p", "h1", "h2", "h3", "dl", "dt", "dd", "div", "a", "table", "thead"),
    *("tbody", "tr", "th", "td", "svg", "text", "rect", "line", "path", "figure", "figcaption"),
    *("details", "summary", "b", "code", "small", "ul", "li", "span", "strong", "em"),
}


@cache
def _plain_report() -> dict[str, Any]:
    """A report of a corpus with everything in it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "corpus"
        values = dict.fromkeys(FIELDS, "plain words " * 30) | {"stage": "mix", "license": "mit"}
        hostile(values, place).write(place)
        return build_report(open_corpus(place))


def make_report(chance: random.Random, index: int) -> bytes:
    """Every tenth a corpus to be measured, else a report with hostile texts in it; and a page."""
    given: dict[str, Any] = {"page": chance.choice(PAGES), "seed": index}
    if index % 10 == 0:
        given["values"] = json.loads(make_card(chance, index))
    return json.dumps(given).encode()


def _with_attacks(value: Any, chance: random.Random) -> Any:
    """The report with hostile texts for a third of its texts."""
    if isinstance(value, dict):
        return {key: _with_attacks(item, chance) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_attacks(item, chance) for item in value]
    if isinstance(value, str) and chance.random() < 0.35:
        return chance.choice((*ATTACKS, encodable(odd_text(chance)), '" onclick="alert(1)'))
    return value


def check_report(data: bytes, folder: Path) -> str:
    """No script, no handler, no address but ours; well-formed; the Markdown twin has no markup."""
    given = json.loads(data)
    if "values" in given:
        place = folder / "corpus"
        hostile(given["values"], place).write(place)
        corpus = open_corpus(place)
        report = build_report(corpus)
        check_page(corpus._repr_html_())
    else:
        chance = random.Random(f"values {given['seed']}")
        report = _with_attacks(copy.deepcopy(_plain_report()), chance)
    title = report["warnings"][0] if report["warnings"] else ""
    check_browse_page(index_html(title=title, base=title, search=title, connect=""))
    try:
        # a hostile address of shards is refused, or is nothing but an address
        write_site(folder / "site", shard_origin=title or "https://x.example", title=title)
        check_browse_page((folder / "site/index.html").read_text(encoding="utf-8"))
    except UsageError:
        pass
    page = given["page"]
    try:
        html = render_html(report, page=page)
        text = render_markdown(report, page=page)
    except UsageError:
        assert not page.startswith("http")
        return "refused page"
    check_page(html)
    check_markdown(text.replace(page, "https://page.invalid/") if page else text)
    return "page"


def check_page(html: str) -> None:
    """Only elements that the template has, and addresses that run nothing."""
    starts = ("#", "http://", "https://", "data:,")
    for address in Live(html).addresses(IN_PAGES):
        assert address.strip().lower().startswith(starts), address


@cache
def _own_page() -> Live:
    return Live(index_html())


def check_browse_page(html: str) -> None:
    """The elements and scripts of the page without any value, one for one."""
    live = Live(html)
    shape = [tag for tag, _ in live.tags]
    assert shape == [tag for tag, _ in _own_page().tags], "a value became an element"
    scripts = [[a for tag, a in page.tags if tag == "script"] for page in (live, _own_page())]
    assert scripts[0] == scripts[1]
    for address in live.addresses(None):
        assert not address.strip().lower().startswith(("javascript:", "vbscript:")), address


MANIFEST_TOKENS = (
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"1e999", b"-1", b"true", b"\xff"),
    *(b"\\ud800", b'"../x"', b'"data/../../x"', b'"/etc/passwd"', b'"mix"', b'"build"'),
    *(b"9" * 5000, b"[" * 5000),
)
MORE_DETAILS = {
    "arithmetic": ["1 + 1 = 2"],
    "parts": [{"part": "medquad", "expected": 2, "found": 1, "met": False, "note": "too few"}],
    "sidecars": {},
}
REVIEW = {"error_rate": 0.1, "bad": 1, "marked": 10, "interval_95": [0.0, 0.4]}


@cache
def manifests(folder: Path | None) -> list[dict[str, Any]]:
    """Manifests of a build and of a mix, and the corpus of one row that they are of."""
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return manifests(Path(place))
    found = []
    for stage in ("mix", "build"):
        values = dict.fromkeys(FIELDS, "plain") | {"stage": stage}
        hostile(values, folder / "corpus").write(folder / "corpus")
        document = json.loads((folder / "corpus" / NAME).read_text(encoding="utf-8"))
        details = document["details"]
        details |= MORE_DETAILS
        details["contamination"]["plain"] |= {"items_found": {"stem": 1}, "remaining": {"rows": {}}}
        details["rephrase"]["plain"]["review"] = REVIEW
        found.append(document)
    return found


def make_manifest(chance: random.Random, index: int) -> bytes:
    """The document with odd values, or its bytes damaged."""
    seed = chance.choice(manifests(None))
    if index % 4 == 0:
        return mutant(chance, json.dumps(seed).encode(), MANIFEST_TOKENS)
    return json.dumps(mutate_value(chance, seed, most=3)).encode()


def check_manifest(data: bytes, folder: Path) -> str:
    """Each reader of a corpus ends in what it makes or in an expected error."""
    return _read_by_everything(data, folder / "corpus")


def _read_by_everything(manifest: bytes, place: Path) -> str:
    (place / NAME).write_bytes(manifest)
    opened = open_corpus(place)

    def report() -> None:
        found = build_report(opened)
        json.dumps(found)
        render_html(found)
        render_markdown(found)

    readers: tuple[Callable[[], object], ...] = (
        opened.verify,
        lambda: check_corpus(place),
        lambda: render_documents(opened.manifest, lambda name: place / name),
        opened.to_polars,
        lambda: (repr(opened), opened._repr_html_(), index_html(title=str(opened.configs))),
        report,
    )
    told = ""
    for read in readers:
        try:
            read()
            told += "+"
        except MeadowError:
            told += "-"
    return told


ODD_META = (
    *(None, "", "[]", "1", "null", '{"options": 1}', "{" * 3000, '{"repairs": 1}'),
    *('{"repairs": ["scrubbed_x", 1]}', '{"flags": [1]}', '{"options": {"A": 1}}'),
)


def make_corpus(chance: random.Random, index: int) -> bytes:
    """Odd values, other types, other columns, as JSON."""
    rows: list[dict[str, Any]] = list(to_rows(record("medquad", n, f"a{n}") for n in range(3)))
    for row in rows:
        for name in chance.sample(COLUMNS, chance.randint(0, 5)):
            if name == "authors":
                empty = {"name": None, "url": None, "role": None}
                row[name] = chance.choice((None, [], [None], [empty]))
            elif name == "meta":
                row[name] = chance.choice(ODD_META)
            else:
                text = chance.choice((None, "", odd_text(chance), text_of(chance)))
                row[name] = text and encodable(text)
    change = {
        "rows": rows,
        "drop": chance.sample(COLUMNS, 1) if index % 3 == 0 else [],
        "types": {chance.choice(COLUMNS): chance.choice([*_typed(0)])} if index % 3 == 1 else {},
        "add": [chance.choice(("messages", "extra", "id"))] if index % 5 == 0 else [],
    }
    return json.dumps(change).encode()


def check_corpus_of(data: bytes, folder: Path) -> str:
    """As for manifests: somebody else's shards under a manifest that is right."""
    change = json.loads(data)
    place = folder / "corpus"
    manifest = write_corpus(place, [record("medquad", n, f"a{n}") for n in range(3)]).manifest
    entry = manifest.sources["medquad"]
    path = place / entry.shards[0].path
    write_parquet(_changed(change), path)
    measured = NamedFile.of(path, entry.shards[0].path)
    hashed = Shard(measured.path, 3, measured.bytes, measured.sha256)
    replace(manifest, sources={"medquad": replace(entry, shards=(hashed,))}).write(place)
    return _read_by_everything((place / NAME).read_bytes(), place)


def _typed(rows: int) -> dict[str, Any]:
    """A column of each type, by the type's name."""
    return {
        "string": [""] * rows,
        "large_string": pa.array(["x"] * rows, pa.large_string()),
        "int64": list(range(rows)),
        "float64": [float("nan")] * rows,
        "bool": [True] * rows,
        "binary": [b"\xff"] * rows,
        "list": [["x"]] * rows,
        "null": pa.nulls(rows),
        "dictionary": pa.array(["x"] * rows).dictionary_encode(),
    }


def _changed(change: dict[str, Any]) -> pa.Table:
    table = pa.Table.from_pylist(change["rows"], arrow_schema())
    for name, kind in change["types"].items():
        column = pa.array(_typed(table.num_rows)[kind])
        table = table.set_column(table.schema.names.index(name), name, column)
    for name in change["add"]:
        if name not in table.schema.names:
            table = table.append_column(name, pa.array(["x"] * table.num_rows))
    return table.drop_columns([name for name in change["drop"] if name in table.schema.names])


KINDS = (
    Kind("cards", make_card, check_card, 10_000, "cards", prepare=know_one_version),
    Kind("reports", make_report, check_report, 10_000, "reports", prepare=know_one_version),
    Kind("manifests", make_manifest, check_manifest, 3_000, "manifests", prepare=manifests),
    Kind("corpora", make_corpus, check_corpus_of, 1_000, "corpora", prepare=know_one_version),
)
