"""All pairs of sets with a Jaccard similarity of at least t, without comparing all pairs.

Two exact steps, neither of which can lose a pair:

1. *Pruning*: a row can only be similar to another if at least a share t of its n-grams occurs in
   other rows; most rows of a corpus fail that. The test takes four bytes per n-gram and a working
   space of bounded size, and is repeated while rows drop out. Two n-grams with the same 32 bits can
   only keep a row, never lose one.
2. *Prefix filter.* With n-grams in the order of their frequency, rarest first, two similar sets
   share one of their first |x| - ceil(t |x|) + 1 n-grams (Chaudhuri, Ganti and Kaushik 2006;
   Bayardo, Ma and Srikant 2007); the place where they first meet bounds their overlap (Xiao, Wang,
   Lin and Yu 2008).

What a corpus repeats is the last of a row's n-grams, and rows of different questions have none in
common (`meadow.mix.facts`): form letters make no candidates. Where thousands of rows with one
question share an n-gram all the same, that n-gram makes no candidates either, or their pairs would
not end; how many rows that concerns is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from meadow.text.ngrams import (
    VALUE_CHUNK,
    Hashes,
    Integers,
    Ragged,
    chunks,
    distinct,
    gather,
    ngram_hashes,
    offsets_of,
    sorted_distinct,
    stretches,
    word_hashes,
)

if TYPE_CHECKING:
    import polars as pl

SLACK = 1e-9
"""What floating-point thresholds are eased by, so that a similarity of exactly t counts."""
SORTED_AT_ONCE = 24_000_000
"""n-grams that are sorted at once, 8 bytes each."""


def needed(sizes: Integers, threshold: float) -> Integers:
    """The least overlap of a set of each size with any set that is similar to it."""
    least: Integers = np.ceil(threshold * sizes - SLACK).astype(np.int64)
    return least


def possible_rows(grams: Ragged, threshold: float) -> Integers:
    """The rows that can have a partner: at least `threshold` of their n-grams occur elsewhere.

    Of each row's distinct n-grams `grams` has 32 bits.
    """
    rows = np.arange(len(grams.offsets) - 1)
    while len(rows):
        counts = _shared_counts(grams)
        stays = np.flatnonzero((counts >= needed(grams.lengths, threshold)) & (counts > 0))
        if len(stays) > 0.95 * len(rows):
            return rows[stays]
        rows, grams = rows[stays], grams.take(stays)
    return rows


def _shared_counts(grams: Ragged) -> Integers:
    """How many n-grams of each row occur in another row; one range of hash values at a time."""
    lengths = grams.lengths
    counts = np.zeros(len(lengths), np.int64)
    ranges = max(1, -(-len(grams.values) // SORTED_AT_ONCE))
    edges = np.linspace(0, 1 << 32, ranges + 1).astype(np.uint64)
    for low, high in pairwise(edges):
        held = []
        for start, stop in stretches(lengths, VALUE_CHUNK):
            values = grams.values[grams.offsets[start] : grams.offsets[stop]]
            row = np.repeat(np.arange(start, stop, dtype=np.uint64), lengths[start:stop])
            packed = (values.astype(np.uint64) << np.uint64(32)) | row
            held.append(packed if ranges == 1 else packed[(values >= low) & (values < high)])
        packed = np.concatenate(held)
        held.clear()
        packed.sort()
        same = (packed[1:] >> np.uint64(32)) == (packed[:-1] >> np.uint64(32))
        shared = np.zeros(len(packed), bool)
        shared[1:] = same
        shared[:-1] |= same
        row = (packed[shared] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        counts += np.bincount(row, minlength=len(counts))
    return counts


POSTING_BOUND = 4096
"""Rows of one question that share an n-gram above which it makes no candidates."""
PAIR_CHUNK = 2_000_000
"""Candidate pairs that are held at once."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grams:
    """The sets of n-grams of a table's texts, made when they are needed and not kept.

    Args:
        texts: Row numbers -> their texts.
        sizes: Bytes of each text, for cutting the work.
        words: Words in an n-gram.
        salts: Per row a number; rows of different numbers have no n-gram in common.
    """

    texts: Callable[[Integers], pl.Series]
    sizes: Integers
    words: int
    salts: Hashes

    def words_of(self, rows: Integers) -> Iterator[tuple[Integers, pl.Series, Ragged]]:
        """Chunk by chunk: some of those rows, their texts, and the hashes of their words."""
        for start, stop in chunks(self.sizes[rows]):
            texts = self.texts(rows[start:stop])
            yield rows[start:stop], texts, word_hashes(texts)

    def sets(self, rows: Integers, words: Ragged) -> Ragged:
        """The distinct n-grams of rows whose words are given, ascending."""
        grams = ngram_hashes(words, self.words)
        return distinct(
            Ragged(grams.values ^ np.repeat(self.salts[rows], grams.lengths), grams.offsets)
        )

    def of(self, rows: Integers) -> Ragged:
        """The distinct n-grams of those rows, ascending."""
        return gather([self.sets(some, words) for some, _, words in self.words_of(rows)])


