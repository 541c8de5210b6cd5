"""Text in, text out: HTML to readable Markdown-like text, and one normal form for plain text.

Everything here is pure. HTML is parsed by turbohtml, whose tree and texts agree with
beautifulsoup4 on every real body of the test files (tests/meadow/text/test_render.py) at a fraction
of the time; size and depth are capped before the parser sees a byte, since no parser is linear on
every input. What its renderer would write as raw tags or run together is put right in the tree
first (`prepare`), and only for elements that a body holds.
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from meadow.schema import Reason
from meadow.text.scripts import MathError, formula, lowered, raised, spelled

if TYPE_CHECKING:
    from turbohtml import Element

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 500


class HtmlLimitError(ValueError):
    """A document that is not rendered: too large, too deep, or a formula that cannot be written.

    `reason` says which, for a reject.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Rendered(NamedTuple):
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
    Raised and lowered text is what `meadow.text.scripts` makes of it (10³, H₂O, W^(0.75)). What the
    renderer would write as raw tags or run together (tables with spans, breaks inside marks, list
    items without a list) is put right in the tree before.

    Raises:
        HtmlLimitError: Over 1,000,000 characters or 500 nested elements, or a formula that has no
            form in plain text.
    """
    if "<" not in html and "&" not in html:
        return Rendered(normalise(html), 0)
    check_limits(html)
    import turbohtml

    fragment = turbohtml.parse_fragment(html, positions=False)
    names = frozenset(_NAME.findall(html))
    if "vertical-align" in html:
        _shift_by_style(fragment)
        names |= {"sup", "sub"}
    plan = _plan(base_url, names)
    images = prepare(fragment, plan.found) if plan.prepared else 0
    text = fragment.to_markdown(plan.markdown)
    if plan.code is not None and "<code>" in text:
        text = _CODE_EDGE.sub(_part_code, fragment.to_markdown(plan.code))
    if _OPEN_LABEL in text:
        text = _LABEL.sub(r"\2\1 ", text)
    return Rendered(quote_literal_markup(normalise(text)), images)


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
    if len(html) < 3 * max_depth or html.count("<") <= max_depth:
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


_TAGS = (
    "a|abbr|acronym|address|area|article|aside|audio|b|base|bdi|bdo|big|blockquote|body|br|button"
    "|canvas|caption|center|cite|code|col|colgroup|datalist|dd|del|details|dfn|dialog|dir|div|dl|dt"
    "|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|header|hr"
    "|html|i|iframe|img|input|ins|kbd|label|legend|li|link|main|map|mark|math|menu|meta|meter|nav"
    "|noscript|object|ol|optgroup|option|output|p|param|picture|pre|progress|q|rp|rt|ruby|s|samp"
    "|script|section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody"
    "|td|template|textarea|tfoot|th|thead|time|title|tr|track|tt|u|ul|var|video|wbr"
)
_SWITCHES = "async|autoplay|checked|compact|controls|defer|disabled|hidden|loop|multiple|muted"
_SWITCHES += "|nohref|noshade|nowrap|open|readonly|required|reversed|selected"


def tag_pattern(names: str) -> str:
    """A regular expression for tags of these names, told from comparisons by their attributes.

    `<b>` and `<b class="x">` are tags; `a <b and c> d` and `pH <normal and PaCO2 >45` are not.

    Args:
        names: Alternatives, as in "b|h[1-6]".
    """
    value = r"""(?:"[^"<>]{0,500}"|'[^'<>]{0,500}'|[^\s"'=<>`]{1,500})"""
    attribute = rf"\s++(?:[A-Za-z_:][\w:.-]*\s*+=\s*+{value}|(?i:{_SWITCHES})(?=[\s/>]))"
    return rf"</?(?i:{names})(?:{attribute})*+\s*+/?>"


