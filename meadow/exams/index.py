"""Exam items as the search for contamination needs them: their n-grams, and who has which."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from meadow.exams.overlap import FRAME, LONG_NGRAM_WORDS, NGRAM_WORDS, RUN_WORDS, STORY, Stem
from meadow.text.ngrams import (
    Hashes,
    Integers,
    Ragged,
    distinct,
    gather,
    ngram_hashes,
    offsets_of,
    sorted_distinct,
    word_hashes,
    word_lists,
)

if TYPE_CHECKING:
    from meadow.exams.items import ExamItem

SHORTEST_CONTAINED = 4
"""Stems of fewer words count only where they are a whole field."""
COMMON_ITEMS = 16
"""Stems that share a run above which it counts as a stock phrase."""
LEAST_SHARE = 0.1
"""Telling runs that a row must share, as a part of the stem's words: half of the words in runs of
four are an eighth of them at least."""


@dataclass(frozen=True, slots=True)
class GramIndex:
    """Which items have an n-gram: sorted n-grams, and for each its items.

    Args:
        size: Words in an n-gram.
        keys: The n-grams, ascending.
        filter: Whether any key begins with these bits: most n-grams of a corpus end here.
        postings: The items of each key.
    """

    size: int
    keys: Hashes
    filter: npt.NDArray[np.bool_]
    postings: Ragged

    @classmethod
    def of(cls, size: int, grams: Ragged, numbers: Integers) -> GramIndex:
        """The index of n-grams whose row i belongs to item numbers[i]."""
        order = np.lexsort((numbers[grams.rows()], grams.values))
        values, owners = grams.values[order], numbers[grams.rows()][order]
        again = np.zeros(len(values), bool)  # an item that has an n-gram twice owns it once
        again[1:] = (values[1:] == values[:-1]) & (owners[1:] == owners[:-1])
        owners = owners[~again]
        keys, counts = np.unique(values[~again], return_counts=True)
        bits = min(24, max(10, int(np.ceil(np.log2(len(keys) * 32 + 1)))))
        present = np.zeros(1 << bits, bool)
        present[keys >> np.uint64(50 - bits)] = True
        postings = Ragged(owners.astype(np.uint64), offsets_of(counts.astype(np.int64)))
        return cls(size, keys, present, postings)

    def hits(self, words: Ragged) -> tuple[Integers, Integers]:
        """The distinct (row, key) pairs, in this order, for the texts of a chunk."""
        grams = ngram_hashes(words, self.size)
        values = grams.values >> np.uint64(14)
        bits = len(self.filter).bit_length() - 1
        likely = np.flatnonzero(self.filter[values >> np.uint64(50 - bits)])
        if not len(self.keys):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        place = np.searchsorted(self.keys, values[likely])
        place[place == len(self.keys)] = 0
        equal = self.keys[place] == values[likely]
        likely, place = likely[equal], place[equal]
        row = np.searchsorted(grams.offsets, likely, side="right") - 1
        packed = sorted_distinct(row * len(self.keys) + place)
        return packed // len(self.keys), packed % len(self.keys)


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The items as the search needs them.

    Args:
        items: The items, each once per exam.
        words: The words of each stem.
        rare: Per stem, for each run of `RUN_WORDS` words, whether it can tell the item.
        answers: The words of each right answer.
        options: The words of each option.
        least: Runs that a row has to share with an item to be looked at.
        runs: The runs that can tell items, and which items have each.
        wholes: Stems that count as a whole only (short ones, or a mere frame), per number of words.
        choices: Options of more than `RUN_WORDS` words: their first runs.
    """

    items: list[ExamItem]
    words: list[list[str]]
    rare: list[list[bool]]
    answers: list[list[str]]
    options: list[list[list[str]]]
    least: Integers
    runs: GramIndex
    wholes: list[GramIndex]
    choices: list[GramIndex]

    def stem(self, item: int) -> Stem:
        """The words of an item."""
        label = self.items[item].answer.lower()
        return Stem(
            self.words[item], self.rare[item], self.answers[item], label, self.options[item]
        )

    @classmethod
    def of(cls, items: list[ExamItem]) -> ItemTable:
        """Take the items apart."""

        def split(texts: list[str]) -> list[list[str]]:
            lists: list[list[str]] = word_lists(pl.Series(texts, dtype=pl.String)).to_list()
            return lists

        stems = pl.Series([item.question for item in items], dtype=pl.String)
        words = split(stems.to_list())
        hashes = word_hashes(stems)
        framed = np.array([FRAME.issuperset(own) for own in words], bool)
        grams, rare = _telling(hashes, words)
        upto = offsets_of(rare.astype(np.int64))[grams.offsets]
        runs = Ragged(grams.values[rare], upto)
        flags = rare.tolist()
        wholes = []
        for size in range(SHORTEST_CONTAINED, LONG_NGRAM_WORDS + 1):
            due = (hashes.lengths == size) & ((size < NGRAM_WORDS) | framed)
            if due.any():
                chosen = np.flatnonzero(due)
                wholes.append(GramIndex.of(size, _distinct(hashes.take(chosen), size), chosen))
        flat = split([text for item in items for _, text in item.options])
        ends = offsets_of(np.array([len(item.options) for item in items], np.int64)).tolist()
        offered = [flat[ends[i] : ends[i + 1]] for i in range(len(items))]
        heads = [
            (index, " ".join(option[: RUN_WORDS + 1]))
            for index, options in enumerate(offered)
            for option in options
            if len(option) > RUN_WORDS
        ]
        choices = []
        if heads:
            texts = word_hashes(pl.Series([text for _, text in heads]))
            owners = np.array([index for index, _ in heads])
            runs_of = _distinct(texts, RUN_WORDS + 1)
            choices.append(GramIndex.of(RUN_WORDS + 1, runs_of, owners))
        return cls(
            items,
            words,
            [flags[a:b] for a, b in itertools.pairwise(grams.offsets.tolist())],
            split([item.answer_text for item in items]),
            offered,
            np.maximum(1, (LEAST_SHARE * hashes.lengths).astype(np.int64)),
            GramIndex.of(RUN_WORDS, runs, np.arange(len(items))),
            wholes,
            choices,
        )


