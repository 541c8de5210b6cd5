"""MediaWiki pages: every real page of the fixtures, the forms of one page, and hostile input."""

import bz2
import contextlib
import gzip
import json
import re
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stopwatch import Stopwatch

from meadow.errors import FileError
from meadow.schema import Fact, Reason, Reject
from meadow.source import Input, Options
from meadow.sources.wikidoc.html_pages import NotAnArticleError, Page, Section, read_page
from meadow.sources.wikidoc.pages import anchored, read
from meadow.sources.wikidoc.wikitext import read_wikitext
from meadow.sources.wikidoc.xml_export import read_pages
from meadow.text.render import HtmlLimitError

RESIDUE = re.compile(
    r"\[\d{1,3}\]|\[edit|\[Bearbeiten|\[hide\]|\[show\]|Jump to navigation|From Wikipedia, the free"
    r"|\[citation needed\]|Retrieved from \"|^\s*Contents\s*$|^\d+\.\d+ [A-Z]|mw-parser"
    r"|Log in|Navigation menu|Meine Werkzeuge|Categories:|\.mw-",
    re.MULTILINE,
)


def rows_of(path: Path) -> list[object]:
    return list(read([Input(path, path.name)], Options()))


def sections_of(path: Path) -> list[dict[str, object]]:
    return [row for row in rows_of(path) if isinstance(row, dict)]


@pytest.fixture(scope="module")
def pages(upstream: Path) -> dict[str, list[object]]:
    folder = upstream / "mediawiki/html"
    return {path.stem: rows_of(path) for path in sorted(folder.glob("*.html"))}


def test_every_real_page_splits_into_sections_without_residue(pages, upstream: Path) -> None:
    split = {name: [row for row in rows if isinstance(row, dict)] for name, rows in pages.items()}
    assert {name: len(rows) for name, rows in split.items()} == {
        "readability_wikipedia": 37,
        "readability_wikipedia-2": 30,
        "readability_wikipedia-4": 0,  # a list of pages
        "trafilatura_piratenwiki": 1,
        "trafilatura_wikimediafoundation": 0,  # a page of another system
    }
    refused = [row for rows in pages.values() for row in rows if isinstance(row, Reject)]
    assert {row.reason for row in refused} == {Reason.NOT_AN_ARTICLE}
    assert ["a list of" in row.detail for row in refused] == [True, False]
    assert "not a MediaWiki page" in refused[1].detail
    for name, rows in split.items():
        for row in rows:
            found = RESIDUE.search(str(row["text"]))
            assert not found, (name, row["heading"], found)
            assert not re.search(r"</?(?:a|span|sup|div|table)\b", str(row["text"]))
    for name in ("readability_wikipedia", "readability_wikipedia-2"):
        # against a count by regular expression: no section is lost, none is invented
        html = (upstream / f"mediawiki/html/{name}.html").read_text("utf-8")
        marked = re.findall(r'class="mw-headline" id="([^"]+)"', html)
        assert sum(bool(row["heading"]) for row in split[name]) == len(marked)


def test_headings_levels_and_texts_of_a_real_page(pages) -> None:
    rows = {row["anchor"]: row for row in pages["readability_wikipedia"] if isinstance(row, dict)}
    assert rows["NSS"]["parents"] == ("Software", "Components")
    assert rows[""]["text"].startswith("Mozilla is a free-software community, created in 1998")
    assert rows["Firefox"]["url"] == "https://en.wikipedia.org/wiki/Mozilla"
    assert rows["Firefox"]["revision"] == "746574460"
    assert rows["Software"]["text"] == ""


def test_real_exports_leave_no_markup(upstream: Path) -> None:
    found = 0
    for path in sorted((upstream / "mediawiki/xml").glob("*.bz2")):
        for row in rows_of(path):
            if not isinstance(row, dict):
                continue
            found += 1
            # braces stand in formulas only
            text = re.sub(r"\$[^$]+\$", "", str(row["text"]))
            residue = re.search(
                r"\[\[|\]\]|'''|<ref|</?(?:td|tr|table|div|span|br|small)\b|\{\||\|\}|&nbsp;"
                r"|__[A-Z]{3,}__|\[https?:|\{\{cite",
                text,
            )
            assert not residue, (row["title"], row["heading"], residue)
    assert found > 2000


