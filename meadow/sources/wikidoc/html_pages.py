"""A MediaWiki page as HTML, split into sections: from 1.16 to today's skins, saved or from the API.

Old pages have flat `h2 > span.mw-headline`, newer ones `div.mw-heading`, Parsoid and the mobile
skin wrap each section in a `section`. What is no text of the article goes before the split, and is
counted: navigation, edit links, tables of contents, reference marks, hatnotes, captions, WikiDoc's
bylines and what a browser does not show. The wikitext of an export becomes HTML first
(`wikitext`) and takes the same way. beautifulsoup4 with lxml parses; size and depth are capped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape, unescape
from typing import TYPE_CHECKING, TypeGuard

from meadow.schema import Reason
from meadow.text.render import HtmlLimitError, check_limits, normalise, render_html
from meadow.text.scripts import MathError, formula

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import PageElement, Tag

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 200
"""libxml2 stops at 256 without a word; real pages stay below 60."""

# Talk pages have odd numbers; these even ones hold no articles. A wiki's own namespaces may.
_NOT_CONTENT = frozenset({2, 4, 6, 8, 10, 12, 14, 828})

_TAGS = "script style noscript link meta template form input button audio video iframe figure map"
_REMOVED_TAGS = frozenset([*_TAGS.split(), "figcaption"])
_REMOVED = (
    # edit links, tables of contents, navigation
    "mw-editsection editsection toc mw-toc mw-toc-heading toctitle siteSub contentSub jump-to-nav "
    "mw-jump-link mw-indicators printfooter catlinks mw-normal-catlinks noprint "
    "navigation-not-searchable navbox vertical-navbox navbox-styles sidebar portal portalbox "
    "sistersitebox succession-box mw-pt-languages mw-authority-control navbar mw-empty-elt "
    # notes on the article
    "hatnote dablink rellink mainarticle shortdescription metadata ambox messagebox mbox-small "
    "stub coordinates Inline-Template "
    # reference marks and lists of references
    "mw-ref references reflist mw-references-wrap refbegin mw-cite-backlink mw-ext-cite-error "
    # pictures and boxes
    "infobox infobox_v2 toccolours thumb thumbcaption gallery image mw-file-description tmulti "
    "mw-kartographer-map Z3988"
)
_REMOVED_NAMES = frozenset(_REMOVED.split())
"""Classes and ids of what is no text of an article."""
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
        unread: Names of the templates and tags that left a hole in a sentence, a list or a cell.
    """

    heading: str
    level: int
    parents: tuple[str, ...]
    text: str
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its sections, the lead first (always there, its text may be empty).

    `facts` counts what was left out of it: (group, value) -> how often.
    """

    title: str
    sections: tuple[Section, ...]
    url: str = ""
    revision: str = ""
    facts: Counter[tuple[str, str]] = field(default_factory=Counter)


class NotAnArticleError(ValueError):
    """The document is no article of a MediaWiki; `reason` is for a reject."""

    def __init__(self, detail: str, reason: Reason = Reason.NOT_AN_ARTICLE) -> None:
        super().__init__(detail)
        self.reason = reason


_INDEX_TITLE = re.compile(
    r".*\((?:disambiguation|set index)\)|(?:lists?|index|outline) of .+", re.IGNORECASE
)
_INDEX_BOX = "#disambigbox, #disambig, .disambigbox, .dmbox-disambig"


def refuse_index(title: str, marked: bool) -> None:
    """Refuse a page that leads to others, as one that tells pages of one name apart.

    Args:
        title: The page's.
        marked: Whether the page itself says that it is one.

    Raises:
        NotAnArticleError: It is one.
    """
    if marked or _INDEX_TITLE.fullmatch(title):
        raise NotAnArticleError("a list of pages, no article")


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
    soup = _parse(html)
    content = _content(soup)
    if (redirect := content.select_one(".redirectMsg, .redirectText")) is not None:
        target = " ".join(redirect.get_text(" ").split())
        raise NotAnArticleError(f"a redirect: {target}", Reason.NOT_A_TARGET)
    namespace = _namespace(soup, html)
    if not holds_articles(namespace):
        raise NotAnArticleError(f"namespace {namespace} holds no articles")
    found_title = _title(soup) or title
    if not found_title:
        raise NotAnArticleError("the page has no title")
    refuse_index(found_title, content.select_one(_INDEX_BOX) is not None)
    canonical = soup.select_one('link[rel="canonical"]')
    revision = re.search(r'"wgRevisionId"\s*:\s*(\d+)', html)
    sections, facts = _split(soup, content)
    return Page(
        title=found_title,
        sections=sections,
        url=str(canonical.get("href") or url) if canonical is not None else url,
        revision=revision[1] if revision else "",
        facts=facts,
    )


def split_html(html: str) -> tuple[tuple[Section, ...], Counter[tuple[str, str]]]:
    """The sections of an article's bare HTML, and what was left out of them.

    Args:
        html: Where a template or tag was not understood, `mark_unread` of its name stands.

    Raises:
        HtmlLimitError: Too large or too deep.
    """
    soup = _parse(html)
    content = soup.body
    return _split(soup, content) if content is not None else ((Section("", 0, (), ""),), Counter())


_HOLE = re.compile("\ue000([^\ue000\ue001]*)\ue001")
_PRIVATE = re.compile("[\ue000-\ue005]")
"""Characters that stand for what is set aside while a page is read; no page may hold them."""


def mark_unread(name: str) -> str:
    """What stands in HTML for a template or tag that was not understood."""
    return f"\ue000{_PRIVATE.sub('', name)[:80]}\ue001"


def _parse(html: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    check_limits(html, max_characters=MAX_CHARACTERS, max_depth=MAX_DEPTH)
    return BeautifulSoup(html, "lxml")


def _split(
    soup: BeautifulSoup, content: Tag
) -> tuple[tuple[Section, ...], Counter[tuple[str, str]]]:
    facts = _clean(soup, content)
    sections = tuple(_sections(content, facts))
    for section in sections:
        facts.update(("templates_unread", name) for name in section.unread)
    return sections, facts


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


def _clean(soup: BeautifulSoup, content: Tag) -> Counter[tuple[str, str]]:
    """Take out what is no text of the article, and count it."""
    from bs4 import BeautifulSoup

    facts: Counter[tuple[str, str]] = Counter()

    def drop(element: Tag, why: str) -> None:
        if not element.decomposed and element.get_text(strip=True):
            facts["elements_dropped", why] += 1
        element.decompose()

    for element in content.find_all(True):
        if element.decomposed:
            continue
        facts["images_dropped", "page"] += element.name == "img"
        classes = element.get_attribute_list("class") if element.has_attr("class") else []
        style = "".join(str(element.get("style") or "").lower().split())
        fresh = ""
        if element.name == "math" or "mwe-math-element" in classes or "tex" in classes:
            fresh = _formula(element)
        elif why := _why_removed(element, classes, style):
            facts["images_dropped", "page"] += len(element.find_all("img"))
            drop(element, why)
        elif element.name == "a" and str(element.get("title")).startswith("Template:"):
            # a template that the wiki does not have
            fresh = escape(mark_unread(element.get_text().partition(":")[2]), quote=False)
        elif not _FRACTION.isdisjoint(classes):
            fresh = _fraction(element)
        elif "template-chem2-su" in classes or "inline-block" in style:
            fresh = _column(element)
        if fresh:
            # a parser for each formula would cost more than all the rest of the page
            tree = BeautifulSoup(fresh, "html.parser") if "<" in fresh else unescape(fresh)
            element.replace_with(tree)
            element.decompose()
    for item in content.find_all("li"):
        inside = item.find_parent(["ul", "ol"])
        if inside is not None and inside.name == "ul" and not item.get_text(strip=True):
            item.decompose()
    for table in content.find_all("table"):
        if not table.decomposed and _NAVIGATION_TABLE.search(table.get_text(" ")[:2000]):
            drop(table, "navigation table")
    for block in content.find_all(["p", "dd", "div", "center"]):
        if not block.decomposed and is_byline(block.get_text(" ")):
            drop(block, "byline")
    for table in reversed(content.find_all("table")):  # the innermost first
        _lay_out_table(table)
    for element in content.find_all(_UNWRAPPED):
        if "mw-headline" not in element.get_attribute_list("class"):
            element.unwrap()
    return facts


def _why_removed(element: Tag, classes: Iterable[str], style: str) -> str:
    """By what an element is known that is no text of the article, or not shown; "" for others."""
    if element.name in _REMOVED_TAGS:
        return element.name
    if element.get("role") == "note":
        return "note"
    if element.name == "sup" and "reference" in classes:
        return "reference mark"
    for name in (*classes, str(element.get("id") or "")):
        if name in _REMOVED_NAMES:
            return name
    return "not shown" if element.has_attr("hidden") or _NOT_SHOWN.search(style) else ""


_NOT_SHOWN = re.compile(
    r"(?<![\w-])(?:display:none|visibility:hidden|color:transparent"
    r"|(?:opacity|font-size):0(?:\.0+)?(?:px|em|%)?(?![\d.]))"
)


def is_byline(text: str) -> bool:
    """Whether a paragraph names a page's editors or only leads to other pages."""
    return len(text) <= 600 and _BYLINE.match(text) is not None


