"""Wikitext, the markup of an XML export, to sections: the same shape that a rendered page gives.

No template can be expanded without its wiki, so templates go, except a few whose text stands in
their arguments (a converted unit, a word in another language). The rest becomes simple HTML, so
that one renderer writes the text of both forms. Every step is one pass over the text.
"""

from __future__ import annotations

import html as entities
import re
import string
from collections.abc import Callable, Iterator

from meadow.schema import Reason
from meadow.sources.wikidoc.html_pages import MAX_CHARACTERS, MAX_DEPTH, Cell, Section, rectangular
from meadow.text.render import HtmlLimitError, render_html

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_MARKERS = re.compile(r"</?(?:onlyinclude|includeonly|noinclude|nowiki|poem)\b[^<>]*>", re.I)
_DROPPED = (
    "ref|gallery|timeline|imagemap|score|graph|mapframe|templatedata|templatestyles|hiero|section"
)
_EMPTY_TAG = re.compile(rf"<(?:{_DROPPED}|references)\b[^<>]*/>", re.IGNORECASE)
_OPENING = re.compile(
    rf"<({_DROPPED}|references|math|source|syntaxhighlight|pre|nowiki)\b[^<>]*>", re.IGNORECASE
)
_SWITCH = re.compile(r"__[A-Z]{3,20}__")
_BRACES = re.compile(r"\{\{|\}\}")
_BRACKETS = re.compile(r"\[\[|\]\]")
# possessive: a regular expression here has to be linear in whatever a page holds
_EXTERNAL = re.compile(
    r"\[(?:https?:|ftp:|mailto:)?//[^\s\[\]]*+(?:[ \t]([^\[\]\n]*+))?\]", re.IGNORECASE
)
_QUOTES = re.compile(r"'{2,5}")
_KEPT_TAG = re.compile(
    r"<(/?)(sub|sup|br|code|tt|pre|small|blockquote|p|div|span|u|s|del|ins|big|center|li|ul|ol"
    r"|dl|dt|dd|b|i|em|strong|poem|abbr|cite|q|var|kbd|samp)\b[^<>]*?(/?)>",
    re.IGNORECASE,
)
_LINK_PREFIX = re.compile(
    r":?(?:file|image|category|media|[a-z]{2,3}(?:-[a-z]{2,8})?|wikt|commons|simple)\s*:", re.I
)
# Templates whose text stands in an argument: name -> how it is written.
_ARGUMENT = {
    "lang": 1, "transl": -1, "nowrap": 0, "small": 0, "smaller": 0, "big": 0, "abbr": 0, "nobr": 0,
    "angbr": 0, "formatnum": 0, "nts": 0, "vanchor": 0, "flag": 0, "chem": None, "sic": 0,
    "tooltip": 0, "mvar": 0, "math": 0, "quote": 0, "cquote": 0, "nihongo": 0, "strong": 0, "em": 0,
    "keyword": 0, "unbulleted list": None, "circa": 0, "linktext": 0,
}  # fmt: skip
_SYMBOL = {
    "ndash": "–", "mdash": "—", "spaced ndash": " – ", "snd": " – ", "spnd": " – ", "·": " · ",
    "dot": " · ", "nbsp": " ", "'": "'", "'s": "'s", "=": "=", "!": "|", "pipe": "|", "(": "{{",
    "snds": " – ", "emdash": "—", "endash": "–", "•": " • ", "bull": " • ", "times": "×",
    "minus": "−",
}  # fmt: skip
_HOLD = "\ue000"
# str.lower can change the length of a text, and offsets with it
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def read_sections(text: str) -> Iterator[Section]:
    """The lead and the sections of a page's wikitext, in order.

    Raises:
        HtmlLimitError: Too large, or templates nested too deeply.
    """
    if len(text) > MAX_CHARACTERS:
        raise HtmlLimitError(
            Reason.TOO_LARGE, f"{len(text):,} characters; at most {MAX_CHARACTERS:,}"
        )
    held: list[str] = []
    plain, images = _plain(text, held)
    heading, level, path = "", 0, list[tuple[int, str]]()
    lines: list[str] = []
    for line in [*plain.split("\n"), None]:
        found = _heading(line) if line is not None else None
        if line is not None and found is None:
            lines.append(line)
            continue
        body = _release(_to_html(lines), held)
        parents = tuple(name for _, name in path[:-1])
        rendered = render_html(body).text
        yield Section(heading, level, parents, rendered, images if level == 0 else 0)
        if found is not None:
            level, name = found
            heading = " ".join(entities.unescape(_strip_tags(_release(name, held))).split())
            path = [(above, text) for above, text in path if above < level]
            path.append((level, heading))
            lines = []


