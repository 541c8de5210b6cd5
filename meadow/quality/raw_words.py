"""Raw files read a second time, and texts as words: the eyes of `check --against-raw`.

Nothing here is shared with the readers, the renderer and the converters, whose faults it is there
to find: tables are read by pandas, JSON by jiter, XML by expat, Parquet by polars, decks by SQLite,
and HTML is walked as a stream of tags without a tree. What they give is compared as tokens: a word,
a number with its sign, a symbol, each with the marks of being raised (`^`) or lowered (`_`).
"""

from __future__ import annotations

import bz2
import gzip
import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from html.parser import HTMLParser
from io import BufferedReader, StringIO
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

from lxml.html.defs import tags

from meadow.readers.archives import is_archive, members, open_7z_member
from meadow.source import NoSecondReader, RawTexts
from meadow.sources.own.source import json_value

CHUNK_ROWS = 20_000
_ZSTD = b"\x28\xb5\x2f\xfd"
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,8})|(\d{1,9}));")


def read_items(path: Path, label: str, told: RawTexts) -> Iterator[tuple[str, Any]]:
    """The items of a raw file, by its content: (name of the document, item).

    Args:
        path: The file.
        label: Its name in the manifest, with the folders that tell parts of a source apart.
        told: What the source says of its raw texts.

    An item is a row of a table or of Parquet, a JSON value (each of an array or of lines), or an
    XML element: its attributes where it holds nothing else.

    Raises:
        ValueError: The content is damaged; the message says how.
        NoSecondReader: None is there for it.
    """
    with ExitStack() as stack:
        with path.open("rb") as file:
            head = file.read(6)
        if head.startswith(b"7z"):
            wanted = open_7z_member(path, lambda name: name.endswith(told.member))
            documents: Iterable[tuple[str, Any]] = [(told.member, stack.enter_context(wanted))]
        elif is_archive(path):
            documents = members(path, suffix=told.member)
        else:
            opener: Any = _PACKED.get(head[:2], open)
            documents = [(label, stack.enter_context(opener(path, "rb")))]
        for name, document in documents:
            yield from ((name, item) for item in _items(document, name, path, told))


def _items(file: Any, name: str, path: Path, told: RawTexts) -> Iterator[Any]:
    file = file if hasattr(file, "peek") else BufferedReader(file)
    peeked = file.peek(4096)
    start = peeked.lstrip(b"\xef\xbb\xbf \t\r\n")
    if peeked.startswith(b"PAR1"):
        import polars as pl

        yield from pl.read_parquet(path).iter_rows(named=True)
    elif peeked.startswith((b"SQLite format 3", _ZSTD)):
        yield from _notes(file.read())
    elif start.startswith(b"<") and b"<html" not in start.lower():
        yield from _elements(file, told.element)
    elif start.startswith((b"{", b"[")):
        yield from _json(file.read())
    elif name.endswith(".csv"):
        yield from _table(file, told)
    elif name.endswith(".txt"):
        yield from _export(file.read())
    elif not is_archive(path):
        raise NoSecondReader(f"{name}: no second reader of this form")


def _export(data: bytes) -> Iterator[dict[str, Any]]:
    """The notes of a text export of Anki: lines of settings, then a table."""
    import pandas as pd

    lines = data.decode("utf-8-sig").splitlines(keepends=True)
    head = list(takewhile(lambda line: line.startswith("#"), lines))
    given = dict(line[1:].strip().casefold().partition(":")[::2] for line in head)
    mark = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|", "colon": ":"}
    separator = mark.get(given.get("separator", "tab"), given.get("separator", "\t"))
    rows = lines[len(head) :]
    table = pd.read_csv(
        StringIO("".join(rows)),
        sep=separator,
        names=range(1 + max((line.count(separator) for line in rows), default=0)),
        dtype=str,
        keep_default_na=False,
    )
    number = int(given.get("guid column", 0))
    for row in table.itertuples(index=False):
        fields = [field for place, field in enumerate(row, 1) if place != number and field == field]
        yield {"guid": row[number - 1] if number else None, "fields": fields}


def _notes(data: bytes) -> Iterator[dict[str, Any]]:
    """The notes of an Anki collection; other databases and packed media have none."""
    if data.startswith(_ZSTD):
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if not data.startswith(b"SQLite format 3"):
        return
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(data[:18] + b"\1\1" + data[20:])  # no write-ahead log is beside it
        for guid, fields in database.execute("select guid, flds from notes"):
            yield {"guid": guid, "fields": fields.split("\x1f")}