def _telling(hashes: Ragged, words: list[list[str]]) -> tuple[Ragged, npt.NDArray[np.bool_]]:
    """The runs of the stems, in order, and whether each can tell an item.

    It can if it has a word that is no part of a question's frame, and few stems have it.
    """
    grams = ngram_hashes(hashes, RUN_WORDS)
    grams = Ragged(grams.values >> np.uint64(14), grams.offsets)
    plain = np.array([word in STORY or word.isdigit() for own in words for word in own], bool)
    upto = offsets_of((~plain).astype(np.int64))
    starts = np.arange(len(grams.values)) + np.repeat(
        hashes.offsets[:-1] - grams.offsets[:-1], grams.lengths
    )
    ends = np.minimum(starts + RUN_WORDS, np.repeat(hashes.offsets[1:], grams.lengths))
    has_content = upto[ends] > upto[starts]
    # a stem that comes in several exams, or again in one, counts once
    unique = np.unique([" ".join(own) for own in words], return_index=True)[1]
    kinds, counts = np.unique(_distinct(hashes.take(unique), RUN_WORDS).values, return_counts=True)
    stock = counts[np.searchsorted(kinds, grams.values)] > COMMON_ITEMS if len(kinds) else plain[:0]
    long = np.repeat(hashes.lengths >= NGRAM_WORDS, grams.lengths)
    return grams, has_content & ~stock & long


def _distinct(words: Ragged, size: int) -> Ragged:
    """`distinct` n-grams for any number of rows."""
    step = 10_000
    rows = np.arange(len(words.offsets) - 1)
    parts = (words.take(rows[start : start + step]) for start in range(0, len(rows), step))
    return gather([distinct(ngram_hashes(part, size)) for part in parts])