def test_redirects_are_rejects_and_pages_are_counted(upstream: Path) -> None:
    path = upstream / "mediawiki/xml"
    name = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    rows = rows_of(path / name)
    text = bz2.decompress((path / name).read_bytes()).decode()
    rejects = Counter(row.reason for row in rows if isinstance(row, Reject))
    assert rejects[Reason.NOT_A_TARGET] == text.count("<redirect ") > 50
    marked = re.findall(r"(?i)\{\{ *(?:disambiguation|geodis)\b", text)
    lists = re.findall(r"<title>List of [^<]+</title>", text)
    assert rejects[Reason.NOT_AN_ARTICLE] == len(marked) + len(lists) > 5
    assert Fact("pages_read", "XML export", text.count("<page>")) in rows


@pytest.mark.parametrize(
    ("title", "wikitext"),
    [
        ("Gouty", "'''Gouty''' may mean:\n* [[Gout]], a disease\n{{disambiguation|geo}}"),
        ("Gouty", "* [[Gout]]\n{{hndis|Gouty, A.}}"),
        ("Gouty", "* [[Gout]]\n{{Airport disambiguation}}"),
        ("Gouty", "* [[Gout]] __DISAMBIG__"),
        ("Gout (disambiguation)", "Gout is a disease. It may also mean:"),
        ("List of joints", "This is a list of joints."),
    ],
)
def test_a_page_that_leads_to_others_is_no_article(title: str, wikitext: str) -> None:
    with pytest.raises(NotAnArticleError, match="a list of pages"):
        read_wikitext(wikitext, title=title)
    box = "" if title != "Gouty" else '<table id="disambigbox"><tr><td>Pages</td></tr></table>'
    html = f'<h1 id="firstHeading">{title}</h1><div id="mw-content-text"><p>x</p>{box}</div>'
    with pytest.raises(NotAnArticleError, match="a list of pages"):
        read_page(html)


def test_a_note_above_an_article_makes_no_list_of_it() -> None:
    text = "{{other uses|Gout (disambiguation)}}Pain{{disambiguation needed}} and [[Listing of x]]"
    assert read_wikitext(text, title="Gout").sections[0].text == "Pain and Listing of x"


FLAT = (
    '<h2><span class="mw-headline" id="A">Causes</span>'
    '<span class="mw-editsection">[<a>edit</a>]</span></h2>'
    '<p>Dust.<sup class="reference">[1]</sup></p>'
    '<h3><span class="mw-headline" id="B">Rare causes</span></h3><ul><li>Hay</li></ul>'
)
WRAPPED = (
    '<div class="mw-heading mw-heading2"><h2 id="A">Causes</h2>'
    '<span class="mw-editsection">[edit]</span></div>'
    '<p>Dust.<sup class="mw-ref reference">[1]</sup></p>'
    '<div class="mw-heading mw-heading3"><h3 id="B">Rare causes</h3></div><ul><li>Hay</li></ul>'
)
PARSOID = (
    '<section data-mw-section-id="1"><h2 id="A">Causes</h2>'
    '<p>Dust.<sup class="mw-ref">[1]</sup></p>'
    '<section data-mw-section-id="2"><h3 id="B">Rare causes</h3>'
    "<ul><li>Hay</li></ul></section></section>"
)
MOBILE = (
    '<h2 class="section-heading"><span class="mw-headline" id="A">Causes</span></h2>'
    '<section class="collapsible-block">'
    '<p>Dust.</p><h3><span class="mw-headline">Rare causes</span>'
    "</h3><ul><li>Hay</li></ul></section>"
)
WIKITEXT = "==Causes==\nDust.<ref>x</ref>\n===Rare causes===\n* Hay\n"
EXPECTED = [("Causes", 2, (), "Dust."), ("Rare causes", 3, ("Causes",), "- Hay")]


