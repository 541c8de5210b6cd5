"""Exam items as the search for contamination needs them: their n-grams, and who has which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meadow.exams.overlap import NGRAM_WORDS, STEM_SHARE, Stem
from meadow.text.ngrams import (
    Hashes,
    Integers,
    Ragged,
    distinct,
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
"""Items that share an 8-gram above which it counts as a stock phrase."""


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
    filter: np.ndarray[Any, np.dtype[np.bool_]]
    postings: Ragged

    @classmethod
    def of(cls, size: int, grams: Ragged, numbers: Integers) -> GramIndex:
        """The index of n-grams whose row i belongs to item numbers[i]."""
        keys, inverse, counts = np.unique(grams.values, return_inverse=True, return_counts=True)
        owners = numbers[grams.rows()][np.argsort(inverse, kind="stable")]
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
        answers: The words of each right answer.
        options: The words of each option.
        counts: Distinct 8-grams of each stem.
        index: Their 8-grams; stems of fewer words as a whole.
        rare: Per 8-gram the items that it makes a candidate of.
        common: Per item its other 8-grams.
        short: The stems of four to seven words, per number of words.
    """

    items: list[ExamItem]
    words: list[list[str]]
    answers: list[list[str]]
    options: list[list[list[str]]]
    counts: Integers
    index: GramIndex
    rare: Ragged
    common: Ragged
    short: list[GramIndex]

    def stem(self, item: int) -> Stem:
        """The words of an item."""
        label = self.items[item].answer.lower()
        return Stem(self.words[item], self.answers[item], label, self.options[item])

    @classmethod
    def of(cls, items: list[ExamItem]) -> ItemTable:
        """Take the items apart."""
        import polars as pl

        def split(texts: list[str]) -> list[list[str]]:
            lists: list[list[str]] = word_lists(pl.Series(texts, dtype=pl.String)).to_list()
            return lists

        stems = pl.Series([item.question for item in items], dtype=pl.String)
        hashes = word_hashes(stems)
        grams = _distinct(hashes, NGRAM_WORDS)
        everyone = np.arange(len(items))
        index = GramIndex.of(NGRAM_WORDS, grams, everyone)
        rare, common = _rare_and_common(index.postings, grams.lengths)
        short = []
        for size in range(SHORTEST_CONTAINED, NGRAM_WORDS):
            chosen = np.flatnonzero(hashes.lengths == size)
            if len(chosen):
                short.append(GramIndex.of(size, _distinct(hashes.take(chosen), size), chosen))
        flat = split([text for item in items for _, text in item.options])
        ends = offsets_of(np.array([len(item.options) for item in items], np.int64)).tolist()
        return cls(
            items,
            split(stems.to_list()),
            split([item.answer_text for item in items]),
            [flat[ends[i] : ends[i + 1]] for i in range(len(items))],
            grams.lengths,
            index,
            rare,
            common,
            short,
        )


def _distinct(words: Ragged, size: int) -> Ragged:
    """`distinct` n-grams for any number of rows."""
    step = 10_000
    rows = np.arange(len(words.offsets) - 1)
    parts = [
        distinct(ngram_hashes(words.take(rows[start : start + step]), size))
        for start in range(0, len(rows), step)
    ]
    values = np.concatenate([np.empty(0, np.uint64), *(part.values for part in parts)])
    lengths = np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)])
    return Ragged(values, offsets_of(lengths))


def _rare_and_common(postings: Ragged, counts: Integers) -> tuple[Ragged, Ragged]:
    """Split postings: a stock phrase makes candidates only of items that it could flag by itself.

    Args:
        postings: n-gram -> items.
        counts: n-grams of each item.

    Returns:
        n-gram -> items that it makes a candidate of; item -> its other n-grams.
    """
    key = postings.rows()
    item = postings.values.astype(np.int64)
    stock = postings.lengths[key] > COMMON_ITEMS
    stock_counts = np.bincount(item[stock], minlength=len(counts))
    safe = stock & (stock_counts < STEM_SHARE * counts)[item]
    rare_lengths = np.bincount(key[~safe], minlength=len(postings.offsets) - 1)
    rare = Ragged(postings.values[~safe], offsets_of(rare_lengths))
    order = np.argsort(item[safe], kind="stable")
    common_lengths = np.bincount(item[safe], minlength=len(counts))
    return rare, Ragged(key[safe][order].astype(np.uint64), offsets_of(common_lengths))
