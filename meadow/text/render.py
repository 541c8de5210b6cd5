"""Text in, text out: HTML to readable Markdown-like text, and one normal form for plain text.

Everything here is pure. HTML is parsed by turbohtml, whose tree and texts agree with
beautifulsoup4 on every real body of the test files (tests/meadow/test_text.py holds it to that) at
a fraction of the time; size and depth are capped before the parser sees a byte, since no parser is
linear on every input.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from meadow.schema import Reason

if TYPE_CHECKING:
    from turbohtml import Element

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 500


class HtmlLimitError(ValueError):
    """A document is larger or deeper than what is parsed; `reason` says which, for a reject."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Rendered:
    """HTML as text.

    Args:
        text: Markdown-like text in normal form.
        images: Images dropped.
    """

    text: str
    images: int


def html_to_text(html: str, *, base_url: str = "") -> str:
    """The text of `render_html`.

    Args:
        html: A fragment or a document.
        base_url: What relative links are relative to; without it only their text is kept.

    Raises:
        HtmlLimitError: Over 1,000,000 characters or 500 nested elements.
    """
    return render_html(html, base_url=base_url).text


def render_html(html: str, *, base_url: str = "") -> Rendered:
    """Markdown-like text: code, lists, quotes, tables, MathJax and links stay, images go.

    Literal text is not escaped: readers and models see `a_b` and `$x^2$` as the author wrote them.
    Short superscripts and subscripts become Unicode ones where these exist (10³, H₂O).

    Raises:
        HtmlLimitError: Over 1,000,000 characters or 500 nested elements.
    """
    if "<" not in html and "&" not in html:
        return Rendered(normalise(html), 0)
    check_limits(html)
    import turbohtml

    fragment = turbohtml.parse_fragment(html, positions=False)
    images = len(fragment.find_all("img")) if "<img" in html.lower() else 0
    text = fragment.to_markdown(_markdown(base_url))
    text = normalise(_EMPTY_QUOTE.sub("", text) if images else text)
    return Rendered(quote_literal_markup(text), images)


# A quotation that held nothing but an image.
_EMPTY_QUOTE = re.compile(r"(?m)(?<=\n\n)(?:>[ ]*\n)+(?=\n|\Z)|^>[ ]*\Z")