def shape(page: Page) -> list[tuple]:
    return [(s.heading, s.level, s.parents, s.text) for s in page.sections if s.heading]


def test_every_generation_of_markup_gives_the_same_sections() -> None:
    assert shape(read_wikitext(WIKITEXT)) == EXPECTED
    for html in (FLAT, WRAPPED, PARSOID, MOBILE):
        for container in (
            f'<div class="mw-parser-output">{html}</div>',
            '<body class="mediawiki ns-0"><h1 id="firstHeading">T</h1>'
            f'<div id="mw-content-text">{html}',
            f'<div id="bodyContent">{html}</div>',
        ):
            assert shape(read_page(container, title="T")) == EXPECTED


def test_bylines_boxes_and_captions_go() -> None:
    page = read_page(
        '<div class="mw-parser-output"><p><b>Editor-In-Chief:</b> A. Nobody, M.D. [1]</p>'
        "<p>Synonyms and keywords: Hay; straw</p><p>For patient information click here</p>"
        "<table><tr><td>Gout Microchapters</td></tr><tr><td>Home</td></tr></table>"
        '<table class="infobox"><tr><td>box</td></tr></table><div class="thumb"><img>caption</div>'
        '<figure><img><figcaption>caption</figcaption></figure><p style="display: none">hidden</p>'
        "<p>Text that stays, with x<sup>2</sup> &lt; 4.</p></div>",
        title="T",
    )
    assert page.sections[0].text == "Text that stays, with x² < 4."
    assert page.facts["images_dropped", "page"] == 2


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        *(
            (f'<body class="mediawiki ns-{n}"><div id="mw-content-text">x', Reason.NOT_AN_ARTICLE)
            for n in (1, 2, 6, 10, 14, -1)
        ),
        ('<div class="mw-parser-output"><p class="redirectMsg">to B</p>', Reason.NOT_A_TARGET),
    ],
)
def test_pages_that_are_no_articles(html: str, reason: Reason) -> None:
    with pytest.raises(NotAnArticleError, match=r"namespace|a redirect") as caught:
        read_page(html, title="T")
    assert caught.value.reason is reason


def test_a_repeated_heading_gets_its_own_anchor() -> None:
    sections = [Section(heading, 2, (), "x") for heading in ("A b", "A b", "a B", "C")]
    assert [anchor for _, anchor in anchored(sections)] == ["A_b", "A_b_2", "a_B_3", "C"]


def test_the_forms_are_told_apart_by_content(tmp_path: Path) -> None:
    export = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo>'
        "<sitename>S</sitename>"
        "<base>https://w.example/wiki/Main</base></siteinfo><page><title>T</title><ns>0</ns>"
        "<id>1</id><revision><id>5</id><timestamp>2026</timestamp>"
        f"<text>{WIKITEXT.replace('<', '&lt;')}</text>"
        "</revision></page></mediawiki>"
    )
    page = {"title": "T", "page_id": 1, "url": "https://w.example/wiki/T", "revision": "5"}
    line = json.dumps(page | {"html": f'<div class="mw-parser-output">{FLAT}</div>'})
    saved = (
        '<html><head><link rel="canonical" href="https://w.example/wiki/T"></head>'
        f'<body class="ns-0"><h1 id="firstHeading">T</h1><div id="mw-content-text">{FLAT}</div>'
    )
    (tmp_path / "a.txt").write_text(line + "\n")
    (tmp_path / "b.txt").write_text(saved)
    (tmp_path / "c.txt").write_text('<?xml version="1.0"?>\n' + export)
    (tmp_path / "d.gz").write_bytes(gzip.compress(export.encode()))
    forms = [sections_of(path) for path in sorted(tmp_path.iterdir())]
    for rows in forms:
        assert [(r["title"], r["anchor"], r["text"], r["url"]) for r in rows] == [
            ("T", "Causes", "Dust.", "https://w.example/wiki/T"),
            ("T", "Rare_causes", "- Hay", "https://w.example/wiki/T"),
        ]


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    page = (
        '<meta charset="{}"><div class="mw-parser-output"><h1 id="firstHeading">T</h1>'
        "<p>caf\xe9</p>"
    )
    path = tmp_path / "page.html"
    path.write_bytes(page.format("iso-8859-1").encode("latin-1"))
    assert "café" in str(sections_of(path)[-1]["text"])
    path.write_bytes(page.format("utf-8").encode("latin-1"))
    assert [r.reason for r in rows_of(path) if isinstance(r, Reject)] == [Reason.BAD_ENCODING]