def _table(file: Any, told: RawTexts) -> Iterator[dict[Any, Any]]:
    import pandas as pd

    chunks = pd.read_csv(
        file,
        dtype=str,
        keep_default_na=False,
        na_filter=False,
        names=list(told.columns) or None,
        header=None if told.columns else 0,
        sep=told.delimiter,
        encoding=told.encoding,
        chunksize=CHUNK_ROWS,
    )
    for chunk in chunks:
        yield from chunk.to_dict("records")


def _json(data: bytes) -> Iterator[Any]:
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        value = json_value(data)
        yield from value if isinstance(value, list) else [value]
    except ValueError:
        for line in data.splitlines():
            try:
                yield json_value(line)
            except ValueError:
                continue  # a row that stands on it could not be traced, and would say so


def _elements(file: Any, wanted: str) -> Iterator[Any]:
    """The elements of that name; "" for the whole document.

    Where a line is not well-formed the reading goes on behind it: rows may come of what follows,
    and one that came of the line itself cannot be traced and says so.
    """
    from xml.etree import ElementTree

    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    root: Any = None
    held = b""
    for block in chain(iter(partial(file.readline, 1 << 20), b""), [b""]):
        whole, mark, held = (held + block).rpartition(b">") if block else (held, b"", b"")
        # what an unfinished line broke may begin with this one
        for text in (whole + mark, block[: block.rfind(b">") + 1].lstrip()):
            try:
                parser.feed(_REFERENCE.sub(_written, text))
                if not block:
                    parser.close()
                for event, element in parser.read_events():
                    root = element if root is None else root
                    if event == "end" and wanted and element.tag.rpartition("}")[2] == wanted:
                        yield element if len(element) else dict(element.attrib)
                        root.clear()
                break
            except ElementTree.ParseError as error:
                if not wanted:
                    raise ValueError(f"not well-formed: {error}") from error
                parser, root = ElementTree.XMLPullParser(("start", "end")), None
                parser.feed(b"<behind>")
    if not wanted:
        yield root


def _written(match: re.Match[bytes]) -> bytes:
    """A character reference, unless no document may hold its character."""
    number = int(match[1], 16) if match[1] else int(match[2])
    allowed = number in (9, 10, 13) or 0x20 <= number < 0xD800 or 0xE000 <= number < 0x110000
    return match[0] if allowed and number not in (0xFFFE, 0xFFFF) else b""


_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote br caption center dd details div dl dt figure figcaption "
        "footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody "
        "tfoot thead tr ul",
    )
)
_APART = frozenset({"code", "kbd", "samp", "tt", "td", "th"})
"""What begins a new word in a line: it is marked off by backticks or bars."""
_UNSEEN = frozenset({"head", "script", "style", "template", "title", "noscript", "iframe"})
_SPACES = re.compile(r"\s+")
_AS_IT_IS = re.compile(
    r"st|nd|rd|th|tm|sm|[™®©°º′″'’]|\[[^][]*\]|[⁰¹²³⁴-ⁿ₀-₎]+|\ue002[^\ue002]*\ue002", re.IGNORECASE
)
"""Raised text that is no exponent: ordinals, signs, marks of citations, links."""