_VOID = frozenset(
    [
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param"),
        *("source", "track", "wbr"),
        # An open one of these is closed by the next: they nest only inside the others.
        *("p", "li", "dd", "dt", "option", "optgroup", "tr", "td", "th", "tbody", "thead"),
        *("tfoot", "colgroup", "rp", "rt"),
    ]
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")


def check_limits(
    html: str, *, max_characters: int = MAX_CHARACTERS, max_depth: int = MAX_DEPTH
) -> None:
    """Refuse a document that is too large or too deep to be parsed in reasonable time.

    Raises:
        HtmlLimitError: Over `max_characters` or `max_depth` nested elements.
    """
    if len(html) > max_characters:
        raise HtmlLimitError(
            Reason.TOO_LARGE, f"{len(html):,} characters of HTML; at most {max_characters:,}"
        )
    if html.count("<") <= max_depth:
        return
    open_tags: Counter[str] = Counter()
    depth = 0
    for closing, name in _TAG.findall(html):
        tag = name.lower()
        if tag in _VOID:
            continue
        if not closing:
            open_tags[tag] += 1
            depth += 1
            if depth > max_depth:
                raise HtmlLimitError(Reason.TOO_DEEP, f"over {max_depth} nested elements")
        elif open_tags[tag]:
            # A stray end tag closes nothing, so it must not hide the depth of the others.
            open_tags[tag] -= 1
            depth -= 1


_LITERAL = (
    r"</?[A-Za-z][\w:-]*(?:\s[^<>`\n]{0,500})?/?>"
    r"|&(?:[A-Za-z]{2,8}|#\d{1,7}|#x[0-9A-Fa-f]{1,6});"
)
_LITERAL_MARKUP = re.compile(_LITERAL)
_PROSE_PART = re.compile(
    rf"(?P<code>(?<!`)(?P<ticks>`+)(?!`)(?:(?:{_LITERAL})++|.{{1,2000}}?)(?<!`)(?P=ticks)(?!`))"
    rf"|(?P<math>\$\$.{{1,2000}}?\$\$|\$[^$\n]{{1,1000}}\$)"
    rf"|(?P<literal>(?:{_LITERAL})+)",
    re.DOTALL,
)
_FENCE = re.compile(r"(?:[> ]|[-*+] |\d+[.)] )*(`{3,})")


def quote_literal_markup(text: str) -> str:
    """Markdown whose literal tags and entities outside code (`<br>`, `&nbsp;`) stand in backticks.

    They are what an author wrote about; in Markdown they would turn into markup. Inside MathJax an
    angle is a relation: there it gets spaces instead. Idempotent.
    """
    if not ("<" in text or "&" in text) or not _LITERAL_MARKUP.search(text):
        return text
    out: list[str] = []
    prose: list[str] = []
    fence = ""
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            out.append(line)
            if match and match.group(1) == fence:
                fence = ""
        elif match and "`" not in line[match.end() :]:
            out.extend(_quote_in_prose(prose))
            prose = []
            fence = match.group(1)
            out.append(line)
        else:
            prose.append(line)
    out.extend(_quote_in_prose(prose))
    return "\n".join(out)


def _quote_in_prose(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    ticks = _free_ticks(text) if "`" in text else "`"

    def quote(match: re.Match[str]) -> str:
        found = match.group(0)
        if match.group("literal"):
            before = " " if text.endswith("`", 0, match.start()) else ""
            after = " " if text.startswith("`", match.end()) else ""
            return f"{before}{ticks}{found}{ticks}{after}"
        if match.group("math"):
            return _LITERAL_MARKUP.sub(_space_out, found)
        return found

    return _PROSE_PART.sub(quote, text).split("\n") if lines else []


def _free_ticks(text: str) -> str:
    """Backticks in a number that no run outside code has: an open run would pair with ours."""
    outside = _PROSE_PART.sub(lambda match: " " if match.group("code") else match.group(0), text)
    taken = {len(run) for run in re.findall("`+", outside)}
    return "`" * next(length for length in range(1, len(taken) + 2) if length not in taken)


def _space_out(match: re.Match[str]) -> str:
    found = match.group(0)
    return found.replace("<", "< ").replace(">", " >") if found.startswith("<") else found


@lru_cache(maxsize=64)
def _markdown(base_url: str) -> Any:
    """How turbohtml renders; the converters replace what it would leave as raw tags."""
    from turbohtml import Markdown

    class Prepared(Markdown):
        """Takes its settings apart once, where turbohtml does so for every document."""

        def _unpack(self) -> dict[str, object]:
            return settings

    def link(element: Element, text: str) -> str:
        return _link(str(element.attr("href") or ""), text, base_url)

    markdown = Prepared(
        escaping=Markdown.Escaping(mode="none", asterisks=False, underscores=False),
        images=Markdown.Images(mode="ignore"),
        tables=Markdown.Tables(cell_blocks="text"),
        links=Markdown.Links(autolink=False),
        converters={
            "a": link,
            "sup": _superscript,
            "sub": _subscript,
            "br": _line_break,
            **dict(_wrapped("**", "strong", "b")),
            **dict(_wrapped("*", "em", "i")),
            **dict(_wrapped("~~", "s", "strike", "del")),
        },
    )
    settings = Markdown._unpack(markdown)
    return markdown


_BLOCK = re.compile(r"```|[-*>|#]+[ ]|\d+[.)][ ]|---")


def _wrapped(mark: str, *tags: str) -> tuple[tuple[str, Callable[[Element, str], str]], ...]:
    """Converters that put `mark` around a text, inside the white space at its ends."""
    same = ", ".join(tags)

    def wrap(element: Element, text: str) -> str:
        inner = text.strip()
        # a mark inside the same mark would end it, and none reaches over blocks
        if not inner or element.parent is None or element.parent.closest(same):
            return text
        if "\n\n" in inner or _BLOCK.match(inner):
            return f"\n\n{inner}\n\n"
        start = text.index(inner)
        return f"{text[:start]}{mark}{inner}{mark}{text[start + len(inner) :]}"

    return tuple((tag, wrap) for tag in tags)


def _line_break(_: Element, __: str) -> str:
    return "\n"


def _link(href: str, text: str, base_url: str) -> str:
    label = text.strip()
    href = href.strip()
    if not label or href.startswith("#"):
        return text
    target = href
    if not target.lower().startswith(_SCHEMES):
        try:
            target = urljoin(base_url, href) if base_url else href
        except ValueError:
            return text
        if not target.lower().startswith(_SCHEMES):
            return text
    target = "%20".join(target.split()).replace("<", "%3C").replace(">", "%3E")
    if target.count("(") != target.count(")"):
        target = target.replace("(", "%28").replace(")", "%29")
    if _bare(label) == _bare(target):
        return text.replace(label, target)
    return text.replace(label, f"[{label}]({target})")


_SCHEMES = ("http://", "https://", "ftp://")


def _bare(address: str) -> str:
    """An address without what browsers leave out when they show it."""
    return address.removeprefix("http://").removeprefix("https://").rstrip("/")


_SUPERSCRIPTS = str.maketrans("0123456789+-−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
_SUBSCRIPTS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_ORDINALS = frozenset({"st", "nd", "rd", "th", "tm", "™", "®"})


def _superscript(_: Element, text: str) -> str:
    inner = text.strip()
    if not inner or inner.lower() in _ORDINALS:
        return text
    if all(ord(character) in _SUPERSCRIPTS for character in inner):
        return text.translate(_SUPERSCRIPTS)
    return text.replace(inner, f"^{inner}") if _short(inner) else text


def _subscript(_: Element, text: str) -> str:
    inner = text.strip()
    if not inner:
        return text
    if all(ord(character) in _SUBSCRIPTS for character in inner):
        return text.translate(_SUBSCRIPTS)
    return text.replace(inner, f"_{inner}") if _short(inner) else text


def _short(text: str) -> bool:
    """Whether a raised or lowered text is a mark and not a note in small print."""
    return len(text) <= 12 and text.isalnum()


# What cannot be seen and only breaks matching: zero-width space and joiners of words, byte order
# marks, soft hyphens, direction marks. The joiners U+200C and U+200D stay: scripts and emoji need
# them.
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Any of these at all: one look for texts that hold none.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064"
    "\u2066-\u2069\ufeff]"
)
_TRAILING = re.compile(r"(?<![ \t])[ \t]+\n")
_BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str) -> str:
    """One form for equal texts: NFC, visible characters, plain spaces and line breaks. Idempotent.

    Indentation and runs of spaces inside a line stay: code and tables need them.
    """
    return normalise_whitespace(normalise_characters(text))


def normalise_characters(text: str) -> str:
    """NFC without control and invisible characters; every line break is a line feed."""
    if text.isascii():
        # of ASCII, what is neither printable nor one of these two is a control character
        if text.replace("\n", "").replace("\t", "").isprintable():
            return text
        return _CONTROL.sub("", _BREAK.sub("\n", text))
    if _ODD.search(text):
        text = _INVISIBLE.sub("", _CONTROL.sub("", _BREAK.sub("\n", text)))
    return unicodedata.normalize("NFC", text)


def normalise_whitespace(text: str) -> str:
    """Plain spaces, none at a line's end, at most one blank line, none around the text."""
    if not text.isascii():
        text = _SPACE.sub(" ", text)
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("\n", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip()