def test_a_store_line_alone_is_lost(tmp_path: Path) -> None:
    html = f'<div class="mw-parser-output">{FLAT}</div>'
    good, other = (json.dumps({"title": title, "html": html}) for title in ("T", "V"))
    path = tmp_path / "pages.jsonl"
    path.write_text(f'{good}\n{{"title": "U"}}\n[1]\n{{"title": "torn\n{other}\n')
    rows = rows_of(path)
    assert [r.reason for r in rows if isinstance(r, Reject)] == [
        Reason.MISSING_FIELD,
        Reason.NOT_AN_OBJECT,
        Reason.BAD_JSON,
    ]
    assert sum(isinstance(row, dict) for row in rows) == 4


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<div>" * 100_000, Reason.TOO_DEEP),
        ("<b>" * 300_000, Reason.TOO_DEEP),
        ("x" * 4_000_001, Reason.TOO_LARGE),
        ("<script>" + "x" * 100_000, Reason.NOT_AN_ARTICLE),
        ("", Reason.NOT_AN_ARTICLE),
    ],
)
def test_hostile_html_is_one_reject_in_no_time(html: str, reason: Reason, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(html)
    watch = Stopwatch()
    rows = [row for row in rows_of(path) if isinstance(row, Reject)]
    assert watch.within(2)
    assert [row.reason for row in rows] == [reason]


def test_scripts_are_no_text() -> None:
    page = read_page(
        '<div class="mw-parser-output"><script>alert(1)</script><style>.a{}</style><p>Hay'
        "<!-- no --> &lt;script&gt;</p><noscript>no</noscript></div>",
        title="T",
    )
    assert page.sections[0].text == "Hay `<script>`"


def xml(body: bytes, tmp_path: Path) -> Iterator[object]:
    path = tmp_path / "export.xml"
    path.write_bytes(body)
    with path.open("rb") as file:
        return list(read_pages(file, "export.xml"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<mediawiki><page><title>A", "XML breaks"),
        (b"<mediawiki><page><title>A\x0b</title></page></mediawiki>", "XML breaks"),
        (b"<mediawiki><page><title>A\xff</title></page></mediawiki>", "XML breaks"),
        (b"<mediawiki>" + b"<a>" * 200_000, "XML breaks"),
        (b"<mediawiki><page x='" + b"y" * 30_000_000 + b"'/></mediawiki>", "XML breaks"),
        (
            b'<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><mediawiki>&b;</mediawiki>',
            "declares a DTD",
        ),
        (
            b'<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><mediawiki>&x;</mediawiki>',
            "declares a DTD",
        ),
        (b"<mediawiki><page><title>&unknown;</title></page></mediawiki>", "XML breaks"),
        (b"<rss/>", "not a MediaWiki export"),
        (b"", "not a MediaWiki export"),
    ],
)
def test_hostile_xml_is_a_file_error_in_little_time_and_memory(
    body: bytes, message: str, tmp_path: Path
) -> None:
    watch = Stopwatch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileError, match=message) as caught:
        xml(body, tmp_path)
    assert watch.within(2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert "export.xml" in caught.value.where


def test_of_several_revisions_the_last_counts(tmp_path: Path) -> None:
    found = xml(
        b"<mediawiki><page><title>T</title><ns>0</ns><revision><id>2</id>"
        b"<timestamp>2025-01-01</timestamp><text>new</text></revision><revision><id>1</id><timestamp>2024-01-01</timestamp>"
        b"<text>old</text></revision></page></mediawiki>",
        tmp_path,
    )
    assert [(page.revision, page.text) for page in found] == [("2", "new")]  # type: ignore[attr-defined]


def test_hostile_wikitext() -> None:
    watch = Stopwatch()
    with pytest.raises(HtmlLimitError):
        read_wikitext("{{" * 100_000)
    for text in ("[[" * 150, "<ref>" * 50_000, "{|\n" * 5_000, "'" * 100_000, "<!--" * 100_000,
                 "=" * 100_000, "*" * 300 + " x", "[http://" * 20_000):  # fmt: skip
        with contextlib.suppress(HtmlLimitError):
            read_wikitext(text)
    assert watch.within(20)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<span class="mwe-math-element"><math alttext="{\\displaystyle \\frac{2}{3}}"><mi>x</mi>'
         '</math><img alt="no"></span>', "$\\frac{2}{3}$"),
        ("<math><msup><mn>10</mn><mn>8</mn></msup></math> cells", "10⁸ cells"),
        ('HCO<span class="template-chem2-su"><span>−</span><span>3</span></span>', "HCO₃⁻"),
        ('PO<span style="display:inline-block">3−<br>4</span>', "PO₄³⁻"),
        ('8<span style="visibility:hidden">00</span> mg', "8 mg"),
        ('8<span style="color: transparent">0</span> mg <b hidden>9</b>', "8 mg"),
        ('3<span class="frac"><span class="num">1</span>⁄<span class="den">4</span></span>',
         "3 1/4"),
        ('<span class="sfrac">2<span class="sr-only">+</span><span class="num">1</span>'
         '<span class="den">x+1</span></span>', "2 1/(x+1)"),
        ("<table><caption>In mg</caption><tr><th>A</th></tr><tr><td>5</td></tr></table>",
         "In mg\n\n| A |\n| --- |\n| 5 |"),
        ("<table><tr><td>left<table><tr><th>A</th></tr><tr><td>5</td></tr></table></td></tr></table>",
         "left\n\n| A |\n| --- |\n| 5 |"),
        ("<table><tr><th>A</th><th>B</th></tr><tr><td>5</td><td>x<table><tr><td>6</td><td>7</td>"
         "</tr></table></td></tr></table>", "| 5 | x 6; 7 |"),
        ("<table><tr><td><h3>First</h3><p>a</p><ul><li>b</li></ul></td><td><p>c</p></td></tr></table>",
         "First\n\na\n\n- b\n\nc"),
        ("<table><tr><td><ul><li>a</li></ul></td><td><p>b</p></td></tr></table>", "- a\n\nb"),
        ("<ul><li></li><li>one</li></ul>", "- one"),
    ],
)  # fmt: skip
def test_what_a_page_shows_is_what_a_section_says(html: str, text: str) -> None:
    section = read_page(f'<div class="mw-parser-output">{html}</div>', title="T").sections[0]
    assert text in section.text
    assert section.unread == ()