class _Words(HTMLParser):
    """HTML as text in the order of its source: raised and lowered parts marked, lists numbered."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.lists: list[list[Any]] = []
        self.marks: list[tuple[str, int]] = []
        self.unseen = 0
        self.verbatim = 0
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a block, a list, an item, or a mark."""
        if tag not in tags:  # only what HTML knows is markup: "TSH <lower limit"
            self.handle_data(self.get_starttag_text() or "")
            return
        given = dict(attrs)
        self.verbatim += tag == "pre"
        if tag == "a":
            self.links.append("\ue002" if (given.get("href") or "#")[0] != "#" else "")
            self.parts.append(self.links[-1])
        if tag in _UNSEEN:
            self.unseen += 1
        elif tag in ("sup", "sub"):
            self.marks.append((tag, len(self.parts)))
        elif tag in ("ol", "ul"):
            start = given.get("start") or ""
            first = int(start) if start.lstrip("-").isdecimal() else 1
            self.lists.append([tag == "ol", first, given.get("type") or "1", "reversed" in given])
        self.parts.append("\n" if tag in _BLOCKS else " " if tag in _APART else "")
        if tag == "li" and self.lists and self.lists[-1][0]:
            _, number, kind, _ = self.lists[-1]
            value = given.get("value") or ""
            number = int(value) if value.isdecimal() else number
            self.lists[-1][1] = number + 1
            letter = chr((97 if kind == "a" else 65) + (number - 1) % 26)
            self.parts.append(f"{letter if kind in ('a', 'A') else number}. ")

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened."""
        self.verbatim = max(0, self.verbatim - (tag == "pre"))
        if tag == "a" and self.links:
            self.parts.append(self.links.pop())
        if tag in _UNSEEN:
            self.unseen = max(0, self.unseen - 1)
        elif tag in ("sup", "sub") and self.marks:
            mark, start = self.marks.pop()
            inner = "".join(self.parts[start:])
            if inner.strip() and not _AS_IT_IS.fullmatch(inner.strip()):
                del self.parts[start:]
                self.parts.append(f"\ue000{'^' if mark == 'sup' else '_'}({inner.strip()})\ue001")
        elif tag in ("ol", "ul") and self.lists:
            self.lists.pop()
        self.parts.append("\n" if tag in _BLOCKS else " " if tag in _APART else "")

    def handle_data(self, data: str) -> None:
        """Keep what is seen."""
        if not self.unseen:
            self.parts.append(data if self.verbatim else _SPACES.sub(" ", data))


def html_words(html: str) -> str:
    """The text of HTML as far as words matter."""
    walker = _Words()
    walker.feed(html)
    walker.close()
    text, before = "".join(walker.parts), ""
    while before != text:
        before, text = text, _SHIFTED.sub(_unless_small_print, text)
    return text.replace("\ue002", " ")


_SHIFTED = re.compile(r"\ue000([\^_]\(([^\ue000\ue001]*)\))\ue001")


def _unless_small_print(found: re.Match[str]) -> str:
    """What is raised or lowered, but without its mark where words stand so beside nothing."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    alone = before.rstrip(" ")[-1:] in ("", "\n") and after.lstrip(" ")[:1] in ("", "\n")
    remark = re.match(r"""["'(\[]*[^\W\d_].* """, found[2], re.DOTALL) and (
        before[-1:].strip() == after[:1].strip() == ""
    )
    return found[2] if re.search(r"[^\W\d_]{2}", found[2]) and (alone or remark) else found[1]


_TARGET = re.compile(r"\]\( ?(?:https?|ftp)://[^()\s]*(?:\([^()\s]*\)[^()\s]*)* ?\)")
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
_RAISED = re.compile("[⁰¹²³⁴-ⁿⁱ]+")
_LOWERED = re.compile("[₀-₎]+")
_LINE_START = re.compile(r"^[ \t]*(?:(?:>|[-*+|•]|#{1,6})(?:[ \t]+|$)|>)+", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<=\w)(?:\*{1,3}|~~)(?=\w)")
_SCHEME = re.compile(r"\b(?:https?|ftp)://|/(?!\w)|(?<!\w)/|(?<=\w{5})/(?!\d)|(?<!\d)/(?=\w{5})")
"""What browsers leave out of an address; the stroke of mg/kg and 1/2 counts."""
_TOKEN = re.compile(
    r"(?P<mark>[\^_]\()|(?P<open>\()|(?P<close>\))|(?P<next>\^(?=[-+\w]))"
    r"|(?P<number>(?:(?<![\w)\]}.])[-+])?\d+(?:[.,]\d+)*)|(?P<word>[^\W\d_]+)|(?P<sign>[^\w\s])"
)
_PUNCTUATION = frozenset("*_#|~`[]{}\"'“”‘’‚„.,;:!?\\&@…^-·•")
"""What marks a text up or off and is told in many ways; every other symbol counts."""


def tokens(text: str, *, marked: bool = False) -> list[str]:
    """The words, numbers and symbols of a text in order, `^` or `_` before what is raised, lowered.

    Args:
        text: A row's text, or a raw text as `html_words` gives it.
        marked: Whether it comes of HTML: then Markdown's signs are none of its words.
    """
    text = unicodedata.normalize("NFC", text.translate(_DASHES))
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cf", "Cc"))
    if marked:
        text = _EMPHASIS.sub("", _LINE_START.sub("", _TARGET.sub("]", text)))
    text = _RAISED.sub(lambda run: f"^({_plain(run[0])})", text)
    text = _LOWERED.sub(lambda run: f"_({_plain(run[0])})", text)
    text = _SCHEME.sub(" ", text)
    found: list[str] = []
    stack: list[str] = []
    once = ""
    for match in _TOKEN.finditer(text):
        kind, value = str(match.lastgroup), match[0]
        if kind in ("mark", "open"):
            stack.append(value[0] if kind == "mark" else "")
        elif kind == "close":
            if stack:
                stack.pop()
        elif kind == "next":
            once = "^"
        elif kind != "sign" or value not in _PUNCTUATION or (value == "-" and any(stack)):
            found.append("".join(stack) + once + value)
            once = ""
    return found