def _plain(text: str, held: list[str]) -> tuple[str, int]:
    """The text without comments, references, templates, files and link markup; images counted."""

    def hold(value: str) -> str:
        held.append(value)
        return f"{_HOLD}{len(held) - 1}{_HOLD}"

    def write(name: str, inside: str) -> str:
        literal = entities.escape(inside, quote=False)
        if name == "nowiki":
            return hold(literal)
        if name == "math":
            return hold(f"${literal.strip()}$")
        if name in {"source", "syntaxhighlight", "pre"}:
            return "\n" + hold(f"<pre>{literal}</pre>") + "\n"
        return ""

    text = _COMMENT.sub("", text.replace(_HOLD, ""))
    text = _replace_elements(_EMPTY_TAG.sub("", text), write)
    text = _MARKERS.sub("", text)
    text = _nested(text, _BRACES, "{{", _template)
    text = re.sub(r"\{\{+|\}\}+", "", text)
    images = 0

    def link(inner: str) -> str:
        nonlocal images
        images += inner.lstrip(": ").lower().startswith(("file:", "image:"))
        return _link(inner)

    text = _nested(text, _BRACKETS, "[[", link)
    text = _EXTERNAL.sub(r"\1", text.replace("[[", "").replace("]]", ""))
    return _SWITCH.sub("", _QUOTES.sub("", text)), images


def _heading(line: str) -> tuple[int, str] | None:
    """Level and text of a heading line; None for any other."""
    bare = line.rstrip()
    if not bare.startswith("=") or not bare.endswith("="):
        return None
    level = min(len(bare) - len(bare.lstrip("=")), len(bare) - len(bare.rstrip("=")), 6)
    text = bare[level : len(bare) - level].strip()
    return (level, text) if text else None


def _replace_elements(text: str, write: Callable[[str, str], str]) -> str:
    """Replace literal and dropped elements, from the opening tag to the next closing one.

    A reference that is never closed ends with its line, as a reader would end it; the tag of
    another element that is never closed goes alone.
    """
    out: list[str] = []
    position = 0
    lower = text.translate(_LOWER)
    unclosed: set[str] = set()
    while match := _OPENING.search(text, position):
        out.append(text[position : match.start()])
        position = match.end()
        name = match[1].lower()
        closing = f"</{name}>"
        end = -1 if name in unclosed else lower.find(closing, position)
        if end >= 0:
            out.append(write(name, text[position:end]))
            position = end + len(closing)
            continue
        unclosed.add(name)
        if name == "ref":
            line_end = text.find("\n", position)
            position = len(text) if line_end < 0 else line_end
    out.append(text[position:])
    return re.sub(rf"</(?:{_DROPPED}|references)>", "", "".join(out), flags=re.IGNORECASE)


def _nested(text: str, marks: re.Pattern[str], opening: str, replace: Callable[[str], str]) -> str:
    """Replace each innermost-first pair of marks by what `replace` makes of its inside.

    Raises:
        HtmlLimitError: Nested too deeply.
    """
    stack: list[list[str]] = [[]]
    position = 0
    for match in marks.finditer(text):
        stack[-1].append(text[position : match.start()])
        position = match.end()
        if match[0] == opening:
            if len(stack) > MAX_DEPTH:
                raise HtmlLimitError(Reason.TOO_DEEP, f"over {MAX_DEPTH} nested {opening}")
            stack.append([])
        elif len(stack) > 1:
            stack[-2].append(replace("".join(stack.pop())))
        else:
            stack[-1].append(match[0])
    stack[-1].append(text[position:])
    while len(stack) > 1:  # never closed: the marks go, the text stays
        inner = stack.pop()
        stack[-1].extend(inner)
    return "".join(stack[0])


def _template(inner: str) -> str:
    name, *arguments = inner.split("|")
    key = " ".join(name.lower().split())
    values = [value.strip() for value in arguments if "=" not in value.split("[")[0]]
    if key in _SYMBOL:
        return _SYMBOL[key]
    if key in {"convert", "cvt"} and len(values) >= 2:
        return _convert(values)
    if key in {"sub", "sup"} and values:
        return f"<{key}>{values[0]}</{key}>"
    if key == "frac" and values:
        return "/".join(values[-2:]) if len(values) < 3 else f"{values[0]} {values[1]}/{values[2]}"
    if key == "val" and values:
        unit = re.search(r"\|\s*u\s*=\s*([^|]*)", inner)
        return f"{values[0]} {unit[1].strip()}" if unit else values[0]
    if key.startswith("lang-") and values:
        return values[0]
    if key in _ARGUMENT and values:
        index = _ARGUMENT[key]
        if index is None:
            return "".join(values) if key == "chem" else ", ".join(values)
        return values[index] if -len(values) <= index < len(values) else values[-1]
    return ""


def _convert(values: list[str]) -> str:
    """{{convert|10|kg|lb}} as "10 kg", {{convert|5|to|7|cm|in}} as "5 to 7 cm"."""
    if len(values) >= 4 and values[1] in {"to", "and", "or", "-", "–", "x", "by", "±", "+/-"}:
        return f"{values[0]} {values[1]} {values[2]} {values[3]}"
    return f"{values[0]} {values[1]}"