@pytest.mark.parametrize(
    ("html", "name"),
    [
        ("<math><msup><mn>10</mn></msup></math>", "math (tag)"),
        ('<a class="new" title="Template:Dose (page does not exist)">Template:Dose</a>', "Dose"),
    ],
)
def test_a_saved_page_names_what_was_not_understood(html: str, name: str) -> None:
    page = read_page(f'<div class="mw-parser-output">Give {html} mg.</div>', title="T")
    assert [found.startswith(name) for found in page.sections[0].unread] == [True]


def exported(*pages: str, names: str = "") -> bytes:
    head = f"<siteinfo><sitename>S</sitename><namespaces>{names}</namespaces></siteinfo>"
    return f"<mediawiki>{head}{''.join(pages)}</mediawiki>".encode()


def one(title: str, text: str, inside: str = "", before: str = "") -> str:
    revision = f"<revision><id>1</id>{inside}<text{text}</text></revision>"
    return f"<page><title>{title}</title>{before}{revision}</page>"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (one("A", ">#REDIRECT [[B]] {{R}}", before="<redirect />"), Reason.NOT_A_TARGET),
        (one("A", "> #redirect: [[B]]"), Reason.NOT_A_TARGET),
        (one("A", ">#WEITERLEITUNG [[B#c|d]]"), Reason.NOT_A_TARGET),
        (one("A", ">x { y }", "<model>css</model>"), Reason.NOT_AN_ARTICLE),
        (one("A", ">return 1", "<model>Scribunto</model>"), Reason.NOT_AN_ARTICLE),
        (one("A.js", ">x", "<format>text/javascript</format>"), Reason.NOT_AN_ARTICLE),
        (one("Talk:A", ">Text."), Reason.NOT_AN_ARTICLE),
        (one("user_talk:A", ">Text."), Reason.NOT_AN_ARTICLE),
        (one("S:About", ">Text."), Reason.NOT_AN_ARTICLE),
        (one("Vorlage:A", ">Text."), Reason.NOT_AN_ARTICLE),
        (one("Vorlage:A", ">Text.", before="<ns>0</ns>"), None),
        (one("Talking: an art", ">Text."), None),
        (one("A", " deleted='deleted'>"), Reason.DELETED),
        (one("A", ">  "), Reason.EMPTY_OUTPUT),
        (one("A", ">#Ascorbic [[acid]]"), None),
        (one("A", ">Text.", "<model>wikitext</model><format>text/x-wiki</format>"), None),
    ],
)
def test_pages_of_an_export_that_are_no_articles(
    page: str, reason: Reason | None, tmp_path: Path
) -> None:
    path = tmp_path / "export.xml"
    path.write_bytes(exported(page, names='<namespace key="10">Vorlage</namespace>'))
    rows = [row for row in rows_of(path) if not isinstance(row, Fact)]
    if reason is None:
        assert [isinstance(row, dict) for row in rows] == [True]
    else:
        assert [getattr(row, "reason", None) for row in rows] == [reason]


