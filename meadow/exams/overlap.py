"""What one training row holds of one exam item, word by word; see `meadow.exams.contamination`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

RUN_WORDS = 4
"""Words of the shortest run that two texts have in common by more than chance."""
NGRAM_WORDS = 8
LONG_NGRAM_WORDS = 13
STEM_SHARE = 0.2
ALIGNED_SHARE = 0.5
"""Different cases of MedQA share less than half of their words in runs (0.48 at most in 1,273 items
against 6,724 rows); one whose every fifth word was replaced keeps more (0.61 in 95 of 100)."""
LEAST_ALIGNED = 12
"""Words that have to align: half of a short question is a phrase that any text may have."""
NEAR_DUPLICATE = 0.7
SEMANTIC_THRESHOLD = 0.8
"""Cosine from which embeddings of all-MiniLM-L6-v2 are a rewording; another model has another."""
_FRAME_WORDS = """
a an and the this that these those of in for to at by on with is are was were be been would will
should which what who how following most more best next likely probable appropriate patient
patient's patients her his their s condition presentation case diagnosis differential cause
underlying explanation step initial first management treatment therapy test diagnostic finding
findings symptoms order perform done expected associated regarding answer choose one
"""
FRAME = frozenset(_FRAME_WORDS.split())
"""Words of which a question about nothing in particular is made."""
_STORY_WORDS = """
year years month months week weeks day days hour hours old ago man woman boy girl male female he she
has had no not or from after because due comes brought presents physician doctor emergency
department office room clinic hospital history evaluation
"""
STORY = FRAME | frozenset(_STORY_WORDS.split())
"""Words of which the beginning of any case is made."""


class Level(StrEnum):
    """How much of an exam item a training row holds; in alphabetical order, the worst last."""

    NONE = "none"
    OPTIONS = "options"
    SEMANTIC = "semantic"
    STEM = "stem"
    STEM_AND_ANSWER = "stem+answer"


FOUND = tuple(level.value for level in Level if level is not Level.NONE)
"""The levels at which a row holds something of an item."""


class Verdict(NamedTuple):
    """What a row holds of an item: the level, the two shares, and what matched."""

    level: Level
    score: float
    aligned: float
    matched: str


class Stem(NamedTuple):
    """The words of an item: its question, its right answer and that one's label, its options.

    Args:
        words: The words of the question.
        rare: Per run of `RUN_WORDS` words of the question, whether it can tell the item.
        answer: The words of the right answer.
        label: Its label in lower case.
        options: The words of each option.
    """

    words: list[str]
    rare: list[bool]
    answer: list[str]
    label: str
    options: list[list[str]]


def is_frame(text: str) -> bool:
    """Whether a question asks about nothing in particular: its case is somewhere else."""
    return FRAME.issuperset(re.findall(r"[\w']+", text.lower()))


def judge(stem: Stem, fields: list[list[str]]) -> Verdict:
    """What one row holds of one item.

    Args:
        stem: The item.
        fields: The words of the row's instruction, input and output.
    """
    words = stem.words
    framed = FRAME.issuperset(words)
    score, telling, aligned = shares(stem, fields)
    matched = []
    if any(field == words for field in fields) and not framed:
        matched.append("exact")
    elif (len(words) < NGRAM_WORDS or framed) and any(occurrences(words, f) for f in fields):
        lists = _lists_options(stem, fields)
        if lists or (not framed and _answers(stem, fields)):
            matched.append("contained")
    if score > 0 and any(
        _ngrams(words, LONG_NGRAM_WORDS) & _ngrams(f, LONG_NGRAM_WORDS) for f in fields
    ):
        matched.append("13-gram")
    if score > 0:
        matched.append("8-gram")
    # a near duplicate of a long text aligns; in a short one an edit may break every run of eight
    if (
        not framed
        and (aligned > 0 or len(words) < NGRAM_WORDS)
        and any(_similar(words, field) for field in fields)
    ):
        matched.append("near_duplicate")
    if aligned >= ALIGNED_SHARE and round(aligned * len(words)) >= LEAST_ALIGNED:
        matched.append("aligned")
    whole = bool({"exact", "contained", "near_duplicate", "aligned"} & set(matched))
    if len(words) < NGRAM_WORDS or framed:
        score = aligned = float(whole)
    level = Level.NONE
    if whole or telling >= STEM_SHARE:
        level = Level.STEM_AND_ANSWER if _answers(stem, fields) else Level.STEM
    elif _tells(stem.options) and _lists_options(stem, fields):
        level = Level.OPTIONS
        matched.append("options")
    return Verdict(level, score, aligned, "+".join(matched))


def shares(stem: Stem, fields: list[list[str]]) -> tuple[float, float, float]:
    """How much of a stem one field has: three shares, each the highest of any field.

    Returns:
        The share of the stem's 8-grams; of those, the share that can tell the item (an 8-gram of
        stock phrases alone is nobody's); and the share of its words in common telling runs.
    """
    words, rare = stem.words, stem.rare
    size = len(words)
    if size < NGRAM_WORDS:
        return 0.0, 0.0, 0.0
    runs = [tuple(words[i : i + RUN_WORDS]) for i in range(size - RUN_WORDS + 1)]
    own = _ngrams(words, NGRAM_WORDS)
    span = NGRAM_WORDS - RUN_WORDS + 1
    score = telling = aligned = 0.0
    for field in fields:
        there = set(zip(*(field[i:] for i in range(RUN_WORDS)), strict=False))
        shared = [tells and run in there for run, tells in zip(runs, rare, strict=True)]
        if not any(shared):
            continue
        covered, end = 0, 0
        for start in (i for i, hit in enumerate(shared) if hit):
            covered += start + RUN_WORDS - max(start, end)
            end = start + RUN_WORDS
        aligned = max(aligned, covered / size)
        if not (common := own & _ngrams(field, NGRAM_WORDS)):
            continue
        score = max(score, len(common) / len(own))
        tells = {
            tuple(words[i : i + NGRAM_WORDS])
            for i in range(size - NGRAM_WORDS + 1)
            if any(shared[i : i + span])
        }
        telling = max(telling, len(common & tells) / len(own))
    return score, telling, aligned


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


def _tells(options: list[list[str]]) -> bool:
    """Whether options by themselves can only be this item's: three and more, most of them long."""
    long = [option for option in options if len(option) > RUN_WORDS]
    return len(options) > 2 and 2 * len(long) > len(options)


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