_LITERAL_TAG = re.compile(tag_pattern(_TAGS))
_LITERAL_ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{1,7}|#x[0-9A-Fa-f]{1,6});")
_LITERAL = f"{_LITERAL_TAG.pattern}|{_LITERAL_ENTITY.pattern}"
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
    # a search for one first character is several times as fast as one for two
    if not ("<" in text and _LITERAL_TAG.search(text)) and not (
        "&" in text and _LITERAL_ENTITY.search(text)
    ):
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


# Names of tags; of those that begin with p, the most frequent, none needs anything.
_NAME = re.compile("<([a-oq-zA-OQ-Z][a-zA-Z]*)")
_MARKS = frozenset({"strong", "b", "em", "i", "s", "strike", "del", "a", "sup", "sub"})
_INLINE = (*sorted(_MARKS), "span", "u", "font", "small", "big", "ins", "mark")
# Blocks that the renderer takes for running text: 5<form>6</form> would be 56.
_BLOCKS = frozenset(
    [
        *("center", "fieldset", "form", "legend", "hgroup", "dialog", "option", "optgroup"),
        *("listing", "xmp", "button"),
    ]
)


def prepare(root: Element, found: frozenset[str]) -> int:
    """Bring a tree into a form that the renderer writes without loss; the number of images.

    Args:
        root: What holds the whole body; it is changed.
        found: The names of the tags that the body may hold: repairs cost only where needed.
    """
    if "math" in found:
        _write_formulas(root)
    if found & _BLOCKS:
        for element in list(root.iter_elements(_BLOCKS)):
            element.tag = "pre" if element.tag in {"listing", "xmp"} else "div"
    if "ol" in found:
        for listing in root.select(_ODD_LIST):
            _label_items(listing)
    images = _drop_images(root) if "img" in found else 0
    if "li" in found:
        _list_loose_items(root)
    shifted = "sup" in found or "sub" in found
    if shifted:
        for element in root.find_all(["sup", "sub"]):
            if _is_small_print(element):
                element.tag = "span"
    if "br" in found:
        _hoist_breaks(root)
        if "li" in found:
            for line_break in [
                each
                for each in root.find_all("br")
                if each.closest("li") == each.parent and _is_free(each, "previous_sibling")
            ]:
                line_break.extract()
    if "table" in found:
        for table in reversed(root.find_all("table")):
            _mend_table(table)
    if shifted:
        for element in reversed(root.find_all(["sup", "sub"])):
            if element.closest("pre, code, kbd, samp") is not None:
                _spell_in_code(element)
    return images


_PREPARED = _BLOCKS | {"math", "ol", "li", "img", "sup", "sub", "br", "table"}
"""Names of tags for which `prepare` has something to do."""


class _Plan(NamedTuple):
    """What a body is rendered with, by the names of its tags: most bodies share a few sets of them.

    Args:
        found: The names in small letters.
        prepared: Whether the tree may need `prepare`.
        markdown: How it is written.
        code: The same, where code holds marks; None without code.
    """

    found: frozenset[str]
    prepared: bool
    markdown: Any
    code: Any


@lru_cache(maxsize=2048)
def _plan(base_url: str, names: frozenset[str]) -> _Plan:
    found = frozenset(map(str.lower, names))
    converted = found & (_CONVERTED | _IMAGES)
    return _Plan(
        found,
        not found.isdisjoint(_PREPARED),
        _markdown(base_url, converted),
        _markdown(base_url, converted | {"code"}) if found & _CODE else None,
    )


def _shift_by_style(root: Element) -> None:
    """What a style raises or lowers, as if by a tag."""
    for element in root.find_all(style=_SHIFTED):
        shift = _SHIFTED.search(str(element.attr("style")))
        element.tag = "sup" if shift and "super" in shift[0].lower() else "sub"


_SHIFTED = re.compile(r"vertical-align\s*:\s*(?:super|sub)\b", re.IGNORECASE)


