"""HTML of known words in any nesting: what is shown is in the text, in order, and no more."""

from __future__ import annotations

import random
import re
from pathlib import Path

from support.fuzz.kinds import html_mutants

BLOCKS = (
    *("p", "div", "blockquote", "section", "article", "h1", "h2", "h6", "pre", "center", "main"),
    *("aside", "ul", "ol", "dl", "table", "figure", "details", "form", "fieldset", "address"),
    "nav",
)
INLINE = (
    *("b", "strong", "i", "em", "u", "s", "del", "code", "kbd", "span", "font", "sup", "sub", "a"),
    *("q", "small", "mark", "abbr", "cite", "var", "samp", "tt", "ins", "big", "unknown-tag"),
    *("label", "bdo"),
)
HIDDEN = ("script", "style")
ATTRIBUTES = (
    *("", "", ' class="x"', " id=y onclick=alert(1)", ' href="http://x.org/a b(c"'),
    *(" href=javascript:a", ' style="display:none"', " title='a>b'", ' href="//x"', " a=1 a=2"),
    *(' href=""', ' start="x"'),
)


def make(index: int) -> bytes:
    """A tree of elements; now and then one is not closed, or closed twice."""
    chance = random.Random(f"html_pages {index}")
    numbers = iter(range(10_000))
    return _block(chance, numbers, chance.randint(0, 7)).encode()


def _block(chance: random.Random, numbers: object, depth: int) -> str:
    out = []
    for _ in range(chance.randint(1, 4)):
        how = chance.random()
        if how < 0.12:
            name = chance.choice(HIDDEN)
            out.append(f"<{name}>hid{next(numbers)}q</{name}>")  # type: ignore[call-overload]
        elif how < 0.18:
            out.append(f"<!-- hid{next(numbers)}q -->")  # type: ignore[call-overload]
        elif how < 0.55 or depth <= 0:
            out.append(_inline(chance, numbers, depth))
        else:
            out.append(_element(chance, numbers, depth))
    return chance.choice(("", " ", "\n")).join(out)


def _element(chance: random.Random, numbers: object, depth: int) -> str:
    name, attributes = chance.choice(BLOCKS), chance.choice(ATTRIBUTES)
    # what an open table is followed by goes before it, as the standard has it
    end = (
        f"</{name}>"
        if name == "table" or chance.random() < 0.95
        else chance.choice(("", f"</{name}></{name}>"))
    )
    inner = [_block(chance, numbers, depth - 1) for _ in range(chance.randint(1, 3))]
    if name in {"ul", "ol"}:
        body = "".join(f"<li>{item}" + chance.choice(("", "</li>")) for item in inner)
    elif name == "dl":
        body = "".join(f"<dt>t</dt><dd>{item}</dd>" for item in inner)
    elif name == "table":
        cells = "".join(f"<td>{_inline(chance, numbers, 1)}</td>" for _ in inner)
        body = f"<tr>{cells}</tr>" * 1
    else:
        body = inner[0]
    return f"<{name}{attributes}>{body}{end}"


def _inline(chance: random.Random, numbers: object, depth: int) -> str:
    word = f"vis{next(numbers)}q"  # type: ignore[call-overload]
    text = chance.choice(
        (word, f" {word} ", f"{word} &lt;b&gt; &amp; 5 < 6", f"{word}&nbsp;", f"`{word}")
    )
    for _ in range(chance.randint(0, min(3, depth + 1))):
        name = chance.choice(INLINE)
        text = f"<{name}{chance.choice(ATTRIBUTES)}>{text}</{name}>"
    return text + chance.choice(("", "<br>", "<img src=x alt=hid0q>", "<hr>"))


def check(data: bytes, folder: Path) -> str:
    """The laws of any HTML, and no word lost, moved or shown that should not be."""
    outcome = html_mutants.check(data, folder)
    text = html_mutants.rendered(data.decode())
    if text is None:
        return outcome
    wanted = re.findall(r"vis\d+q", data.decode())
    assert re.findall(r"vis\d+q", text) == wanted, (wanted, text)
    assert not re.search(r"hid\d+q", text), text
    return outcome
