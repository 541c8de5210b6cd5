"""Texts with columns in them: `{Frage}`, `{context.title}`, `{note|comment}`, `{note|}`.

A name in braces is a column of the raw row, or the way into one (`context.title`, `answers.0`);
behind a bar stands what is taken where the first is missing, and a bar with nothing behind it makes
a field optional. `{{` and `}}` are braces. That is all: there are no expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class MissingField(Exception):
    """A field that a text needs is not in the row."""


@dataclass(frozen=True, slots=True)
class Field:
    """One pair of braces: the ways to a value, the first of which is taken that leads anywhere.

    Args:
        ways: Names of columns, or ways into them.
        optional: Whether the row may have none of them.
    """

    ways: tuple[str, ...]
    optional: bool

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value as it stands in the row; None where an optional field is missing.

        Raises:
            MissingField: The row has none of the ways.
        """
        for way in self.ways:
            if (found := look_up(row, way)) is not None:
                return found
        if self.optional:
            return None
        raise MissingField(" or ".join(map(repr, self.ways)))


@dataclass(frozen=True, slots=True)
class Template:
    """A text with fields, taken apart."""

    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields in it, in order."""
        return tuple(part for part in self.parts if isinstance(part, Field))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text with the row's values in it.

        Raises:
            MissingField: A field that is not optional is missing.
        """
        return "".join(
            part if isinstance(part, str) else as_text(part.value(row)) for part in self.parts
        )

    def value(self, row: Mapping[str, Any]) -> Any:
        """The text; of a single field the value itself, a number as a number."""
        if len(self.parts) == 1 and isinstance(part := self.parts[0], Field):
            return part.value(row)
        return self.render(row)


def parse(text: str) -> Template:
    """A template taken apart.

    >>> parse("{frage}: {{x}}").parts
    (Field(ways=('frage',), optional=False), ': {x}')

    Raises:
        ValueError: A brace is open, or a field has no name.
    """
    parts: list[str | Field] = []

    def add(more: str) -> None:
        if parts and isinstance(last := parts[-1], str):
            parts[-1] = last + more
        elif more:
            parts.append(more)

    end = 0
    for match in _PARTS.finditer(text):
        add(text[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            add(match[0][0])
        elif match[1] is None:
            raise ValueError(f"a single {match[0]!r} at character {match.start()}: double it")
        else:
            ways = [way.strip() for way in match[1].split("|")]
            optional = len(ways) > 1 and not ways[-1]
            if not all(ways := ways[:-1] if optional else ways):
                raise ValueError(f"{match[0]!r} names no column")
            parts.append(Field(tuple(ways), optional))
    add(text[end:])
    return Template(tuple(parts))


def look_up(row: Mapping[str, Any], way: str) -> Any:
    """The value that a way leads to; None where it leads nowhere.

    A column goes first whose whole name it is, so that a column may have a full stop in its name.
    """
    if way in row:
        found = row[way]
    else:
        found = row
        for part in way.split("."):
            if isinstance(found, Mapping):
                found = found.get(part)
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                return None
    # pandas writes a missing value as one that is no number
    return None if found != found else found


def as_text(value: Any) -> str:
    """A value as text: a list's items on lines of their own, a table's as `name: value`."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {as_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "\n".join(map(as_text, value))
    return str(value)


def as_json(value: Any) -> Any:
    """A value as JSON has it: a date, or a number that is none, as text; Parquet has both."""
    if isinstance(value, Mapping):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(as_json, value))
    plain = isinstance(value, float) and isfinite(value)
    return value if plain or isinstance(value, str | int | None) else as_text(value)


def heads(way: str) -> Iterator[str]:
    """The columns that a way may begin at: its whole name, and its first part."""
    yield way
    if "." in way:
        yield way.partition(".")[0]
