"""Wikitext, the markup of an XML export, as the HTML of an article, which is then read as one.

Tags and comments are set aside first, left to right as MediaWiki does, then templates and links
from the innermost outwards, then lines become blocks. What is set aside is held as a numbered
token, so that nothing inside it is taken for markup again. A template or tag that is not understood
leaves a mark: on a line of its own (a box, a banner) it goes and is counted, in a sentence, a list
or a cell its section is told to be incomplete. Every step is one pass over the text.
"""

from __future__ import annotations

import html as entities
import re
import string
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from os.path import commonprefix

from meadow.schema import Reason
from meadow.sources.wikidoc.html_pages import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    Page,
    is_byline,
    mark_unread,
    refuse_index,
    split_html,
)
from meadow.sources.wikidoc.templates import chemical_formula, expand, is_index_mark, is_mark
from meadow.text.render import HtmlLimitError

# Inside these nothing is wikitext: first those that show nothing, then those that do.
_SILENT = (
    "ref references templatedata templatestyles section indicator includeonly categorytree "
    "inputbox script style"
)
_OPAQUE = (
    "nowiki pre math chem ce source syntaxhighlight gallery timeline imagemap graph mapframe "
    "maplink score hiero video audio youtube"
)
_BLOCK = "blockquote caption center dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p table td th tr ul"
_INLINE = (
    "abbr b bdi bdo big br cite code data del dfn em font i ins kbd mark q rb rp rt rtc ruby s "
    "samp small span strike strong sub sup time tt u var wbr"
)
_SILENT_TAGS, _BLOCK_TAGS = frozenset(_SILENT.split()), frozenset(_BLOCK.split())
_OPAQUE_TAGS = _SILENT_TAGS.union(_OPAQUE.split())
_SHOWN_TAGS = frozenset(["noinclude", "onlyinclude", "poem"])
_KNOWN_TAGS = _BLOCK_TAGS.union(_INLINE.split(), _SHOWN_TAGS)
_TAG = re.compile(r"<!--|<(/?)([A-Za-z][A-Za-z0-9-]*)((?:\s[^<>]*)?/?)>")
_ATTRIBUTE = re.compile(
    r"\b(class|style|colspan|rowspan)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'>]+)", re.IGNORECASE
)
_LOOKS = re.compile(
    r"\b(?:class|style|align|valign|width|height|colspan|rowspan|bgcolor|scope|id|title|lang|dir"
    r"|border|cellpadding|cellspacing|abbr|headers|axis|color|nowrap|data-[\w-]+)\b"
    r"(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'|]*))?",
    re.IGNORECASE,
)
_MARKS = re.compile(r"\{\{|\}\}|\[\[|\]\]")
_PAIRS = {"}}": "{{", "]]": "[["}
# possessive: a regular expression here has to be linear in whatever a page holds
_EXTERNAL = re.compile(
    r"\[(?:(?:https?:|ftp:)?//|mailto:)[^\s\[\]]*+(?:[ \t]([^\[\]\n]*+))?\]", re.IGNORECASE
)
_QUOTES = re.compile(r"'{2,}")
_SWITCH = re.compile(
    r"__(?:NO|FORCE)?(?:TOC|EDITSECTION|GALLERY|INDEX|HIDDENCAT|TITLECONVERT|CONTENTCONVERT"
    r"|NEWSECTIONLINK|NONEWSECTIONLINK|DISAMBIG|STATICREDIRECT|START|END)__"
)
_FILES = frozenset(["file", "image", "datei", "bild", "fichier", "archivo", "immagine", "plik"])
_CATEGORIES = frozenset(["category", "kategorie", "catégorie", "categoría", "categoria"])
# The languages of Wikipedia: a link to one of them stands beside the text, not in it.
_LANGUAGES = (
    "aa ab ace ady af ak als alt am an ang ar arc ary arz as ast atj av avk awa ay az azb ba "
    "ban bar bcl be be-tarask be-x-old bg bh bi bjn bm bn bo bpy br bs bug bxr ca cbk-zam cdo "
    "ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da de din diq dsb dty dv dz ee el eml "
    "en eo es et eu ext fa ff fi fiu-vro fj fo fr frp frr fur fy ga gag gan gcr gd gl glk gn "
    "gom gor got gu gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia id ie ig ii ik ilo inh "
    "io is it iu ja jam jbo jv ka kaa kab kbd kbp kg ki kj kk kl km kn ko koi kr krc ks ksh ku "
    "kv kw ky la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv mad mai map-bms mdf "
    "mg mh mhr mi min mk ml mn mni mnw mr mrj ms mt mus mwl my myv mzn na nah nap nds nds-nl ne "
    "new ng nia nl nn no nov nqo nrm nso nv ny oc olo om or os pa pag pam pap pcd pdc pfl pi "
    "pih pl pms pnb pnt ps pt qu rm rmy rn ro roa-rup roa-tara ru rue rw sa sah sat sc scn sco "
    "sd se sg sh shi shn shy si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw szl "
    "szy ta tay tcy te tet tg th ti tk tl tn to tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz "
    "ve vec vep vi vls vo wa war wo wuu xal xh xmf yi yo za zea zh zh-classical zh-min-nan zh- "
    "yue zu"
)
# str.lower can change the length of a text, and offsets with it
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_TOKEN = re.compile("\ue002(\\d+)\ue003")
_PRIVATE = re.compile("[\ue000-\ue005]")
_PROTECTED = {"|": "\ue004", "=": "\ue005"}
_HIDE, _SHOW = str.maketrans(_PROTECTED), {ord(held): sign for sign, held in _PROTECTED.items()}
_MAX_TABLES = 20
"""Tables within tables; real pages have three."""