def test_a_page_of_a_wiki_without_a_name_is_an_article(tmp_path: Path) -> None:
    path = tmp_path / "export.xml"
    path.write_bytes(exported(one("A", ">Text.")).replace(b"<sitename>S<", b"<sitename><"))
    assert len(sections_of(path)) == 1


def test_the_names_of_very_many_templates_are_counted_together(tmp_path: Path) -> None:
    path = tmp_path / "export.xml"
    boxes = "\n\n".join(f"{{{{box {number}}}}}" for number in range(1_005))
    path.write_bytes(exported(one("A", f">Text.\n\n{boxes}")))
    facts = [row for row in rows_of(path) if isinstance(row, Fact)]
    dropped = {fact.value: fact.count for fact in facts if fact.group == "templates_dropped"}
    assert len(dropped) == 1_001
    assert dropped["(others)"] == 5


def test_every_heading_of_the_real_pages_is_found(upstream: Path, pages) -> None:
    """Against a count by regular expression: no section is lost, none is invented."""
    for name in ("readability_wikipedia", "readability_wikipedia-2"):
        html = (upstream / f"mediawiki/html/{name}.html").read_text("utf-8")
        expected = re.findall(r'class="mw-headline" id="([^"]+)"', html)
        rows = [row for row in pages[name] if isinstance(row, dict) and row["heading"]]
        assert len(rows) == len(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<h2>", "</h2>", "<div>", "</div>", "<table>", "<tr>", "<td>", "text",
             "<ul>", "<li>", "&lt;", "<sup class='reference'>", "</table>", "<!--", "-->", "<h3>"]
        ),
        max_size=40,
    )
)  # fmt: skip
def test_any_html_gives_sections_without_tags(parts: list[str]) -> None:
    page = read_page('<div class="mw-parser-output">' + "".join(parts) + "</div>", title="T")
    assert page.sections
    for section in page.sections:
        assert "<p>" not in section.text
        assert "reference" not in section.text


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="[]{}|='*#:;<>!-\n ab/ref&", max_size=120))
def test_any_wikitext_gives_sections(text: str) -> None:
    sections = read_wikitext(text).sections
    assert sections
    assert sections[0].heading == ""


def test_wikitext_gives_the_same_sections() -> None:
    found = [
        (s.heading, s.level, s.parents, s.text)
        for s in read_wikitext(WIKITEXT).sections
        if s.heading
    ]
    assert found == EXPECTED
