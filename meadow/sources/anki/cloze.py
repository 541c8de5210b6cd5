"""Cloze deletions: `{{c1::text}}`, `{{c1::text::hint}}`, nested ones, and one for several cards.

A field is parsed once into a tree; each number of the tree is one question (that number blanked,
every other one shown) with its answer (what was blanked).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_DEPTH = 8
"""Deeper nesting is left as text, as Anki does."""
BLANK = "..."
_TOKEN = re.compile(r"\{\{c(\d{1,4}(?:,\d{1,4})*)::|\}\}")


@dataclass(slots=True)
class Cloze:
    """A deletion.

    Args:
        numbers: The cards that blank it.
        opening: The text that opened it, for the case that nothing closes it.
        parts: Text and deletions inside.
        hint: What is shown in place of the text; "" for none.
    """

    numbers: frozenset[int]
    opening: str
    parts: list[str | Cloze] = field(default_factory=list)
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ClozeText:
    """A parsed field: its parts and the numbers of its deletions, ascending."""

    parts: tuple[str | Cloze, ...]
    numbers: tuple[int, ...]

    def question(self, number: int) -> str:
        """The text with the deletions of that number as `[...]` or `[hint]`."""
        return "".join(_question(part, number) for part in self.parts)

    def answers(self, number: int) -> list[str]:
        """What the deletions of that number hide, in order, each text once."""
        found: list[str] = []
        for part in self.parts:
            _collect(part, number, found)
        return list(dict.fromkeys(found))


def parse_cloze(text: str) -> ClozeText:
    """Parse a field; a text without deletions has no numbers."""
    root = Cloze(frozenset(), "")
    open_clozes = [root]
    numbers: set[int] = set()
    position = 0
    for token in _TOKEN.finditer(text):
        _add_text(open_clozes, text[position : token.start()])
        position = token.end()
        if token[1] and len(open_clozes) <= MAX_DEPTH:
            ordinals = frozenset(int(number) for number in token[1].split(","))
            open_clozes.append(Cloze(ordinals, token[0]))
        elif not token[1] and len(open_clozes) > 1:
            closed = open_clozes.pop()
            numbers |= closed.numbers
            open_clozes[-1].parts.append(closed)
        else:
            open_clozes[-1].parts.append(token[0])
    _add_text(open_clozes, text[position:])
    while len(open_clozes) > 1:
        unclosed = open_clozes.pop()
        hint = [f"::{unclosed.hint}"] if unclosed.hint else []
        open_clozes[-1].parts += [unclosed.opening, *unclosed.parts, *hint]
    return ClozeText(tuple(root.parts), tuple(sorted(numbers - {0})))


def _add_text(open_clozes: list[Cloze], text: str) -> None:
    current = open_clozes[-1]
    if len(open_clozes) > 1 and "::" in text:
        text, _, current.hint = text.partition("::")
    if text:
        current.parts.append(text)


def _shown(part: str | Cloze) -> str:
    return part if isinstance(part, str) else "".join(map(_shown, part.parts))


def _question(part: str | Cloze, number: int) -> str:
    if isinstance(part, str):
        return part
    if number in part.numbers:
        return f"[{part.hint.strip() or BLANK}]"
    return "".join(_question(inner, number) for inner in part.parts)


def _collect(part: str | Cloze, number: int, found: list[str]) -> None:
    if isinstance(part, str):
        return
    if number in part.numbers:
        found.append(_shown(part))
        return
    for inner in part.parts:
        _collect(inner, number, found)
