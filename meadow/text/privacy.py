"""Personal data in free text: found by linear patterns, replaced by typed placeholders, counted.

Attribution lives in columns; this module sees only the texts of a record. A batch of texts is
screened by polars first, which makes the common row nearly free. Numbers that
are doses, values, ICD codes, DOIs or PMIDs stay: a number goes only with a cue beside it or in a
form that nothing else has. Toll-free numbers are those of hotlines and stay. Names are looked for
where people greet and sign; others may remain, and the card says so. Values are never logged or
kept, only counts per kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from meadow.text.privacy_rules import RULES

_MOST_ROUNDS = 8
"""Findings without a space between them; more than this is no text that anybody wrote."""
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
    column = pl.Series(list(dict.fromkeys(texts)), dtype=pl.String)
    # one search for all rules costs little more than one for a single rule
    marked = set(column.filter(column.str.contains(_screen_of_all())))
    return [each in marked for each in texts]


_NUMBER = r"\d[ .()-]{0,2}\d[ .()-]{0,2}\d[ .()-]{0,2}\d"


@cache
def _screen_of_all() -> str:
    return "|".join([_FOLDED, *(screen(rule.pattern.pattern) for rule in RULES)])


def screen(pattern: str) -> str:
    """A pattern as polars can search for it: it matches wherever the pattern does.

    That engine knows no look-around, other word characters and white space than Python, and pays
    for every bound: assertions go and bounds open, so that it also matches some texts that the
    pattern does not. `(?m:` is what the one pattern with `^` is compiled with.
    """
    pattern = pattern.replace("(?P<found>", "(")  # a name stands for one group alone
    out: list[str] = []
    in_class = False
    position = 0
    while position < len(pattern):
        if not in_class and _ASSERTION.match(pattern, position):
            position = _end_of_group(pattern, position)
            continue
        part = pattern[position : position + 1 + (pattern[position] == "\\")]
        position += len(part)
        if part == "[" and not in_class:
            in_class = True
        elif part == "]":
            in_class = False
        elif part in _OTHER_CLASSES:
            part = _OTHER_CLASSES[part] if in_class else f"[{_OTHER_CLASSES[part]}]"
        elif part == r"\b" and not in_class:
            continue
        elif part == "{" and not in_class and (bound := _BOUND.match(pattern, position)):
            part = {"0": "*", "1": "+"}.get(bound[1], f"{{{bound[1]},}}")
            position = bound.end()
        out.append(part)
    return f"(?m:{''.join(out)})"


_ASSERTION = re.compile(r"\(\?<?[=!]")
_BOUND = re.compile(r"(\d+),\d\d+\}")
"""A bound of two digits: smaller ones are worth their price."""
_OTHER_CLASSES = {r"\w": r"\w\p{N}", r"\s": r"\s\x1c-\x1f"}


def _end_of_group(pattern: str, position: int) -> int:
    """Where the group that begins there ends."""
    depth = 0
    for part in re.finditer(r"\\.|\[(?:\\.|[^\]\\])*\]|[()]", pattern[position:]):
        depth += {"(": 1, ")": -1}.get(part[0], 0)
        if not depth:
            return position + part.end()
    raise ValueError(f"no end of the group at {position}: {pattern}")


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
    numbered = re.search(_NUMBER, text) is not None
    for rule in RULES:
        if rule.number and not numbered:
            continue
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
