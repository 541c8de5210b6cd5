"""A MediaWiki page as HTML, split into sections: from 1.16 to today's skins, saved or from the API.

Old pages have flat `h2 > span.mw-headline`, newer ones `div.mw-heading`, Parsoid and the mobile
skin wrap each section in a `section`. What is no text of the article goes before the split:
navigation, edit links, tables of contents, reference marks, hatnotes, captions and WikiDoc's
bylines. beautifulsoup4 with lxml parses; size and depth are capped first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from meadow.schema import Reason
from meadow.text.render import HtmlLimitError, check_limits, render_html

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import PageElement, Tag

MAX_COLUMNS = 100
MAX_ROW_SPAN = 500


class Cell(NamedTuple):
    """A cell as its page has it: its inner HTML and how many columns and rows it covers."""

    html: str
    header: bool = False
    columns: int = 1
    rows: int = 1


def rectangular(rows: Iterable[Iterable[Cell]]) -> str:
    """The HTML of a table whose rows are all equally long, as Markdown needs them; "" without text.

    A cell that spans rows is repeated in each of them, so that every row can be read by itself; one
    that spans columns is followed by empty ones.
    """
    grid: list[list[Cell]] = []
    spans: dict[int, tuple[Cell, int]] = {}
    for row in rows:
        line: list[Cell] = []
        for cell in row:
            _carry(line, spans)
            for offset in range(max(1, min(cell.columns, MAX_COLUMNS - len(line)))):
                here = cell if offset == 0 else Cell("", cell.header)
                if cell.rows > 1:
                    spans[len(line)] = (here, min(cell.rows, MAX_ROW_SPAN) - 1)
                line.append(here)
            if len(line) >= MAX_COLUMNS:
                break
        _carry(line, spans)
        if any(cell.html.strip() for cell in line):
            grid.append(line)
    width = max((len(line) for line in grid), default=0)
    body = []
    for line in grid:
        cells = [*line, *[Cell("")] * (width - len(line))]
        names = ["th" if cell.header else "td" for cell in cells]
        body.append(
            "".join(
                f"<{name}>{cell.html}</{name}>" for name, cell in zip(names, cells, strict=True)
            )
        )
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in body) + "</table>" if body else ""


def _carry(line: list[Cell], spans: dict[int, tuple[Cell, int]]) -> None:
    """Repeat the cells that reach down from the rows above."""
    while (found := spans.get(len(line))) is not None:
        cell, left = found
        if left == 1:
            del spans[len(line)]
        else:
            spans[len(line)] = (cell, left - 1)
        line.append(cell)


MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 200
"""libxml2 stops at 256 without a word; real pages stay below 60."""

# Talk pages have odd numbers; these even ones hold no articles. A wiki's own namespaces may.
_NOT_CONTENT = frozenset({2, 4, 6, 8, 10, 12, 14, 828})

_REMOVED = ", ".join(
    (
        "script, style, noscript, link, meta, template, form, input, button, audio, video, iframe",
        # edit links, tables of contents, navigation
        ".mw-editsection, .editsection, #toc, .toc, .mw-toc, #mw-toc-heading, .toctitle",
        "#siteSub, #contentSub, #jump-to-nav, .mw-jump-link, .mw-indicators, .printfooter",
        "#catlinks, .catlinks, .mw-normal-catlinks, .noprint, .navigation-not-searchable",
        ".navbox, .vertical-navbox, .navbox-styles, .sidebar, .portal, .portalbox, .sistersitebox",
        ".succession-box, .mw-pt-languages, .mw-authority-control, .navbar, .mw-empty-elt",
        # notes on the article
        "[role=note], .hatnote, .dablink, .rellink, .mainarticle, .shortdescription, .metadata",
        ".ambox",
        ".messagebox, .mbox-small, .stub, .plainlinks.stub, #coordinates, .Inline-Template",
        # reference marks and lists of references
        "sup.reference, .mw-ref, .references, .reflist, .mw-references-wrap, .refbegin",
        ".mw-cite-backlink, .error.mw-ext-cite-error, span.Z3988",
        # pictures and boxes
        ".infobox, .infobox_v2, .thumb, .tright.thumb, figure, figcaption, .thumbcaption, .gallery",
        "ul.gallery, .image, .mw-file-description, .tmulti, map, .mw-kartographer-map",
    )
)
_BYLINE = re.compile(
    r"\s*(?:"
    r"(?:(?:associate|assistant|contributing|section|managing)\s+)?"
    r"editors?(?:\(s\))?(?:[- ]in[- ]chief)?(?:\(s\))?\s*:"
    r"|(?:for )?(?:the )?(?:wikidoc|main|patient information|microchapter) .{0,80}click here"
    r"|for (?:the )?(?:patient information|other uses|more information|the wikidoc|a patient)"
    r"\b.{0,160}\bclick here"
    r"|(?:synonyms and (?:related )?key ?words|(?:related )?key ?words and synonyms)\s*:"
    r"|please take over this page|to go back to the main page|.{0,80}\bon the web\b\s*$"
    r")",
    re.IGNORECASE,
)
_NAVIGATION_TABLE = re.compile(
    r"microchapters|resources for\b|patient information\s+overview|articles on .{1,60}powerpoint"
    r"|most recent articles on|\bedit\b.{0,20}\bdiscuss\b",
    re.IGNORECASE,
)
_UNWRAPPED = ("a", "b", "strong", "i", "em", "u", "span", "font", "abbr", "big", "cite", "bdi")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the text below it, up to the next heading of any level.

    Args:
        heading: As shown; "" for the lead.
        level: 1 to 6; 0 for the lead.
        parents: The headings above it, outermost first.
        text: Markdown-like text in normal form; "" where a heading follows at once.
        images: Images dropped.
    """

    heading: str
    level: int
    parents: tuple[str, ...]
    text: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its sections, the lead first (always there, its text may be empty)."""

    title: str
    sections: tuple[Section, ...]
    url: str = ""
    revision: str = ""
    generator: str = ""
    namespace: int = 0
    facts: dict[str, str] = field(default_factory=dict)


class NotAnArticleError(ValueError):
    """The document is no article of a MediaWiki; `reason` is for a reject."""

    reason = Reason.NOT_AN_ARTICLE


def read_page(html: str, *, title: str = "", url: str = "") -> Page:
    """Split one page.

    Args:
        html: A saved page, or the fragment that the API's action=parse gives.
        title: For a fragment; a saved page says its own.
        url: Where the page was found, for the same.

    Raises:
        HtmlLimitError: Too large or too deep.
        NotAnArticleError: No MediaWiki page, or one outside the namespaces of articles.
    """
    from bs4 import BeautifulSoup

    check_limits(html, max_characters=MAX_CHARACTERS, max_depth=MAX_DEPTH)
    soup = BeautifulSoup(html, "lxml")
    content = _content(soup)
    namespace = _namespace(soup, html)
    if not holds_articles(namespace):
        raise NotAnArticleError(f"namespace {namespace} holds no articles")
    generator = _attribute(soup, 'meta[name="generator"]', "content")
    found_title = _title(soup) or title
    if not found_title:
        raise NotAnArticleError("the page has no title")
    canonical = _attribute(soup, 'link[rel="canonical"]', "href") or url
    revision = re.search(r'"wgRevisionId"\s*:\s*(\d+)', html)
    images = _clean(soup, content)
    sections = tuple(_sections(content, images))
    return Page(
        title=found_title,
        sections=sections,
        url=canonical,
        revision=revision[1] if revision else "",
        generator=generator,
        namespace=namespace,
    )


def holds_articles(namespace: int) -> bool:
    """Whether pages of a namespace can be articles: talk, user, file and such pages cannot."""
    return namespace >= 0 and namespace % 2 == 0 and namespace not in _NOT_CONTENT


def _content(soup: BeautifulSoup) -> Tag:
    """The element that holds the article.

    Raises:
        NotAnArticleError: There is none: the page is not MediaWiki's.
    """
    outputs = soup.select(".mw-parser-output")
    if outputs:
        # indicators and notices have small ones of their own
        return max(outputs, key=lambda output: len(output.get_text()))
    # 1.23 and before have the article right in #mw-content-text or, older, in #bodyContent
    for selector in ("#mw-content-text", "#bodyContent"):
        found = soup.select_one(selector)
        if found is not None:
            return found
    raise NotAnArticleError("not a MediaWiki page: no article text in it")


def _namespace(soup: BeautifulSoup, html: str) -> int:
    body = soup.body
    for name in body.get_attribute_list("class") if body else []:
        if match := re.fullmatch(r"ns-(-?\d{1,9})", str(name)):
            return int(match[1])
    found = re.search(r'"wgNamespaceNumber"\s*:\s*(-?\d{1,9})\b', html)
    return int(found[1]) if found else 0


def _title(soup: BeautifulSoup) -> str:
    heading = soup.select_one("#firstHeading")
    if heading is not None:
        return " ".join(heading.get_text().split())
    return ""


def _attribute(soup: BeautifulSoup, selector: str, name: str) -> str:
    found = soup.select_one(selector)
    return str(found.get(name) or "") if found is not None else ""


def _clean(soup: BeautifulSoup, content: Tag) -> int:
    """Take out what is no text of the article; the number of images among it."""
    images = len(content.find_all("img"))
    for formula in content.select(".mwe-math-element, img.tex"):
        # the picture and its MathML say the same thing thrice; TeX says it once
        annotation = formula.find("annotation")
        picture = formula if formula.name == "img" else formula.find("img")
        tex = annotation.get_text() if annotation else str(picture.get("alt") if picture else "")
        formula.replace_with(f"${_bare_tex(tex)}$")
        images -= picture is not None
    for element in content.select(_REMOVED):
        element.decompose()
    for element in content.select("[style]"):
        style = str(element.get("style") or "").replace(" ", "").lower()
        if "display:none" in style:
            element.decompose()
    for table in content.find_all("table"):
        if not table.decomposed and _NAVIGATION_TABLE.search(table.get_text(" ")[:2000]):
            table.decompose()
    for block in content.find_all(["p", "dd", "div", "center"]):
        if not block.decomposed and _BYLINE.match(text := block.get_text(" ")) and len(text) < 600:
            block.decompose()
    for table in reversed(content.find_all("table")):  # the innermost first
        if not table.decomposed and (table.find("table") or table.find(_HEADINGS)) is None:
            _make_rectangular(table)
    for name in _UNWRAPPED:
        for element in content.find_all(name):
            if "mw-headline" not in element.get_attribute_list("class"):
                element.unwrap()
    return max(images, 0)


def _make_rectangular(table: Tag) -> None:
    from bs4 import BeautifulSoup

    rows = []
    for line in table.find_all("tr"):
        cells = line.find_all(["td", "th"], recursive=False)
        rows.append(
            [
                Cell(
                    " ".join(cell.decode_contents().split()),
                    cell.name == "th",
                    _number(cell, "colspan"),
                    _number(cell, "rowspan"),
                )
                for cell in cells
            ]
        )
    html = rectangular(rows)
    if not html:
        table.decompose()
        return
    fresh = BeautifulSoup(html, "lxml").table
    if fresh is not None:
        table.replace_with(fresh.extract())


def _number(cell: Tag, name: str) -> int:
    value = str(cell.get(name) or "1").strip()
    return int(value) if value.isdecimal() and len(value) < 5 else 1


def _bare_tex(tex: str) -> str:
    stripped = tex.strip()
    if match := re.fullmatch(r"\{\\(?:displaystyle|textstyle)\s(.*)\}", stripped, re.DOTALL):
        return match[1].strip()
    return stripped


def _sections(content: Tag, images: int) -> Iterator[Section]:
    """The sections in document order."""
    heading, level, path = "", 0, list[tuple[int, str]]()
    parts: list[str] = []
    for item in _walk(content):
        if isinstance(item, str):
            parts.append(item)
            continue
        yield _section(heading, level, path, parts, images if level == 0 else 0)
        level, heading = item
        path = [(above, text) for above, text in path if above < level]
        path.append((level, heading))
        parts = []
    yield _section(heading, level, path, parts, images if level == 0 else 0)


def _section(
    heading: str, level: int, path: list[tuple[int, str]], parts: list[str], images: int
) -> Section:
    try:
        text = render_html("".join(parts)).text
    except HtmlLimitError as error:
        raise HtmlLimitError(error.reason, f"section {heading!r}: {error.detail}") from error
    lines = [line for line in text.split("\n") if not _BYLINE.match(line) or len(line) > 600]
    parents = tuple(text for _, text in path[:-1])
    return Section(heading, level, parents, "\n".join(lines).strip(), images)


def _walk(element: Tag) -> Iterator[str | tuple[int, str]]:
    """HTML of the content in order, and (level, heading) where a section begins."""
    for child in element.children:
        if (found := _heading(child)) is not None:
            if found[1]:
                yield found
        elif _holds_headings(child):
            yield from _walk(child)
        else:
            yield _html(child)


def _heading(item: PageElement) -> tuple[int, str] | None:
    from bs4.element import Tag

    if not isinstance(item, Tag):
        return None
    if item.name == "div" and "mw-heading" in item.get_attribute_list("class"):
        inner = item.find(_HEADINGS)
        return _heading(inner) if inner is not None else None
    if item.name not in _HEADINGS:
        return None
    headline = item.select_one(".mw-headline")
    text = " ".join((headline or item).get_text().split())
    return int(item.name[1]), text


def _holds_headings(item: PageElement) -> TypeGuard[Tag]:
    from bs4.element import Tag

    # a heading inside a table is part of its layout
    return isinstance(item, Tag) and item.name != "table" and item.find(_HEADINGS) is not None


def _html(item: PageElement) -> str:
    from bs4.element import NavigableString, PreformattedString, Tag

    if isinstance(item, Tag):
        return str(item)
    if isinstance(item, PreformattedString):
        return ""  # comments, declarations
    if isinstance(item, NavigableString):
        return item.output_ready()
    return ""