def _formula(element: Tag) -> str:
    """A formula once, as TeX or in one line: its picture and its MathML say the same thing."""
    import turbohtml

    math = element if element.name == "math" else element.find("math")
    picture = element if element.name == "img" else element.find("img")
    tex = escape(str(picture.get("alt") or "")) if picture is not None else ""
    html = str(math) if math is not None else f'<math alttext="{tex}"></math>'
    found = turbohtml.parse_fragment(html).find("math")
    try:
        text = (formula(found) if found is not None else "") or mark_unread("math (tag)")
    except MathError as error:
        text = mark_unread(f"math (tag): {error}")
    return escape(text, quote=False)


_FRACTION = frozenset({"frac", "sfrac", "fraction"})


def _fraction(element: Tag) -> str:
    """A fraction as 1/2 or 2 1/2, apart from a number before it; "" where it is none."""
    above = element.select_one(".num, .numerator, sup")
    below = element.select_one(".den, .denominator, sub")
    if above is None or below is None:
        return ""
    parts = [part.extract().decode_contents().strip() for part in (above, below)]
    written = "/".join(part if re.fullmatch(r"[\w.,]+", part) else f"({part})" for part in parts)
    whole = "".join(re.findall(r"[\d.,\u2212-]", element.get_text()))
    before = str(element.previous_sibling or "")[-1:]
    return f"{whole} {written}" if whole else f"{' ' * before.isalnum()}{written}"