def _link(inner: str) -> str:
    target, _, label = inner.partition("|")
    if _LINK_PREFIX.match(target.strip()) and not (target.startswith(":") and label):
        return ""
    if not label:
        return target.strip().lstrip(":").partition("#")[0].strip() or target.strip("# ")
    return label.rpartition("|")[2] if "|" in label else label


_LIST = re.compile(r"^([*#:;]+)\s*(.*)$")


def _to_html(lines: list[str]) -> str:
    """Lines of one section as blocks: paragraphs, lists, tables."""
    out: list[str] = []
    paragraph: list[str] = []
    open_lists = ""
    table: list[str] | None = None
    depth = 0

    def flush() -> None:
        nonlocal open_lists
        if paragraph:
            out.append(f"<p>{' '.join(paragraph)}</p>")
            paragraph.clear()
        out.extend(_close(open_lists, ""))
        open_lists = ""

    for raw in lines:
        line = raw.strip() if raw.startswith((" ", "\t")) else raw.rstrip()
        if line.startswith("{|"):
            flush()
            depth += 1
            table = [line] if table is None else table
            continue
        if table is not None:
            depth -= line.startswith("|}")
            if depth:
                table.append(line)
            else:
                out.append(_table(table))
                table = None
            continue
        if match := _LIST.match(line):
            if not open_lists:
                flush()
            marks = match[1].replace(";", ":")
            common = len(_common(open_lists, marks))
            out.extend(_close(open_lists, marks[:common]))
            if common == len(marks) and marks[-1] != ":":
                out.append("</li><li>")
            elif common == len(marks):
                out.append("<br>")
            for mark in marks[common:]:
                out.append({"*": "<ul><li>", "#": "<ol><li>", ":": "<div>"}[mark])
            out.append(_inline(match[2]))
            open_lists = marks
        elif not line:
            flush()
        else:
            if open_lists:
                flush()
            paragraph.append(_inline(line))
    flush()
    if table is not None:
        out.append(_table(table))
    return "".join(out)


def _common(first: str, second: str) -> str:
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    return first[:length]


def _close(marks: str, keep: str) -> Iterator[str]:
    for mark in reversed(marks[len(keep) :]):
        yield {"*": "</li></ul>", "#": "</li></ol>", ":": "</div>"}[mark]


def _table(lines: list[str]) -> str:
    """A data table as HTML; boxes for navigation and infoboxes go."""
    if re.search(r"infobox|navbox|sidebar|toccolours|float\s*:\s*right", lines[0], re.IGNORECASE):
        return ""
    rows: list[list[Cell]] = [[]]
    for line in lines[1:]:
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            continue
        elif line.startswith(("|", "!")):
            header = line[0] == "!"
            for text in re.split(r"\|\||!!" if header else r"\|\|", line[1:]):
                attributes, bar, value = text.partition("|")
                has_attributes = bool(bar) and ("=" in attributes or not attributes.strip())
                rows[-1].append(
                    Cell(
                        (value if has_attributes else text).strip(),
                        header,
                        _span("col", attributes) if has_attributes else 1,
                        _span("row", attributes) if has_attributes else 1,
                    )
                )
        elif rows[-1] and line.strip():
            cell = rows[-1][-1]
            rows[-1][-1] = cell._replace(html=f"{cell.html} {line.strip()}".strip())
    return rectangular([cell._replace(html=_inline(cell.html)) for cell in row] for row in rows)


def _span(kind: str, attributes: str) -> int:
    match = re.search(rf"{kind}span\s*=\s*[\"']?(\d{{1,4}})", attributes, re.IGNORECASE)
    return int(match[1]) if match else 1


def _inline(text: str) -> str:
    """Text with the tags that wikitext knows; any other angle bracket is a character."""
    out: list[str] = []
    position = 0
    for match in _KEPT_TAG.finditer(text):
        out.append(_escape(text[position : match.start()]))
        name = match[2].lower()
        if name in {"sub", "sup", "code"}:
            out.append(f"<{match[1]}{name}>")
        elif name in {"br", "p", "div", "li", "blockquote", "center"}:
            out.append("<br>")
        position = match.end()
    out.append(_escape(text[position:]))
    return "".join(out)


def _escape(text: str) -> str:
    # character references stay what they are: wikitext knows them, named or as &amp;nbsp;
    text = text.replace("&amp;nbsp;", " ").replace("&nbsp;", " ")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _strip_tags(text: str) -> str:
    return re.sub(r"</?[a-zA-Z][^<>]*>", "", text)


def _release(text: str, held: list[str]) -> str:
    if _HOLD not in text:
        return text
    return re.sub(
        f"{_HOLD}(\\d+){_HOLD}",
        lambda match: held[int(match[1])] if int(match[1]) < len(held) else "",
        text,
    )
