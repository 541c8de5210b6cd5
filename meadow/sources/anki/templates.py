"""Note types and their card templates: what a person sees on the two sides of a card.

A template is HTML with fields (`{{Field}}`), sections for a field that is filled (`{{#Field}}`) or
empty (`{{^Field}}`), and filters before a field's name (`{{cloze:Field}}`). Anki's manual, "Card
Templates", has the rules. Read is what is seen: the box to type an answer into, a hint before it is
asked for, what is only spoken, buttons and scripts are not; deck and tags stand in `meta`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from meadow.schema import Raw
from meadow.sources.anki.cloze import parse_cloze

MAX_DEPTH = 50
"""Deeper sections are refused."""
UNSHOWN = ("FrontSide", "Tags", "Type", "Deck", "Subdeck", "Card", "CardFlag", "CardID")
"""What a template can name besides fields; the front is no part of the answer."""
_MARK = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_UNREAD = re.compile(
    r"<!--.*?-->|<(script|style|button|select|textarea)\b.*?</\1\s*>"
    # pictures of the template are decoration, unless a field names them
    r"|<(?:img|input|link|source)\b(?:(?!\{\{)[^<>])*>",
    re.DOTALL | re.IGNORECASE,
)
_EMPTY = re.compile(r"(?:\s|&nbsp;|</?(?:br|div) ?/?>)*", re.IGNORECASE)


class TemplateError(ValueError):
    """A template that Anki shows as an error."""


@dataclass(frozen=True, slots=True)
class NoteType:
    """A note type: its fields in order, whether it makes cloze cards, (front, back) per card.

    What an export does not say is None, or empty.
    """

    name: str
    fields: tuple[str, ...]
    cloze: bool | None
    templates: tuple[tuple[str, str], ...] = ()

    def note(self, where: str, guid: str, deck: str, tags: list[str], fields: list[str]) -> Raw:
        """A note of this type as the converter takes it."""
        return {
            "_where": where,
            "guid": guid,
            "note_type": self.name,
            "cloze": self.cloze,
            "deck": deck,
            "tags": tags,
            "field_names": list(self.fields),
            "fields": fields,
            "templates": self.templates,
        }


@dataclass(frozen=True, slots=True)
class Field:
    """A place for a field."""

    name: str
    filters: frozenset[str]

    @property
    def seen_later(self) -> bool:
        """Whether the front does not show it: a box to type in, or a hint."""
        return not self.filters.isdisjoint(("type", "hint"))


@dataclass(frozen=True, slots=True)
class Section:
    """Parts that show where a field is filled, or where it is empty."""

    name: str
    filled: bool
    parts: tuple[Part, ...]


Part: TypeAlias = "str | Field | Section"


@lru_cache(maxsize=256)
def parse_template(source: str) -> tuple[Part, ...]:
    """The parts of one side; a `TemplateError` where a section is open or closes none."""
    pieces = _MARK.split(_UNREAD.sub("", source))
    levels: list[tuple[str, list[Part]]] = [("", [pieces[0]])]
    for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
        mark = mark.strip(" {\r\n\t")
        name = mark[1:].strip()
        if mark.startswith(("#", "^")):
            levels.append((mark, []))
        elif mark.startswith("/"):
            opened, parts = levels.pop()
            if not levels or opened[1:].strip() != name:
                raise TemplateError(f"{{{{/{name}}}}} closes no section")
            levels[-1][1].append(Section(name, opened[0] == "#", tuple(parts)))
        else:
            *filters, name = (part.strip() for part in mark.split(":"))
            # {{tts en_US voices=...:Field}}
            words = frozenset(each.split(" ")[0] for each in filters)
            levels[-1][1].append(Field(name, words))
        levels[-1][1].append(text)
        if len(levels) > MAX_DEPTH:
            raise TemplateError(f"sections more than {MAX_DEPTH} deep")
    if len(levels) > 1:
        raise TemplateError(f"{{{{{levels[-1][0]}}}}} is not closed")
    return tuple(levels[0][1])


def is_empty(html: str) -> bool:
    """Whether Anki takes a field for one that was not filled."""
    return _EMPTY.fullmatch(html) is not None


def fields_of(parts: Sequence[Part]) -> Iterator[Field]:
    """Every place for a field, in order, whatever sections it stands in."""
    for part in parts:
        if isinstance(part, Field) and part.name not in UNSHOWN:
            yield part
        elif isinstance(part, Section):
            yield from fields_of(part.parts)


@dataclass(slots=True)
class Side:
    """A side of a card on its way to HTML.

    Args:
        values: Field, or another name that sections can ask for -> its HTML.
        number: The card, from 1; in a cloze note the number of the deletions that it hides.
        is_front: Whether it asks.
        filled: Set where a field that is not empty was put in.
        left_out: Set where a hint was.
    """

    values: Mapping[str, str]
    number: int
    is_front: bool
    filled: bool = False
    left_out: bool = False

    def render(self, parts: Sequence[Part]) -> str:
        """The HTML; a `TemplateError` where the note type has no such field."""
        return "".join(map(self._part, parts))

    def _part(self, part: Part) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Section):
            value = self.values.get(part.name)
            if value is None and re.fullmatch(r"c\d+", part.name):
                value = "x" if part.name == f"c{self.number}" else ""
            is_filled = not is_empty(self._known(part.name, value))
            return self.render(part.parts) if is_filled is part.filled else ""
        if part.name in UNSHOWN or "tts" in part.filters:
            return ""
        text = self._known(part.name, self.values.get(part.name))
        if not part.filters.isdisjoint(("cloze", "cloze-only")):
            clozes = parse_cloze(text)
            if self.number not in clozes.numbers:
                return ""
            text = clozes.question(self.number if self.is_front else 0)
        if self.is_front and part.seen_later:
            self.left_out |= "hint" in part.filters and not is_empty(text)
            return ""
        self.filled |= not is_empty(text)
        return text

    def _known(self, name: str, value: str | None) -> str:
        if value is None:
            raise TemplateError(f"the template names a field {name!r} that the note has not")
        return value