class Pairs(NamedTuple):
    """The similar pairs: the smaller row number, the other, and their similarity."""

    left: Integers
    right: Integers
    jaccard: Floats
    crowded: int = 0
    """Rows of which an n-gram made no candidates, since too many rows share it."""

    @classmethod
    def none(cls) -> Pairs:
        """No pair."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def greedy(self, rank: Integers, same: Callable[[int, int], bool] | None = None) -> Integers:
        """Take rows in the order of their rank; drop each that is similar to one taken before.

        Two similar rows are duplicates where `same` says so, without it always.

        Returns:
            For each row itself, or the first of the taken rows that it is a duplicate of.
        """
        taken_for = np.arange(len(rank))
        swapped = rank[self.left] > rank[self.right]
        later = np.where(swapped, self.left, self.right)
        earlier = np.where(swapped, self.right, self.left)
        order = np.lexsort((rank[earlier], rank[later]))
        for row, other in zip(later[order].tolist(), earlier[order].tolist(), strict=True):
            # the earlier ones come in the order of their rank: the first that fits is the one
            if (
                taken_for[row] == row
                and taken_for[other] == other
                and (same is None or same(row, other))
            ):
                taken_for[row] = other
        return taken_for


def by_frequency(grams: Ragged) -> tuple[Ragged, Integers]:
    """The sets with each n-gram as its place in the order of frequency, rarest first.

    Returns:
        The sets, ascending, and the number of rows of each n-gram in that order.
    """
    _, inverse, counts = np.unique(grams.values, return_inverse=True, return_counts=True)
    order = np.argsort(counts, kind="stable")
    place = np.empty(len(order), np.uint64)
    place[order] = np.arange(len(order), dtype=np.uint64)
    rows = grams.rows().astype(np.uint64)
    packed = np.sort((rows << np.uint64(32)) | place[inverse])
    return Ragged(packed & np.uint64(0xFFFFFFFF), grams.offsets), counts[order]


def similarity(sets: Ragged, left: Integers, right: Integers) -> Floats:
    """The exact Jaccard similarity of pairs of rows, whose sets are of numbers below 2^32."""
    sizes = sets.lengths
    overlap = np.empty(len(left), np.int64)
    for start, stop in stretches(sizes[left] + sizes[right], VALUE_CHUNK):
        count = stop - start
        both = sets.take(np.concatenate([left[start:stop], right[start:stop]]))
        pair = np.concatenate([np.arange(count, dtype=np.uint64)] * 2)
        packed = (np.repeat(pair, both.lengths) << np.uint64(32)) | both.values
        packed.sort()
        twice = packed[1:][packed[1:] == packed[:-1]] >> np.uint64(32)
        overlap[start:stop] = np.bincount(twice.astype(np.int64), minlength=count)
    together: Integers = sizes[left] + sizes[right] - overlap
    result: Floats = overlap / np.maximum(1, together)
    return result


def similar_pairs(grams: Grams, rows: Integers, threshold: float) -> Pairs:
    """The similar pairs among the chosen rows of a table, which come ascending."""
    if len(rows) < 2:
        return Pairs.none()
    sets, frequency = by_frequency(grams.of(rows))
    first_shared = int(np.searchsorted(frequency, 1, side="right"))
    left, right, crowded = _prefix_pairs(sets, first_shared, threshold)
    values = similarity(sets, left, right)
    found = values >= threshold - SLACK
    return Pairs(rows[left[found]], rows[right[found]], values[found], crowded)


def _prefix_pairs(sets: Ragged, first: int, threshold: float) -> tuple[Integers, Integers, int]:
    """Candidates that share a value from `first` on in their prefixes, where it can suffice.

    Returns:
        One row of each pair, the other, and how many rows have a value that makes no pairs.
    """
    sizes = sets.lengths
    rows = sets.rows()
    position = np.arange(len(rows)) - sets.offsets[rows]
    inside = position <= (sizes - needed(sizes, threshold))[rows]
    inside &= sets.values >= first
    values, rows, position = sets.values[inside].astype(np.int64), rows[inside], position[inside]
    shared = np.bincount(values, minlength=1)
    crowded = shared[values] > POSTING_BOUND
    crowded_rows = len(np.unique(rows[crowded]))
    values, rows, position = values[~crowded], rows[~crowded], position[~crowded]
    size = sizes[rows]
    order = np.lexsort((size, values))
    values, rows, position, size = values[order], rows[order], position[order], size[order]
    scale = int(sizes.max()) + 2
    key = values * scale + size
    largest = np.minimum(np.floor(size / threshold + SLACK).astype(np.int64), scale - 1)
    partners = (
        np.searchsorted(key, values * scale + largest, side="right") - np.arange(len(key)) - 1
    )
    rest = size - position
    share = threshold / (1 + threshold)
    held: list[Any] = []
    for start, stop in stretches(partners, PAIR_CHUNK):
        counts = partners[start:stop]
        one = np.repeat(np.arange(start, stop), counts)
        other = one + 1 + np.arange(len(one)) - np.repeat(offsets_of(counts)[:-1], counts)
        enough = np.minimum(rest[one], rest[other]) >= share * (size[one] + size[other]) - SLACK
        a, b = rows[one[enough]], rows[other[enough]]
        held.append(sorted_distinct(np.minimum(a, b) * len(sizes) + np.maximum(a, b)))
        if sum(map(len, held)) > 8 * PAIR_CHUNK:
            held = [sorted_distinct(np.concatenate(held))]
    pairs = sorted_distinct(np.concatenate(held)) if held else np.empty(0, np.int64)
    return pairs // len(sizes), pairs % len(sizes), crowded_rows
