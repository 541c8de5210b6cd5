"""Personal data in free text: found by linear patterns, replaced by typed placeholders, counted.

Attribution lives in columns; this module sees only the texts of a record. Each pattern stands
behind a cheap test (is there an `@` at all?), which makes the common row nearly free. Numbers that
are doses, values, ICD codes, DOIs or PMIDs stay: a number goes only with a cue beside it or in a
form that nothing else has. Toll-free numbers are those of hotlines and stay. Names are looked for
where people greet and sign; others may remain, and the card says so. Values are never logged or
kept, only counts per kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from meadow.text.privacy_rules import RULES, Rule

if TYPE_CHECKING:
    import polars as pl


_MOST_ROUNDS = 8
"""Findings without a space between them; more than this is no text that anybody wrote."""
_RUNS = (
    # written out, since a repeated group costs several times as much
    (7, re.compile(r"\d" + r"[ .()-]{0,2}\d" * 6)),
    (4, re.compile(r"\d" + r"[ .-]?\d" * 3)),
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,500}`", re.DOTALL)


_FEWEST_SCREENED = 32
"""Fewer texts are not worth the detour."""
_FOLDED = "[ıİ]"
"""Letters that Python takes for an i where case is ignored, and polars does not."""


def suspects(texts: Sequence[str]) -> Sequence[bool]:
    """For each text whether `scrub` could change it; False is certain, True is not.

    Args:
        texts: Without lone surrogates.
    """
    if len(texts) < _FEWEST_SCREENED:
        return [True] * len(texts)
    import polars as pl

    # instructions are all the same, and many answers share a question
    distinct = dict.fromkeys(texts)
    text = pl.col("text")
    frame = pl.DataFrame({"text": pl.Series(list(distinct), dtype=pl.String)}).with_columns(
        found=_any_of(_PLAIN_SCREENS), number=text.str.contains(_NUMBER)
    )
    # most texts hold no number of four digits, and half of the rules need one
    numbered = frame.filter("number").filter(_any_of(_NUMBER_SCREENS))
    marked = {*frame.filter("found")["text"], *numbered["text"]}
    return [each in marked for each in texts]


def _any_of(screens: Sequence[str]) -> pl.Expr:
    import polars as pl

    return pl.any_horizontal([pl.col("text").str.contains(screen) for screen in screens])


_NUMBER = r"\d[ .()-]{0,2}\d[ .()-]{0,2}\d[ .()-]{0,2}\d"
_PLAIN_SCREENS = (_FOLDED, *dict.fromkeys(rule.screen for rule in RULES if not rule.digits))
_NUMBER_SCREENS = tuple(dict.fromkeys(rule.screen for rule in RULES if rule.digits))


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """The text with placeholders for personal data, and how many of each kind.

    Idempotent; a text without findings comes back as the same object.
    """
    counts: Counter[str] = Counter()
    for _ in range(_MOST_ROUNDS):
        # a placeholder can free its neighbour, so a text with findings is looked at again
        scrubbed = _scrub_once(text, counts)
        if scrubbed is text:
            break
        text = scrubbed
    return text, dict(counts)


def _scrub_once(text: str, counts: Counter[str]) -> str:
    for rule in _suspected(text):
        code = [] if rule.in_code or "`" not in text else [m.span() for m in _CODE.finditer(text)]
        pieces: list[str] = []
        position = 0
        for match in rule.pattern.finditer(text):
            if rule.keeps(match) or any(start <= match.start() < end for start, end in code):
                continue
            start, end = match.span("found" if "found" in rule.pattern.groupindex else 0)
            pieces += (text[position:start], rule.kind.placeholder)
            position = end
            counts[rule.kind.value] += 1
        if pieces:
            text = "".join((*pieces, text[position:]))
    return text


def _suspected(text: str) -> Iterator[Rule]:
    """The rules that can find anything, by cheap tests on the text as it came."""
    # the line feed lets a cue ask for the beginning of a line
    lower = f"\n{text.lower()}"
    most = next((least for least, run in _RUNS if run.search(text)), 0)
    for rule in RULES:
        if rule.digits > most:
            continue
        if _any_in(lower, rule.words) and _any_in(lower, rule.cues):
            yield rule


def _any_in(text: str, needles: tuple[str, ...]) -> bool:
    """Whether one of the needles stands in the text; where there are none, nothing is asked."""
    for needle in needles:  # a loop: any() with a generator costs twice as much
        if needle in text:
            return True
    return not needles