def _write_formulas(root: Element) -> None:
    """Every `<math>` as text, apart from the words and numbers beside it."""
    from turbohtml import Text

    for math in root.find_all("math"):
        try:
            text = formula(math)
        except MathError as fault:
            detail = f"a formula that cannot be written: {fault}"
            raise HtmlLimitError(Reason.HTML_RESIDUE, detail) from fault
        before, after = math.previous_sibling, math.next_sibling
        if isinstance(before, Text) and before.data[-1:].isalnum():
            text = f" {text}"
        if isinstance(after, Text) and after.data[:1].isalnum():
            text = f"{text} "
        math.replace_with(Text(text))


_ODD_LIST = 'ol[reversed], ol[type], ol[style], ol[start^="-"]'
_OPEN_LABEL, _SHUT_LABEL = "\ufdd0", "\ufdd1"
_LABEL = re.compile(rf"\d+([.)]) {_OPEN_LABEL}(.*?){_SHUT_LABEL}(?:\n\n? +(?![-*+|>\d]))?[ ]?")
_LETTERS = {"lower-alpha": "a", "lower-latin": "a", "upper-alpha": "A", "upper-latin": "A"}
_LETTERS |= {"lower-roman": "i", "upper-roman": "I"}
_ROMAN = ((100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"))


def _label_items(listing: Element) -> None:
    """Labels as a browser counts them, as text at the head of each item."""
    from turbohtml import Text

    items = [item for item in _elements(listing) if item.tag == "li"]
    if not items or str(items[0].text).startswith(_OPEN_LABEL):
        return
    style = str(listing.attr("style") or "")
    kind = str(listing.attr("type") or "")
    kind = next((letter for name, letter in _LETTERS.items() if name in style), kind)
    backwards = listing.attr("reversed") is not None
    number = _integer(listing.attr("start"), len(items) if backwards else 1)
    for item in items:
        number = _integer(item.attr("value"), number)
        item.insert(0, Text(f"{_OPEN_LABEL}{_item_label(number, kind)}{_SHUT_LABEL} "))
        number += -1 if backwards else 1


def _integer(value: str | None, default: int) -> int:
    match = re.match(r"\s*([+-]?\d{1,9})", value or "")
    return int(match[1]) if match else default


def _item_label(number: int, kind: str) -> str:
    if number < 1 or kind not in {"a", "A", "i", "I"}:
        return str(number)
    label = ""
    if kind in "aA":
        while number:
            number, letter = divmod(number - 1, 26)
            label = chr(ord("a") + letter) + label
    elif number < 400:
        for value, letters in (*_ROMAN, (1, "i")):
            label += letters * (number // value)
            number %= value
    else:
        return str(number)
    return label.upper() if kind in "AI" else label


def _list_loose_items(root: Element) -> None:
    """List items outside a list, run by run in a list of their own."""
    from turbohtml import Element, Text

    runs: list[list[Any]] = []
    last: Any = None
    for item in list(root.iter_elements("li")):
        parent = item.parent
        if isinstance(parent, Element) and parent.tag in {"ul", "ol", "menu", "dir"}:
            continue
        before = item.previous_sibling
        gap = before if isinstance(before, Text) and not before.data.strip() else None
        if last is not None and (gap.previous_sibling if gap is not None else before) == last:
            runs[-1] += [item] if gap is None else [gap, item]
        else:
            runs.append([item])
        last = item
    # a look at a neighbour costs all of them after a change: changes come last
    for first, *others in runs:
        first.wrap(Element("ul")).extend(others)


def _drop_images(root: Element) -> int:
    """Take out images, and what held nothing else; how many there were."""
    images = root.find_all("img")
    emptied = {image.parent for image in images}
    for image in images:
        image.extract()
    while emptied:
        blank: list[Any] = [
            holder
            for holder in emptied
            if isinstance(holder, type(root)) and holder != root and _is_blank(holder)
        ]
        emptied = {holder.parent for holder in blank}
        for listing in {item.parent for item in blank if item.tag == "li"}:
            if listing.tag == "ol":
                _label_items(listing)  # the other items keep their numbers
        for holder in blank:
            holder.extract()
    return len(images)


def _is_blank(holder: Element) -> bool:
    from turbohtml import Comment, Element, Text

    if holder.tag in {"td", "th", "tr", "tbody", "thead", "tfoot"}:
        return False
    child = holder[0] if len(holder) else None
    while child is not None:
        if isinstance(child, Text):
            if child.data.strip() and not child.data.startswith(_OPEN_LABEL):
                return False
        elif not isinstance(child, Comment) and (
            not isinstance(child, Element) or child.tag != "br" or holder.tag in _INLINE
        ):
            return False
        child = child.next_sibling
    return True


_MOST_BREAKS = 100
"""In one mark; a mark that holds more of them would be as many marks."""


def _hoist_breaks(root: Element) -> None:
    """Breaks out of marks, which end before and begin anew behind; spaces in links and headings."""
    from turbohtml import Element, Text

    for element in reversed(list(root.iter_elements(_INLINE))):
        children = list(element.children)
        breaks = [child for child in children if isinstance(child, Element) and child.tag == "br"]
        if not breaks:
            continue
        if element.tag in {"a", "sup", "sub"} or len(breaks) > _MOST_BREAKS:
            for line_break in breaks:
                first, last = line_break == children[0], line_break == children[-1]
                if not (first or last) or (element.tag not in {"a", "sup", "sub"}):
                    line_break.replace_with(Text(" "))
                elif element.tag != "a":
                    line_break.extract()
                elif first:
                    element.insert_before(line_break)
                else:
                    element.insert_after(line_break)
            continue
        pieces: list[Any] = []
        line: list[Any] = []
        for child in [*children, None]:
            if child is not None and getattr(child, "tag", "") != "br":
                line.append(child)
                continue
            if line:
                piece = Element(element.tag, element.attrs)
                piece.extend(line)
                pieces.append(piece)
                line = []
            if child is not None:
                pieces.append(child)
        element.replace_with(*pieces)
    for line_break in root.select("h1 br, h2 br, h3 br, h4 br, h5 br, h6 br"):
        line_break.replace_with(Text(" "))


def _elements(parent: Element) -> list[Element]:
    return [child for child in parent.children if isinstance(child, type(parent))]


_UNROLLED = "table, pre, h1, h2, h3, h4, h5, h6, blockquote, hr"
_LONGEST_REPEATED = 80
"""Characters of a cell that is written again in each row that it spans."""
_WIDEST_SPAN = 100


def _mend_table(table: Element) -> None:
    """A table as one cell a column in every row, or as blocks where it is but layout."""
    rows = [row for row in table.iter_elements("tr") if row.closest("table") == table]
    cells = [[cell for cell in _elements(row) if cell.tag in {"td", "th"}] for row in rows]
    widths = {len(line) for line in cells}
    spans = any(cell.attr(name) is not None for line in cells for cell in line for name in _SPANS)
    alone = sum(map(len, cells)) == 1
    if alone or table.attr("role") == "presentation" or table.select_one(_UNROLLED) is not None:
        return _unroll(table)
    if len(widths) < 2 and not spans:
        return None
    grid = _grid(cells)
    if grid is None:
        return _unroll(table)
    for row, line in zip(rows, grid, strict=True):
        if not any(line):
            row.extract()
            continue
        row.clear()
        for cell in line:
            for name in _SPANS:
                if cell is not None and cell.attr(name) is not None:
                    del cell.attrs[name]
        row.extend([cell or _blank_cell() for cell in line])
    return None


_SPANS = ("rowspan", "colspan")


def _blank_cell() -> Element:
    from turbohtml import Element

    return Element("td")


def _unroll(table: Element) -> None:
    parts = [part for part in table.iter_elements(_TABLE_PARTS) if part.closest("table") == table]
    for part in [*parts, table]:
        part.tag = "div"


_TABLE_PARTS = ("caption", "thead", "tbody", "tfoot", "tr", "td", "th")


def _grid(rows: list[list[Element]]) -> list[list[Element | None]] | None:
    """Every row with a cell or None in each column; None where that would be far too large.

    A cell that spans rows stands again in each of them where it is short; columns that only wide
    spans claim are left out.
    """
    most = 10_000 + 20 * sum(map(len, rows))
    own: set[int] = set()
    lines: list[dict[int, Element | None]] = []
    carried: dict[int, tuple[int, Element | None]] = {}
    for cells in rows:
        line = {column: cell for column, (_, cell) in carried.items()}
        carried = {c: (left - 1, cell) for c, (left, cell) in carried.items() if left > 1}
        column = 0
        for cell in cells:
            while column in line:
                column += 1
            own.add(column)
            height = _integer(cell.attr("rowspan"), 1) or len(rows)
            width = min(_integer(cell.attr("colspan"), 1), _WIDEST_SPAN)
            again = copy.copy(cell) if height > 1 and len(cell.text) <= _LONGEST_REPEATED else None
            for offset in range(max(width, 1)):
                line[column + offset] = None if offset else cell
                if height > 1:
                    carried[column + offset] = (height - 1, None if offset else again)
            column += max(width, 1)
        lines.append(line)
        if len(own) * len(lines) > most:
            return None
    columns = sorted(own)
    taken: set[Element] = set()
    grid: list[list[Element | None]] = []
    for line in lines:
        found = [line.get(column) for column in columns]
        found = [copy.copy(cell) if cell is not None and cell in taken else cell for cell in found]
        taken.update(cell for cell in found if cell is not None)
        grid.append(found)
    return grid


def _spell_in_code(element: Element) -> None:
    """Raised or lowered text inside code, in the signs of code: 10^6, x_(i+1)."""
    from turbohtml import Text

    after = element.next_sibling
    joined = isinstance(after, Text) and after.data[:1].isalnum()
    mark = "^" if element.tag == "sup" else "_"
    element.replace_with(Text(spelled(element.text, mark, joined=joined)))


_CONVERTED = _MARKS | {"br", "table"}
_IMAGES = frozenset({"img", "image"})  # the parser makes the first of the second
_CODE = frozenset({"code", "kbd", "samp"})


@lru_cache(maxsize=512)
def _markdown(base_url: str, found: frozenset[str]) -> Any:
    """How turbohtml renders; the converters replace what it would leave as raw tags."""
    from turbohtml import Markdown

    class Prepared(Markdown):
        """Takes its settings apart once, where turbohtml does so for every document."""

        def _unpack(self) -> dict[str, object]:
            return settings

    def link(element: Element, text: str) -> str:
        return _link(element, text, base_url)

    converters = {
        "a": link,
        "sup": _superscript,
        "sub": _subscript,
        "br": _line_break,
        "code": _code,
        **dict(_wrapped("**", "strong", "b")),
        **dict(_wrapped("*", "em", "i")),
        **dict(_wrapped("~~", "s", "strike", "del")),
    }
    used = {
        tag: _in_cells(convert) if "table" in found else convert
        for tag, convert in converters.items()
        if tag in found
    }
    if "code" in found:
        used |= {"kbd": used["code"], "samp": used["code"]}
    markdown = Prepared(
        escaping=Markdown.Escaping(mode="none", asterisks=False, underscores=False),
        images=Markdown.Images(mode="ignore"),
        tables=Markdown.Tables(cell_blocks="text"),
        links=Markdown.Links(autolink=False),
        converters=used or None,
    )
    settings = Markdown._unpack(markdown)
    # each costs 0.2 us a body, also where it has nothing to act on
    for name, tags in (("autolink", {"a"}), ("image_mode", _IMAGES), ("cell_blocks", {"table"})):
        if found.isdisjoint(tags):
            del settings[name]
    return markdown


_Converter = Callable[["Element", str], str]


def _in_cells(convert: _Converter) -> _Converter:
    """The converter, given text without the escapes of a table: they are put in behind it again."""

    def converted(element: Element, text: str) -> str:
        if "\\|" in text and element.closest("td, th") is not None:
            text = text.replace("\\|", "|")
        return convert(element, text)

    return converted


_BLOCK = re.compile(r"```|[-*>|#]+[ ]|\d+[.)][ ]|---")


_BLOCK_TAGS = "p, div, ul, ol, li, pre, blockquote, table, h1, h2, h3, h4, h5, h6, hr, dl"


def _holds_blocks(element: Element, inner: str) -> bool:
    """Whether blocks stand in a mark; a dash that the author wrote is none."""
    odd = "\n\n" in inner or (not inner[0].isalpha() and _BLOCK.match(inner))
    return bool(odd) and element.select_one(_BLOCK_TAGS) is not None


def _wrapped(mark: str, *tags: str) -> tuple[tuple[str, _Converter], ...]:
    """Converters that put `mark` around a text, inside the white space at its ends."""
    # a mark inside the same mark would end it, and a raised letter is a sign without it
    same = ", ".join(tags if mark == "~~" else (*tags, "sup", "sub"))

    def wrap(element: Element, text: str) -> str:
        inner = text.strip()
        if not inner or (parent := element.parent) is None or parent.closest(same):
            return text
        if _holds_blocks(element, inner):  # no mark reaches over them
            return f"\n\n{inner}\n\n"
        start = text.index(inner)
        return f"{text[:start]}{mark}{inner}{mark}{text[start + len(inner) :]}"

    return tuple((tag, wrap) for tag in tags)


def _line_break(_: Element, __: str) -> str:
    return "\n"


# The ends of inline code while it is rendered: code that touches code is seen by them.
_CODE_EDGE = re.compile("`\ufdd3?\ufdd2|\ufdd3`|\ufdd2|\ufdd3")


def _code(element: Element, text: str) -> str:
    if element.closest("pre") is not None or not element.text:
        return text
    inner = " ".join(element.text.split("\n"))
    if element.parent is not None and element.parent.closest("code, kbd, samp"):
        return inner
    ticks = "`" * next(n for n in range(1, len(inner) + 2) if not _has_run(inner, n))
    pad = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"\ufdd2{ticks}{pad}{inner}{pad}{ticks}\ufdd3"


def _has_run(text: str, length: int) -> bool:
    return re.search(rf"(?<!`)`{{{length}}}(?!`)", text) is not None


def _part_code(match: re.Match[str]) -> str:
    """A space between two backticks of which one opens or ends code."""
    return "` " if match[0].startswith("`") else " `" if match[0].endswith("`") else ""


def _link(element: Element, text: str, base_url: str) -> str:
    label = text.strip()
    href = (element.attr("href") or "").strip()
    if not label or not href or href.startswith("#"):
        return text
    target = href if href.startswith(_SCHEMES) else _absolute(href, base_url)
    if not target:
        return text
    if not _PLAIN_ADDRESS.fullmatch(target):
        target = "%20".join(target.split()).replace("<", "%3C").replace(">", "%3E")
        if target.count("(") != target.count(")"):
            target = target.replace("(", "%28").replace(")", "%29")
    # words are no address: what browsers leave out has at most 15 characters and final slashes
    short = len(label) + 15 < len(target.rstrip("/"))
    if not short and " " not in label and _bare(label) == _bare(target):
        return text.replace(label, target)
    if _holds_blocks(element, label):
        return f"\n\n{label}\n\n{target}\n\n"
    return text.replace(label, f"[{label}]({target})")


_PLAIN_ADDRESS = re.compile(r"[^\s<>()]+")
_SCHEMES = ("http://", "https://", "ftp://")
_ROOTED = re.compile(r"(?:/[\w-]+)+/?", re.ASCII)
"""A path from the root of a site, in which no address has anything to resolve."""


def _absolute(href: str, base_url: str) -> str:
    """The page that a link leads to; "" where it leads to none."""
    if href.lower().startswith(_SCHEMES):
        return href
    if _ROOTED.fullmatch(href) and (site := _site(base_url)):
        return site + href
    try:
        target = urljoin(base_url, href)
    except ValueError:
        return ""
    return target if target.lower().startswith(_SCHEMES) else ""


@lru_cache(maxsize=64)
def _site(base_url: str) -> str:
    """Scheme and host of a page; "" for what is no address."""
    try:
        root = urljoin(base_url, "/")
    except ValueError:
        return ""
    return root.removesuffix("/") if root.lower().startswith(_SCHEMES) else ""


def _bare(address: str) -> str:
    """An address without what browsers leave out when they show it."""
    return address.removeprefix("http://").removeprefix("https://").rstrip("/")


def _superscript(_: Element, text: str) -> str:
    return raised(text)


def _subscript(_: Element, text: str) -> str:
    return lowered(text)


def _is_small_print(element: Element) -> bool:
    """Whether words stand raised or lowered beside nothing: a line, or a remark, in small print."""
    text = element.text
    if not _TWO_LETTERS.search(text):
        return False
    alone = _is_free(element, "previous_sibling") and _is_free(element, "next_sibling")
    return alone or (
        " " in text.strip()
        and _REMARK.match(text) is not None
        and _is_free(element, "previous_sibling", spaced=True)
        and _is_free(element, "next_sibling", spaced=True)
    )


_TWO_LETTERS = re.compile(r"[^\W\d_]{2}")
# "10 <sup>6 cells</sup>" is a power still.
_REMARK = re.compile(r"""\s*["'(\[]*[^\W\d_]""")


def _is_free(element: Any, side: str, *, spaced: bool = False) -> bool:
    """Whether a line begins (or ends) on this side of an inline element, or white space stands."""
    beside = getattr(element, side)
    if beside is None:
        parent = element.parent
        return parent is None or parent.tag not in _INLINE or _is_free(parent, side, spaced=spaced)
    text = getattr(beside, "data", None)
    if text is None:
        return getattr(beside, "tag", "br") not in _INLINE
    edge = text[-1:] if side == "previous_sibling" else text[:1]
    return (spaced and edge.isspace()) or (
        not text.strip() and _is_free(beside, side, spaced=spaced)
    )


# What cannot be seen and only breaks matching: zero-width space and joiners of words, byte order
# marks, soft hyphens, direction marks. The joiners U+200C and U+200D stay: scripts and emoji need
# them.
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Any of these at all, of which none is printable: one look for texts that hold none.
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064"
    "\u2066-\u2069\ufeff]"
)
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\n\t"
_TRAILING = re.compile(r"(?<![ \t])[ \t]+\n")
_BLANK_LINES = re.compile(r"\n{3,}")


def normalise(text: str) -> str:
    """One form for equal texts: NFC, visible characters, plain spaces and line breaks. Idempotent.

    Indentation and runs of spaces inside a line stay: code and tables need them.
    """
    text = text.replace("\u00a0", " ")  # nearly all that is not plain is this
    if not _is_plain(text):
        text = _SPACE.sub(" ", normalise_characters(text))
    elif not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _trim(text)


def _is_plain(text: str) -> bool:
    """Whether a text is of printable characters, plain spaces, tabs and line feeds alone."""
    rest = text.encode("utf-8", "surrogatepass").translate(None, _PRINTABLE)
    return not rest or rest.decode("utf-8", "surrogatepass").isprintable()


def normalise_characters(text: str) -> str:
    """NFC without control and invisible characters; every line break is a line feed."""
    if not _is_plain(text) and _ODD.search(text):
        text = _INVISIBLE.sub("", _CONTROL.sub("", _BREAK.sub("\n", text)))
    return unicodedata.normalize("NFC", text)


def normalise_whitespace(text: str) -> str:
    """Plain spaces, none at a line's end, at most one blank line, none around the text."""
    return _trim(text if text.isascii() else _SPACE.sub(" ", text))


def _trim(text: str) -> str:
    if "\n" not in text:
        return text.strip()
    lines = text.split("\n")
    if lines != list(map(str.rstrip, lines)):
        text = _TRAILING.sub("\n", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip()