def _column(element: Tag) -> str:
    """A lowered text with a raised one above it, as in an ion; "" where it is none."""
    parts = [part for part in element.children if getattr(part, "name", "") != "br"]
    texts = [part.get_text().strip() for part in parts]
    if len(texts) == 2 and all(re.fullmatch(r"[\w.+\u2212-]{1,8}", text) for text in texts):
        return f"<sub>{texts[1]}</sub><sup>{texts[0]}</sup>"
    return ""


def _lay_out_table(table: Tag) -> None:
    """What the renderer cannot know of a table: which are data, and which only lay out the page.

    Tables and headings inside data become lines of its cells, since the cells belong together; a
    single row of lists is no data.
    """
    own = [cell for cell in table.find_all(["td", "th"]) if cell.find_parent("table") is table]
    if not any(cell.name == "th" for cell in own):
        if len({id(cell.parent) for cell in own}) < 2 and table.find(["ul", "ol", "dl", "p"]):
            table["role"] = "presentation"
        return
    for inner in table.find_all(["table", *_HEADINGS]):
        for cell in inner.find_all(["td", "th"])[:-1]:
            cell.append("; ")
        for part in [*inner.find_all(["caption", "thead", "tbody", "tr", "td", "th"]), inner]:
            part.insert_before(" ")
            part.unwrap()


def _sections(content: Tag, facts: Counter[tuple[str, str]]) -> Iterator[Section]:
    """The sections in document order."""
    heading, level, path = "", 0, list[tuple[int, str]]()
    parts: list[str] = []
    for item in [*_walk(content), None]:
        if isinstance(item, str):
            parts.append(item)
            continue
        parents = tuple(text for _, text in path[:-1])
        yield _section(heading, level, parents, "".join(parts), facts)
        if item is not None:
            level, heading = item
            path = [(above, text) for above, text in path if above < level]
            path.append((level, _HOLE.sub("", heading)))
            parts = []


def _section(
    heading: str, level: int, parents: tuple[str, ...], html: str, facts: Counter[tuple[str, str]]
) -> Section:
    try:
        text = render_html(html).text
    except HtmlLimitError as error:
        raise HtmlLimitError(error.reason, f"section {heading!r}: {error.detail}") from error
    lines = []
    for line in text.split("\n"):
        if is_byline(line):
            facts["elements_dropped", "byline"] += 1
        else:
            lines.append(line)
    text = "\n".join(lines)
    unread = tuple(dict.fromkeys(_HOLE.findall(heading + text)))
    if _PRIVATE.search(text):
        text = normalise(_PRIVATE.sub("", _HOLE.sub("", text)))
    heading = " ".join(_PRIVATE.sub("", _HOLE.sub("", heading)).split())
    return Section(heading, level, parents, text.strip(), unread)


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