def read_wikitext(text: str, *, title: str = "", url: str = "") -> Page:
    """The page of that wikitext: its sections, and what was left out of it.

    Raises:
        HtmlLimitError: Too large, or nested too deeply.
        NotAnArticleError: It leads to other pages.
    """
    if len(text) > MAX_CHARACTERS:
        raise HtmlLimitError(
            Reason.TOO_LARGE, f"{len(text):,} characters; at most {MAX_CHARACTERS:,}"
        )
    reader = _Reader(title)
    html = reader.html(_PRIVATE.sub("", text))
    refuse_index(title, reader.is_index)
    sections, facts = split_html(html)
    return Page(title, sections, url, facts=facts + reader.facts)


class _Reader:
    """One page on its way to HTML; `facts` counts what is left out."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.facts: Counter[tuple[str, str]] = Counter()
        self.is_index = False
        """Whether the page says that it tells pages of one name apart."""
        self._held: list[str] = []
        self._names: dict[str, str] = {}
        """The tokens that stand for what was not understood, each with its name."""
        self._tall: set[str] = set()
        """Those of them that are written on several lines, as boxes are."""

    def html(self, text: str) -> str:
        text = self._brackets(_EXTERNAL.sub(self._external, self._tags(text)))
        text = _EXTERNAL.sub(self._external, text.translate(_SHOW))
        self.is_index |= "__DISAMBIG__" in text
        lines = _SWITCH.sub("", text).split("\n")
        return self._release(self._blocks(lines, 0))

    def _hold(self, html: str) -> str:
        self._held.append(html)
        return f"\ue002{len(self._held) - 1}\ue003"

    def _unread(self, name: str) -> str:
        token = self._hold(entities.escape(mark_unread(name), quote=False))
        self._names[token] = name
        return token

    def _release(self, text: str) -> str:
        return _TOKEN.sub(lambda token: self._held[int(token[1])], text)

    def _tags(self, text: str) -> str:
        """The text with every comment, tag and literal element set aside."""
        out: list[str] = []
        position = 0
        lower = text.translate(_LOWER)
        ended = set(re.findall(r"</([a-z][a-z0-9-]*)", lower))
        break_lines = False
        while match := _TAG.search(text, position):
            piece = text[position : match.start()]
            out.append(piece.replace("\n", self._hold("<br>") + "\n") if break_lines else piece)
            position = match.end()
            if match[2] is None:
                end = text.find("-->", position)
                position = len(text) if end < 0 else end + 3
                if out[-1].endswith("\n") and text.startswith("\n", position):
                    position += 1  # a comment alone on its line takes the line with it
                continue
            name = match[2].lower()
            closing, empty = bool(match[1]), match[3].endswith("/")
            known = name in _KNOWN_TAGS
            end = -1
            if not closing and not empty and not known and name in ended:
                end = lower.find(f"</{name}", position)
                if end < 0:
                    ended.remove(name)
            if name == "poem":
                break_lines = not closing and name in ended
            if known:
                out.append(self._tag(name, closing, match[3]))
            elif end >= 0:
                out.append(self._element(name, text[position:end]))
                after = text.find(">", end)
                position = len(text) if after < 0 else after + 1
            elif name not in _OPAQUE_TAGS:
                out.append(self._hold(entities.escape(match[0], quote=False)))
            elif empty and name not in _SILENT_TAGS and name != "nowiki":
                out.append(self._unread(f"{name} (tag)"))
            elif name == "ref" and not closing and not empty:
                # as a reader would end it
                line_end = text.find("\n", position)
                position = len(text) if line_end < 0 else line_end
                self.facts["elements_dropped", "<ref> without an end"] += 1
        out.append(text[position:])
        return "".join(out)

    def _tag(self, name: str, closing: bool, attributes: str) -> str:
        if name in _SHOWN_TAGS:
            return ""
        if name == "br" or not closing:
            return self._hold(f"<{name}{_attributes(attributes)}>")
        return self._hold(f"</{name}>")

    def _element(self, name: str, inside: str) -> str:
        """An element whose inside is no wikitext."""
        literal = entities.escape(inside, quote=False)
        if name == "nowiki":
            return self._hold(literal)
        if name == "math":
            return self._hold(f'<math alttext="{entities.escape(inside)}"></math>')
        if name in {"chem", "ce"}:
            formula = chemical_formula(inside)
            return self._hold(formula) if formula else self._hold(f"$\\ce{{{literal.strip()}}}$")
        if name in {"source", "syntaxhighlight", "pre"}:
            return "\n" + self._hold(f"<pre>{literal}</pre>") + "\n"
        if name == "gallery":
            images = sum(bool(line.strip()) for line in inside.split("\n"))
            self.facts["images_dropped", "page"] += images
        elif name in _SILENT_TAGS:
            self.facts["elements_dropped", f"<{name}>"] += 1
        else:
            return self._unread(f"{name} (tag)")
        return ""

    def _brackets(self, text: str) -> str:
        """Templates and links replaced, from the innermost outwards.

        Raises:
            HtmlLimitError: Nested too deeply.
        """
        stack: list[tuple[str, list[str]]] = [("", [])]
        position = 0

        def give_up() -> None:
            """The innermost mark that is open has no end: it goes, the text stays."""
            opening, inner = stack.pop()
            stack[-1][1].extend((self._unread("{{") if opening == "{{" else "", *inner))

        for match in _MARKS.finditer(text):
            stack[-1][1].append(text[position : match.start()])
            position = match.end()
            opening = _PAIRS.get(match[0])
            if opening is None:
                if len(stack) > MAX_DEPTH:
                    raise HtmlLimitError(Reason.TOO_DEEP, f"over {MAX_DEPTH} nested {match[0]}")
                stack.append((match[0], []))
            elif any(opening == open_mark for open_mark, _ in stack):
                while stack[-1][0] != opening:
                    give_up()
                inner = "".join(stack.pop()[1])
                made = self._template(inner) if opening == "{{" else self._link(inner)
                stack[-1][1].append(made)
        stack[-1][1].append(text[position:])
        while len(stack) > 1:
            give_up()
        return "".join(stack[0][1])

    def _template(self, inner: str) -> str:
        name, *values = inner.split("|")
        key = " ".join(name.replace("_", " ").lower().split()).removeprefix("template:")
        arguments: dict[str, str] = {}
        count = 0
        for value in values:
            named, equals, given = value.partition("=")
            if equals:
                arguments[" ".join(named.split())] = given.strip()
            else:
                arguments[str(count := count + 1)] = value
        if key in {"pagename", "fullpagename"} and not arguments:
            return self._hold(entities.escape(self.title, quote=False))
        if not arguments and re.fullmatch(r"(?=\D+\d)(?:[A-Z][a-z]?\d*)+", bare := name.strip()):
            return self._tags(chemical_formula(bare) or self._unread(key))
        if is_index_mark(key):
            self.is_index = True
            return ""
        if is_mark(key):
            self.facts["templates_dropped", key] += 1
            return ""
        function, colon, _ = key.partition(":")
        if colon and function in {"defaultsort", "displaytitle"}:
            return ""
        cased = f"{function}:{name.partition(':')[2].strip()}" if colon else key
        found = expand(cased, arguments)
        if found is None:
            token = self._unread(f"{function}:" if colon else _TOKEN.sub("", key))
            if "\n" in inner:
                self._tall.add(token)
            return token
        return self._tags(found).translate(_HIDE)

    def _link(self, inner: str) -> str:
        target, _, label = inner.partition("|")
        target = " ".join(target.split())
        shown = label if label.strip() else target.removeprefix(":")
        prefix = target.partition(":")[0].strip() if ":" in target else ""
        if prefix.lower() in _FILES:
            self.facts["images_dropped", "page"] += 1
            return ""
        if prefix.lower() in _CATEGORIES:
            return ""
        if prefix in _LANGUAGES.split() and not re.match(r"[a-z-]+:\s", target):
            # on a line of its own it stands in the margin; a label may be a word of a sentence
            return self._unread(f"[[{prefix}:]]") if label.strip() else ""
        return shown.translate(_HIDE)

    def _external(self, match: re.Match[str]) -> str:
        if match[1] is None:
            self.facts["elements_dropped", "link without a label"] += 1
        return (match[1] or "").translate(_HIDE)

    # Lines to blocks.

    def _blocks(self, lines: list[str], depth: int) -> str:
        """Lines as paragraphs, lists, tables, headings and preformatted text."""
        if depth > _MAX_TABLES:
            raise HtmlLimitError(Reason.TOO_DEEP, f"over {_MAX_TABLES} tables in each other")
        out: list[str] = []
        paragraph: list[str] = []
        literal: list[str] = []
        open_lists = ""
        ends = _table_ends(lines)

        def flush() -> None:
            nonlocal open_lists
            if literal:
                tag = "pre" if len(literal) > 1 else "p"
                out.append("\n".join([f"<{tag}>", *map(_inline, literal)]) + f"</{tag}>")
                literal.clear()
            if paragraph:
                out.append(f"<p>{' '.join(paragraph)}</p>")
                paragraph.clear()
            out.extend(_close(open_lists))
            open_lists = ""

        skip = 0
        for at, raw in enumerate(lines):
            if at < skip:
                continue
            line = raw.strip()
            marks = re.match(r"[*#:;]*", line)[0]  # type: ignore[index]
            if at in ends:
                flush()
                skip = ends[at]
                out.append(self._table(line.lstrip(":* "), lines[at + 1 : skip], depth))
                if skip < len(lines) and (rest := lines[skip].strip()).startswith("|}"):
                    skip += 1
                    paragraph.extend(filter(None, [_inline(rest[2:].strip())]))
            elif (heading := _heading(line)) is not None and not raw.startswith(" "):
                flush()
                level, name = heading
                out.append(f"<h{level}>{_inline(name)}</h{level}>")
            elif marks:
                if not open_lists:
                    flush()
                marks = marks.replace(";", ":")
                common = len(commonprefix((open_lists, marks)))  # noqa: RUF071  (no paths)
                out.extend(_close(open_lists[common:]))
                if common == len(marks):
                    out.append("</li><li>" if marks[-1] != ":" else "<br>")
                for mark in marks[common:]:
                    out.append({"*": "<ul><li>", "#": "<ol><li>", ":": "<div>"}[mark])
                out.append(_inline(line[len(marks) :].strip()))
                open_lists = marks
            elif not line or line.startswith("----"):
                flush()
                if line:
                    out.append("<hr>")
                    paragraph.extend(filter(None, [_inline(line.lstrip("-"))]))
            elif self._is_box(line, lines, at):
                flush()
            else:
                line = self._without_box(line)
                blocks = self._has_block(line)
                preformatted = raw.startswith(" ") and not depth and not blocks
                if open_lists or bool(literal) != preformatted:
                    flush()
                if preformatted:
                    literal.append(raw[1:].rstrip())
                elif is_byline(_QUOTES.sub("", _TOKEN.sub("", line))):
                    flush()
                    out.append(f"<p>{_inline(line)}</p>")
                else:
                    paragraph.append(_inline(line))
        flush()
        return "".join(out)

    def _is_box(self, line: str, lines: list[str], at: int) -> bool:
        """Whether nothing but what was not understood stands there, and no sentence goes on.

        Its names are counted as dropped.
        """
        tokens = _TOKEN.findall(line)
        names = [self._names.get(f"\ue002{token}\ue003") for token in tokens]
        if not names or None in names or _TOKEN.sub("", line).strip():
            return False
        before = lines[at - 1].strip() if at else ""
        after = lines[at + 1].strip() if at + 1 < len(lines) else ""
        announced = next(filter(str.strip, reversed(lines[max(0, at - 2) : at])), "").rstrip()
        in_sentence = before[-1:].isalnum() or before.endswith((",", ";", "(", "–"))
        if announced.endswith(":") or after[:1].islower() or after[:1].isdecimal():
            return False
        if in_sentence and not before.startswith(("*", "#", ":", ";", "|", "!")):
            return False
        self.facts.update(("templates_dropped", name) for name in names if name)
        return True

    def _without_box(self, line: str) -> str:
        """The line without a box that stands right before the bold name that opens an article."""
        while (match := _TOKEN.match(line)) and (name := self._names.get(match[0])):
            rest = line[match.end() :]
            tall = match[0] in self._tall and (rest.lstrip()[:1].isupper() or _TOKEN.match(rest))
            # beside the bold name that opens an article, or taller than a sentence
            if not tall and not rest.startswith("'''"):
                break
            self.facts["templates_dropped", name] += 1
            line = rest.lstrip()
        return line

    def _has_block(self, line: str) -> bool:
        held = (self._held[int(token)] for token in _TOKEN.findall(line))
        return any(
            (match := re.match(r"</?(\w+)", html)) is not None and match[1] in {*_BLOCK_TAGS, "pre"}
            for html in held
        )

    def _table(self, opening: str, lines: list[str], depth: int) -> str:
        """A table; what stands in its cells is wikitext again, tables included."""
        attributes = opening.removeprefix("{|")
        rows: list[list[tuple[str, str, list[str]]]] = [[]]
        caption: list[str] | None = None
        here: list[str] | None = None
        inner = _table_ends(lines)
        skip = 0
        for at, raw in enumerate(lines):
            line = raw.strip()
            if at < skip or at in inner or (line and not line.startswith(("|", "!"))):
                skip = max(skip, inner.get(at, 0) + 1)
                if here is None:
                    here = [""]
                    rows[-1].append(("td", "", here))
                here.append(raw)
            elif line.startswith("|-"):
                rows.append([])
                here = None
            elif line.startswith("|+"):
                here = caption = [_without_attributes(line[2:])[1]]
            elif line.startswith(("|", "!")):
                tag = "th" if line[0] == "!" else "td"
                for text in re.split(r"\|\||!!" if tag == "th" else r"\|\|", line[1:]):
                    looks, text = _without_attributes(text)
                    here = [text.strip()]
                    rows[-1].append((tag, looks, here))
            elif here is not None:
                here.append(raw)
        body = "".join(
            "<tr>"
            + "".join(
                f"<{tag}{looks}>{self._cell(cell, depth)}</{tag}>" for tag, looks, cell in row
            )
            + "</tr>"
            for row in rows
            if row
        )
        said = f"<caption>{self._cell(caption, depth)}</caption>" if caption else ""
        return f"<table{_attributes(attributes)}>{said}{body}</table>"

    def _cell(self, lines: list[str], depth: int) -> str:
        # what stands beside the bar that opens a cell begins no list
        first, *rest = lines
        if any(re.match(r"\s*(?:[*#:;=]|\{\||\Z)", line) for line in rest):
            return _inline(first) + self._blocks(rest, depth + 1)
        return " ".join(_inline(line.strip()) for line in lines)


def _table_ends(lines: list[str]) -> dict[int, int]:
    """The first line of each table -> its last one; the next heading's where it has none."""
    ends: dict[int, int] = {}
    open_tables: list[int] = []
    headings = [at for at, line in enumerate(lines) if _heading(line.rstrip()) is not None]
    for at, raw in enumerate(lines):
        line = raw.strip()
        if line.lstrip(":* ").startswith("{|"):
            open_tables.append(at)
        elif line.startswith("|}") and open_tables:
            ends[open_tables.pop()] = at
    for at in open_tables:
        ends[at] = [*headings, len(lines)][bisect(headings, at)]
    return ends