def _plain(run: str) -> str:
    return unicodedata.normalize("NFKC", run).translate(_DASHES)


UNREAD = "\ufffc"
"""What stands for a template or a formula, whose words this reader does not know."""
_SPELLED = re.compile("qz[a-j]+qz")
_SPELLING = str.maketrans("0123456789", "abcdefghij")


def _unread(match: re.Match[str]) -> str:
    """The sign for a template and its numbers in letters: what a row shows there has no other."""
    numbers = [f"qz{number.translate(_SPELLING)}qz" for number in re.findall(r"\d+", match[0])]
    return " ".join((UNREAD, *numbers, *_SPELLED.findall(match[0])))


def told_apart(words: Iterable[str]) -> tuple[list[str], set[str]]:
    """The words that a text has, and the numbers of the templates among them."""
    spelled = [found[0] for word in words if (found := _SPELLED.search(word))]
    letters = {letter: number for number, letter in enumerate("abcdefghij")}
    numbers = {"".join(str(letters[letter]) for letter in word[2:-2]) for word in spelled}
    return [word for word in words if not _SPELLED.search(word)], numbers


_WIKI: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(?is)<!--.*?(?:-->|\Z)|<(ref|gallery|timeline)\b(?:[^<>]*/>|.*?</\1\s*>)", ""),
    (r"(?is)<includeonly>.*?</includeonly>|</?(?:nowiki|onlyinclude|noinclude|poem)\b[^<>]*>", ""),
    (r"(?is)<(math|chem|score|graph)\b.*?</\1\s*>", _unread),
    (r"\{\{(?:[^{}]|\{(?!\{)|\}(?!\}))*\}\}", _unread),
    (r"(?is)\{\|[^\n]*\binfobox\b.*?\n\|\}", UNREAD),
    (r"\[(?:https?:|ftp:)?//[^][\s]+ ?([^][]*)\]", r" \1 "),
    (r"(?i)\[\[ *:?(?:file|image|category|media|[a-z]{2,3}) *:[^][]*\]\]|__[A-Z]+__", ""),
    (r"\[\[(?! *(?:[Ff]ile|[Ii]mage) *:)(?:[^][|]*\|)*([^][|]*)\]\]", r"\1"),
)
"""Innermost first, again until nothing is left."""
_WIKI_LINES = (
    (r"'{2,}", ""),
    (r"(?m)^[ \t:]*\{\|.*|^[ \t]*\|[-}].*", ""),
    (r"(?m)^[ \t]*(?:\|\+|[|!])(?:[^][|\n]*=[^][|\n]*\|(?!\|))?", " "),
    (r"(?:\|\||!!)(?:[^][|\n]*=[^][|\n]*\|(?!\|))?", " "),
)
_HEADING = re.compile(r"^(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$", re.MULTILINE)


def wiki_sections(text: str) -> Iterator[tuple[str, str]]:
    """The sections of a page in wikitext as (heading, HTML); the lead has no heading."""
    before = ""
    while before != text:
        before = text
        for pattern, replacement in _WIKI:
            text = re.sub(pattern, replacement, text)
    first, *rest = _HEADING.split(text)
    yield "", _wiki_html(first)
    for heading, body in zip(rest[1::3], rest[2::3], strict=True):
        yield re.sub(r"'{2,}|<[^<>]*>", "", heading).strip(), _wiki_html(body)


def _wiki_html(text: str) -> str:
    for pattern, replacement in _WIKI_LINES:
        text = re.sub(pattern, replacement, text)
    lines, numbers = [], [0] * 20
    for line in text.split("\n"):
        marks = re.match(r"[*#:;]{0,20}", line)
        depth = marks.end() if marks else 0
        numbers[depth:] = [0] * (20 - depth)
        if depth and line[depth - 1] == "#":
            numbers[depth - 1] += 1
            line = f"{numbers[depth - 1]}. {line[depth:]}"
        lines.append(line if line.startswith(" ") else line[depth:] if line[:1] in "*:;" else line)
    return "<br>".join(lines)
