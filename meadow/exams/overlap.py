"""What one training row holds of one exam item, word by word; see `meadow.exams.contamination`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NGRAM_WORDS = 8
LONG_NGRAM_WORDS = 13
STEM_SHARE = 0.2
NEAR_DUPLICATE = 0.7


class Level(StrEnum):
    """How much of an exam item a training row holds."""

    NONE = "none"
    STEM = "stem"
    STEM_AND_ANSWER = "stem+answer"


class Verdict(NamedTuple):
    """What a row holds of an item: the level, the score, and what was found."""

    level: Level
    score: float
    matched: str


class Stem(NamedTuple):
    """The words of an item: its question, its right answer and that one's label, its options."""

    words: list[str]
    answer: list[str]
    label: str
    options: list[list[str]]


def judge(stem: Stem, fields: list[list[str]], score: float) -> Verdict:
    """What one row holds of one item.

    Args:
        stem: The item.
        fields: The words of the row's instruction, input and output.
        score: The share of the item's 8-grams that the row has.
    """
    words = stem.words
    found = []
    if any(field == words for field in fields):
        found.append("exact")
    elif len(words) < NGRAM_WORDS:
        inside = any(occurrences(words, field) for field in fields)
        if inside and (_answers(stem, fields) or _lists_options(stem, fields)):
            found.append("contained")
    if any(_ngrams(words, LONG_NGRAM_WORDS) & _ngrams(f, LONG_NGRAM_WORDS) for f in fields):
        found.append("13-gram")
    if len(words) >= NGRAM_WORDS and score > 0:
        found.append("8-gram")
    if any(_similar(words, field) for field in fields):
        found.append("near_duplicate")
    if len(words) < NGRAM_WORDS:
        score = 1.0 if {"exact", "contained"} & set(found) else 0.0
    is_stem = score >= STEM_SHARE or bool({"exact", "contained", "near_duplicate"} & set(found))
    level = Level.NONE
    if is_stem:
        level = Level.STEM_AND_ANSWER if _answers(stem, fields) else Level.STEM
    return Verdict(level, score, "+".join(found))


def _answers(stem: Stem, fields: list[list[str]]) -> bool:
    """Whether the output gives the right answer: its text, or its letter among listed options."""
    _, given, output = fields
    if not stem.answer:  # signs only, such as arrows: there is no word to look for
        return bool(stem.label) and output[:1] == [stem.label]
    own = 0
    if _ngrams(stem.words, NGRAM_WORDS) & _ngrams(output, NGRAM_WORDS):
        own = occurrences(stem.answer, stem.words)
    if occurrences(stem.answer, output) > own:
        return True
    return len(output) == 1 and any(
        occurrences([output[0], *stem.answer], field) for field in (fields[0], given)
    )


def _lists_options(stem: Stem, fields: list[list[str]]) -> bool:
    options = [option for option in stem.options if option]
    return bool(options) and all(
        any(occurrences(option, field) for field in fields) for option in options
    )


def occurrences(words: list[str], text: list[str]) -> int:
    """How often a sequence of words stands in a text."""
    size = len(words)
    first = words[0] if words else ""
    return (
        sum(text[i] == first and text[i : i + size] == words for i in range(len(text) - size + 1))
        if words
        else 0
    )


def _ngrams(words: list[str], size: int) -> set[tuple[str, ...]]:
    """The word n-grams of a text; none where it has fewer words."""
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def _similar(words: list[str], field: list[str]) -> bool:
    """Whether the Jaccard similarity of the word 3-grams is at least `NEAR_DUPLICATE`."""
    if min(len(words), len(field)) < NEAR_DUPLICATE / 2 * max(len(words), len(field)):
        return False
    left, right = _ngrams(words, 3), _ngrams(field, 3)
    return bool(left) and len(left & right) >= NEAR_DUPLICATE * len(left | right)
