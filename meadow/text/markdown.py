"""Any text as a part of Markdown in which it is text: what a corpus says never becomes markup."""

from __future__ import annotations

import re


class Markdown(str):
    """Markdown of our own: every other text is escaped where it goes into a table."""

    __slots__ = ()


_PLAIN = re.compile(r"[\w .,:;()+%-]*")


def number_of(count: int, what: str) -> str:
    """A count with its noun, in one or many.

    >>> number_of(1, "row"), number_of(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def escape_cell(text: str) -> str:
    """Text as a Markdown table cell: nothing in it is markup."""
    flat = " ".join(text.split())
    return re.sub(r"([\\|<>\[\]*_{}#!`~&])", r"\\\1", flat)


def fenced(text: str, language: str = "") -> str:
    """Text as a block of code: no run of backticks in it ends the block."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain_cell(text: str) -> str:
    """As `escape_cell`, but names stay as they are: an underscore inside one marks nothing."""
    if isinstance(text, Markdown) or _PLAIN.fullmatch(text):
        return " ".join(text.split())
    return escape_cell(text)