def _without_attributes(cell: str) -> tuple[str, str]:
    """The attributes of a cell, as HTML, and its text."""
    looks, bar, text = cell.partition("|")
    if bar and not _LOOKS.sub("", looks).strip():
        return _attributes(looks), text
    return "", cell.replace("|", "&#124;")


def _attributes(text: str) -> str:
    found = _ATTRIBUTE.findall(_TOKEN.sub("", text))
    return "".join(
        f' {key.lower()}="{entities.escape(value.strip(_QUOTE_SIGNS))}"' for key, value in found
    )


_QUOTE_SIGNS = "\"'"


def _heading(line: str) -> tuple[int, str] | None:
    """Level and text of a heading line; None for any other."""
    bare = line.rstrip()
    if not bare.startswith("=") or not bare.endswith("="):
        return None
    level = min(len(bare) - len(bare.lstrip("=")), len(bare) - len(bare.rstrip("=")), 6)
    text = bare[level : len(bare) - level].strip()
    return (level, text) if text else None


def _close(marks: str) -> Iterator[str]:
    for mark in reversed(marks):
        yield {"*": "</li></ul>", "#": "</li></ol>", ":": "</div>"}[mark]


def _inline(text: str) -> str:
    """Text without its quotes for bold and italics; any angle bracket left is a character."""
    # four quotes are bold after an apostrophe, over five a bold italic one after the rest
    text = _QUOTES.sub(lambda run: "'" * max(len(run[0]) - 5, len(run[0]) == 4), text)
    text = text.replace("&amp;nbsp;", " ").replace("&nbsp;", " ")
    text = re.sub(r"&(?!#?\w{1,31};)", "&amp;", text)
    return text.replace("<", "&lt;").replace(">", "&gt;")
