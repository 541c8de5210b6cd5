"""Raised and lowered text, and MathML, as characters that cannot be read as another number.

10 with a raised 6 is 10⁶, and never 106. Where every character has a raised or lowered sign in
Unicode those are taken, else the text stands in brackets behind `^` or `_`: 10^(5.5), D_(L)CO. The
brackets always stand, since "e^xy" would put more under the exponent than the author did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turbohtml import Element

_RAISED = str.maketrans("0123456789+−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")
_LOWERED = str.maketrans("0123456789+−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
# hyphens, figure dash and en dash before a value, alone, or between a letter and a value
_MINUS = re.compile(r"(?<!\d)[-‐‑‒–]|[-‐‑‒–](?!\d)|(?<=\d)-(?=\d)")
_STAYS = re.compile(
    r"(?:st|nd|rd|th|tm|sm|[™®©°º′″'’])\Z"  # ordinals, and what is raised as it is
    r"|(?:\[[^][]*\]|\[\[[^][]*\]\])(?:\(\S*\))?\Z"  # a citation mark
    r"|[⁰¹²³⁴-⁹⁺-ⁿ₀-₎]+\Z",  # raised or lowered already
    re.IGNORECASE,
)


def raised(text: str) -> str:
    """A raised text: 6 as ⁶, 5.5 as ^(5.5); white space at its ends stays outside.

    >>> raised("-3"), raised("5.5"), raised("kt"), raised("th"), raised("[1]"), raised("[[1]](http://x.org)")
    ('⁻³', '^(5.5)', '^(kt)', 'th', '[1]', '[[1]](http://x.org)')
    """
    return _shifted(text, "^", _RAISED)


def lowered(text: str) -> str:
    """A lowered text: 2 as ₂, L as _(L); white space at its ends stays outside.

    >>> lowered("2"), lowered("i+1")
    ('₂', '_(i+1)')
    """
    return _shifted(text, "_", _LOWERED)


def _shifted(text: str, mark: str, signs: dict[int, int]) -> str:
    inner = text.strip()
    if not inner or _STAYS.match(inner):
        return text
    inner = _MINUS.sub("−", inner)
    if all(ord(character) in signs for character in inner):
        shifted = inner.translate(signs)
    else:
        shifted = f"{mark}({' '.join(inner.split()).replace('−', '-')})"
    start = len(text) - len(text.lstrip())
    return f"{text[:start]}{shifted}{text[len(text.rstrip()) :]}"


def spelled(text: str, mark: str, *, joined: bool) -> str:
    """Raised (`^`) or lowered (`_`) text in code, which has no signs of its own for it.

    Args:
        text: What is raised or lowered.
        mark: "^" or "_".
        joined: Whether a letter or digit follows at once.

    >>> spelled("6", "^", joined=False), spelled("6", "^", joined=True)
    ('^6', '^(6)')
    """
    inner = text.strip()
    if not inner or _STAYS.match(inner):
        return text
    return f"{mark}{inner}" if inner.isdigit() and not joined else f"{mark}({inner})"


class MathError(ValueError):
    """A formula holds what has no linear form; the message names it."""


def formula(math: Element) -> str:
    """A `<math>` element as TeX where it carries some, else in one line: 1/2, 10⁶, √(a+b).

    Raises:
        MathError: There is no TeX and no linear form; it must not be guessed at.
    """
    notes = [
        note.text for note in math.find_all("annotation") if "tex" in (note.attr("encoding") or "")
    ]
    tex = next(filter(None, map(str.strip, (*notes, math.attr("alttext") or ""))), "")
    if tex:
        tex = re.sub(r"\A\{\\(?:display|text|script)style\s*(.*)\}\Z", r"\1", tex, flags=re.DOTALL)
        tex = " ".join(tex.strip().strip("$").split())
        return f"${tex}$" if re.search(r"[\\^_{]", tex) else tex
    return _linear(math).strip()


# Signs that are not seen: what stands on both sides of them must not run together.
_UNSEEN = {"\u2061": " ", "\u2062": "·", "\u2063": ",", "\u2064": "+"}
_ACCENTS = {
    "¯": "\u0304",
    "‾": "\u0304",
    "^": "\u0302",
    "ˆ": "\u0302",
    "˙": "\u0307",
    "~": "\u0303",
}
_ROWS = frozenset({"math", "mrow", "mstyle", "mpadded", "mtd", "merror", "menclose"})
_TOKENS = frozenset({"mi", "mn", "mo", "mtext", "ms"})


def _linear(element: Element) -> str:
    """One element of MathML in one line."""
    tag = element.tag
    if tag in _TOKENS:
        text = " ".join(element.text.split())
        return _UNSEEN.get(text, text)
    if tag == "menclose" and (element.attr("notation") or "longdiv") not in {"box", "circle"}:
        raise MathError(f"<menclose notation={element.attr('notation')!r}>")
    parts = _elements(element)
    if tag in _ROWS:
        return _row(parts)
    if tag == "mspace":
        return " "
    if tag in {"mphantom", "none", "annotation", "annotation-xml"}:
        return ""
    if tag in {"semantics", "maction"}:
        return _linear(parts[0]) if parts else ""
    if tag == "msqrt":
        return f"√({_row(parts)})"
    if tag == "mtable":
        rows = [", ".join(_linear(cell) for cell in _elements(row)) for row in parts]
        return f"[{'; '.join(rows)}]"
    if tag == "mfenced":
        inside = (element.attr("separators") or ",")[0].join(map(_linear, parts))
        return f"{element.attr('open') or '('}{inside}{element.attr('close') or ')'}"
    if tag == "mmultiscripts":
        return _multiscripts(parts)
    shape = _SHAPES.get(tag)
    if shape is None or len(parts) != shape[0]:
        raise MathError(f"<{tag}> with {len(parts)} parts")
    return shape[1]([_linear(part) for part in parts])


def _elements(element: Element) -> list[Element]:
    import turbohtml

    return [child for child in element.children if isinstance(child, turbohtml.Element)]


def _row(parts: Sequence[Element]) -> str:
    text = ""
    for part in parts:
        next_part = _linear(part)
        if part.tag == "mfrac" and text[-1:].isalpha():
            next_part = f"({next_part})"
        # two numbers, or two words, side by side are two
        both = text[-1:] + next_part[:1]
        if len(both) == 2 and (both.isdigit() or (part.tag == "mtext" and both.isalnum())):
            text += " "
        text += next_part
    return text


def _grouped(text: str) -> str:
    """The text, in brackets where more than one thing stands in it."""
    return text if re.fullmatch(r"[0-9][0-9.,]*|\([^()]*\)|\S", text) else f"({text})"


def _accented(base: str, over: str) -> str:
    accent = _ACCENTS.get(over)
    return base + accent if accent and len(base) == 1 else _grouped(base) + raised(over)


def _multiscripts(parts: Sequence[Element]) -> str:
    base, *scripts = parts
    before = next((at for at, part in enumerate(scripts) if part.tag == "mprescripts"), None)
    after, first = (scripts, []) if before is None else (scripts[:before], scripts[before + 1 :])
    if len(after) % 2 or len(first) % 2:
        raise MathError("<mmultiscripts> with half a pair")

    def pairs(found: Sequence[Element]) -> str:
        shifts = (lowered, raised)
        return "".join(shifts[at % 2](_linear(part)) for at, part in enumerate(found))

    return pairs(first) + _grouped(_linear(base)) + pairs(after)


_SHAPES: dict[str, tuple[int, Callable[[Sequence[str]], str]]] = {
    "mfrac": (2, lambda p: f"{_grouped(p[0])}/{_grouped(p[1])}"),
    "mroot": (2, lambda p: f"{raised(p[1])}√({p[0]})"),
    "msup": (2, lambda p: _grouped(p[0]) + raised(p[1])),
    "msub": (2, lambda p: _grouped(p[0]) + lowered(p[1])),
    "msubsup": (3, lambda p: _grouped(p[0]) + lowered(p[1]) + raised(p[2])),
    "mover": (2, lambda p: _accented(p[0], p[1])),
    "munder": (2, lambda p: _grouped(p[0]) + lowered(p[1])),
    "munderover": (3, lambda p: _grouped(p[0]) + lowered(p[1]) + raised(p[2])),
}
