"""All pairs of sets with a Jaccard similarity of at least t, without comparing all pairs.

Three exact steps, none of which can lose a pair:

1. *Pruning* (`meadow.mix.similarity`): rows that share too little with all others together are left
   out.
2. *Prefix filter.* With n-grams in the order of their frequency, rarest first, two similar sets
   share one of their first |x| - ceil(t |x|) + 1 n-grams (Chaudhuri, Ganti and Kaushik 2006;
   Bayardo, Ma and Srikant 2007); the place where they first meet bounds their overlap (Xiao, Wang,
   Lin and Yu 2008).
3. *Blocks, against boilerplate.* The rows that share a frequent n-gram are not paired one by one.
   If the first n-gram that two rows share, rarest first, is a frequent one, they share no rare one
   at all, and their overlap is that of their frequent n-grams alone. Rows with the same frequent
   n-grams form a block, blocks are compared instead of rows, and posting lists stay bounded.

Above about a million rows `meadow.mix.similarity` finds the candidates of step 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from meadow.text.ngrams import (
    VALUE_CHUNK,
    Hashes,
    Integers,
    Ragged,
    chunks,
    distinct,
    mixed,
    ngram_hashes,
    offsets_of,
    sorted_distinct,
    stretches,
    word_hashes,
)

if TYPE_CHECKING:
    import polars as pl

# Which rows can have a near duplicate at all: a cheap test that most rows of a corpus fail.
#
# A row can only be similar to another if at least a share t of its n-grams occurs in other rows.
# The
# test takes four bytes per n-gram and a working space of bounded size, and is repeated while rows
# drop out. Two n-grams with the same 32 bits can only keep a row, never lose one.


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

    Args:
        grams: 32 bits of each row's distinct n-grams.
        threshold: The least similarity.
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


POSTING_BOUND = 512
"""Rows that share an n-gram above which it counts as boilerplate."""
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

    def parts_of(self, rows: Integers) -> Iterator[Ragged]:
        """Chunk by chunk: the distinct n-grams of those rows, ascending."""
        for some, _, words in self.words_of(rows):
            yield self.sets(some, words)

    def of(self, rows: Integers) -> Ragged:
        """The distinct n-grams of those rows, ascending."""
        return gather(list(self.parts_of(rows)))

    def jaccard(self, left: Integers, right: Integers) -> Floats:
        """The similarity of each pair, computed from the texts."""
        if not len(left):
            return np.empty(0)
        rows, place = np.unique(np.concatenate([left, right]), return_inverse=True)
        sets, _ = by_frequency(self.of(rows))
        return similarity(sets, place[: len(left)], place[len(left) :])


def gather(parts: list[Ragged]) -> Ragged:
    """Rows of several tables, one after the other."""
    if not parts:
        return Ragged(np.empty(0, np.uint64), np.zeros(1, np.int64))
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), offsets_of(lengths))


@dataclass(frozen=True, slots=True)
class Join:
    """The similar pairs, spelt out or as blocks of rows that share all their frequent n-grams.

    Args:
        left: One row of each verified pair, the smaller number.
        right: The other row.
        jaccard: Their similarity.
        block_rows: Rows that belong to a block; a row may belong to several.
        block_of: The block of each.
        block_sizes: The n-grams of each.
        block_left: One block of each pair of blocks that hold similar rows; a block may be paired
            with itself.
        block_right: The other.
        block_limit: Rows of the two blocks are similar if they have at most that many n-grams
            together.
    """

    left: Integers
    right: Integers
    jaccard: Floats
    block_rows: Integers
    block_of: Integers
    block_sizes: Integers
    block_left: Integers
    block_right: Integers
    block_limit: Integers

    @classmethod
    def empty(cls) -> Join:
        """No pair."""
        none = np.empty(0, np.int64)
        return cls(none, none, np.empty(0), none, none, none, none, none, none)

    def renumbered(self, rows: Integers) -> Join:
        """The same pairs for a table in which row i is row rows[i]; `rows` ascends."""
        return replace(
            self,
            left=rows[self.left],
            right=rows[self.right],
            block_rows=rows[self.block_rows],
        )

    def with_pairs(self, left: Integers, right: Integers, jaccard: Floats) -> Join:
        """The pairs of both, each once."""
        left, right = np.append(self.left, left), np.append(self.right, right)
        scale = int(right.max()) + 1 if len(right) else 1
        _, first = np.unique(left * scale + right, return_index=True)
        values = np.append(self.jaccard, jaccard)
        return replace(self, left=left[first], right=right[first], jaccard=values[first])

    def block_edges(self) -> tuple[Integers, Integers]:
        """Similar pairs that connect all that the blocks connect, and not many more.

        The smallest rows of two blocks stand for all that these blocks have in common. Any other
        row is paired with one row only: the smallest of the block that leaves it most room. If it
        is similar to rows of further blocks, then so is the smallest row of its own block, and to
        that room's row too.
        """
        if not len(self.block_rows):
            return self.block_rows, self.block_rows
        order = np.lexsort((self.block_rows, self.block_sizes, self.block_of))
        blocks, first = np.unique(self.block_of[order], return_index=True)
        smallest = np.zeros(int(blocks.max()) + 1, np.int64)
        least = np.full(len(smallest), np.iinfo(np.int64).max // 2)
        smallest[blocks] = self.block_rows[order][first]
        least[blocks] = self.block_sizes[order][first]
        here = np.concatenate([self.block_left, self.block_right])
        there = np.concatenate([self.block_right, self.block_left])
        room = np.tile(self.block_limit, 2) - least[there]
        near = room >= least[here]
        by_room = np.lexsort((room, here))
        last = np.append(np.diff(here[by_room]) > 0, True)
        best = by_room[last]
        roomiest = np.zeros(len(smallest), np.int64)
        most = np.full(len(smallest), -1)
        roomiest[here[best]] = there[best]
        most[here[best]] = room[best]
        fits = self.block_sizes <= most[self.block_of]
        left = np.concatenate([smallest[here[near]], self.block_rows[fits]])
        right = np.concatenate([smallest[there[near]], smallest[roomiest[self.block_of[fits]]]])
        return left, right

    def greedy(self, rank: Integers, same: Callable[[int, int], bool] | None = None) -> Integers:
        """Take rows in the order of their rank; drop each that is similar to one taken before.

        Args:
            rank: The rank of every row of the table.
            same: Whether two similar rows are duplicates; None: always.

        Returns:
            For each row itself, or the first of the taken rows that it is similar to.
        """
        taken_for = np.arange(len(rank))
        ends = np.concatenate([self.left, self.right])
        order = np.argsort(ends, kind="stable")
        others = np.concatenate([self.right, self.left])[order]
        nodes = np.union1d(ends, self.block_rows)
        starts = np.searchsorted(ends[order], nodes, "left").tolist()
        stops = np.searchsorted(ends[order], nodes, "right").tolist()
        neighbours: dict[int, list[tuple[int, int]]] = {}
        block_pairs = (self.block_left, self.block_right, self.block_limit)
        for first, second, limit in zip(*(part.tolist() for part in block_pairs), strict=True):
            for here, there in {(first, second), (second, first)}:
                neighbours.setdefault(here, []).append((there, limit))
        homes: dict[int, list[int]] = {}
        for row, home in zip(self.block_rows.tolist(), self.block_of.tolist(), strict=True):
            homes.setdefault(row, []).append(home)
        size = dict(zip(self.block_rows.tolist(), self.block_sizes.tolist(), strict=True))
        # Per block the rows taken that its rows may be similar to, and up to which size they are.
        within: dict[int, list[tuple[int, int]]] = {}
        for index in np.argsort(rank[nodes]).tolist():
            row = int(nodes[index])
            found = [
                other
                for other in others[starts[index] : stops[index]].tolist()
                if rank[other] < rank[row] and taken_for[other] == other
                if same is None or same(row, other)
            ]
            for home in homes.get(row, ()):
                fits = (
                    other
                    for other, most in within.get(home, ())
                    if size[row] <= most and (same is None or same(row, other))
                )
                found += [other for other in [next(fits, -1)] if other >= 0]
            if found:
                taken_for[row] = min(found, key=rank.__getitem__)
                continue
            for home in homes.get(row, ()):
                for there, limit in neighbours.get(home, ()):
                    earlier = within.setdefault(there, [])
                    # A row that reaches no further than one taken before is never the first to fit.
                    if same or not earlier or limit - size[row] > earlier[-1][1]:
                        earlier.append((row, limit - size[row]))
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
    """The exact Jaccard similarity of pairs of rows.

    Args:
        sets: Sets of numbers below 2^32.
        left: One row of each pair.
        right: The other.
    """
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


def join_sets(grams: Ragged, threshold: float, posting_bound: int | None = POSTING_BOUND) -> Join:
    """The similar pairs of a table of sets; see the module's docstring for steps 2 and 3.

    Args:
        grams: Distinct values per row.
        threshold: The least similarity.
        posting_bound: Rows that share a value above which blocks are used; None: never.
    """
    if len(grams.offsets) < 3:
        return Join.empty()
    sets, frequency = by_frequency(grams)
    bound = len(sets.offsets) if posting_bound is None else posting_bound
    frequent = int(np.searchsorted(frequency, bound, side="right"))
    blocks = _blocks(sets, frequent, threshold, bound)
    first_shared = int(np.searchsorted(frequency, 1, side="right"))
    left, right = _prefix_pairs(sets, first_shared, frequent, threshold)
    values = similarity(sets, left, right)
    found = values >= threshold - SLACK
    return blocks.with_pairs(left[found], right[found], values[found])


def _prefix_pairs(
    sets: Ragged, first: int, last: int, threshold: float
) -> tuple[Integers, Integers]:
    """Candidates that share a value of [first, last) in their prefixes, where it can suffice."""
    sizes = sets.lengths
    rows = sets.rows()
    position = np.arange(len(rows)) - sets.offsets[rows]
    inside = position <= (sizes - needed(sizes, threshold))[rows]
    inside &= (sets.values >= first) & (sets.values < last)
    values, rows, position = sets.values[inside].astype(np.int64), rows[inside], position[inside]
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
    return pairs // len(sizes), pairs % len(sizes)


def _blocks(sets: Ragged, frequent: int, threshold: float, bound: int) -> Join:
    """The pairs that share nothing but frequent values, as blocks of rows.

    Blocks are joined like rows, and may form blocks again: a row then belongs to one of each kind.
    """
    sizes = sets.lengths
    is_frequent = sets.values >= frequent
    counts = np.diff(offsets_of(is_frequent.astype(np.int64))[sets.offsets])
    rows = np.flatnonzero((counts > 0) & (counts >= needed(sizes, threshold)))
    if not len(rows):
        return Join.empty()
    tails = Ragged(sets.values[is_frequent], offsets_of(counts)).take(rows)
    terms = mixed(tails.values + np.uint64(1))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    keys = sums[tails.offsets[1:]] - sums[tails.offsets[:-1]]
    _, first, block = np.unique(keys, return_index=True, return_inverse=True)
    # Where hardly any rows share a block, blocks of blocks would not end.
    gained = len(first) < 0.9 * len(rows)
    among = join_sets(tails.take(first), threshold, bound if gained else None)
    lengths = tails.lengths[first]
    own = np.arange(len(first))
    share = among.jaccard / (1 + among.jaccard)
    overlap = np.rint(share * (lengths[among.left] + lengths[among.right])).astype(np.int64)
    overlap = np.concatenate([lengths, overlap])
    limit = np.floor(overlap * (1 + threshold) / threshold + SLACK).astype(np.int64)
    # The rows of a block of blocks are those of its blocks.
    order = np.argsort(block, kind="stable")
    members = Ragged(order.astype(np.uint64), offsets_of(np.bincount(block)))
    inner = members.take(among.block_rows)
    inner_rows = rows[inner.values.astype(np.int64)]
    inner_of = np.repeat(among.block_of, inner.lengths) + len(first)
    return replace(
        Join.empty(),
        block_rows=np.concatenate([rows, inner_rows]),
        block_of=np.concatenate([block, inner_of]),
        block_sizes=sizes[np.concatenate([rows, inner_rows])],
        block_left=np.concatenate([own, among.left, among.block_left + len(first)]),
        block_right=np.concatenate([own, among.right, among.block_right + len(first)]),
        block_limit=np.concatenate([limit, among.block_limit]),
    )


def join_exact(grams: Grams, rows: Integers, threshold: float, posting_bound: int) -> Join:
    """The similar pairs among the chosen rows of a table, by the prefix filter and blocks."""
    return join_sets(grams.of(rows), threshold, posting_bound).renumbered(rows)


# Candidates for near duplicates from MinHash signatures, for tables of more than a million rows.
#
# Two rows are candidates when all the minima of one band of their signatures are equal (Broder
# 1997); every candidate is then verified exactly. Crowded buckets, which boilerplate makes, are not
# paired one by one: their rows go through the exact join together.


BANDS, BAND_ROWS = 40, 4
"""A pair at similarity 0.7 is missed with probability (1 - 0.7^4)^40 = 1.7e-5."""
VERIFIED_AT_ONCE = 100_000
"""Candidate pairs whose texts are held at once."""


def join_minhash(grams: Grams, rows: Integers, threshold: float, posting_bound: int) -> Join:
    """The same by MinHash; at similarity 0.7 one pair in 60,000 is missed.

    Rows of crowded buckets (boilerplate) go through the exact join together.
    """
    keys = np.empty((BANDS, len(rows)), np.uint64)
    start = 0
    for part in grams.parts_of(rows):
        stop = start + len(part.offsets) - 1
        keys[:, start:stop] = _band_keys(part)
        start = stop
    crowded = np.zeros(len(rows), bool)
    held = [np.empty(0, np.int64)]
    for band in keys:
        order = np.argsort(band, kind="stable")
        change = np.flatnonzero(np.diff(band[order])) + 1
        starts = np.concatenate([[0], change])
        counts = np.diff(np.append(starts, len(order)))
        crowded[order[np.repeat(counts > posting_bound, counts)]] = True
        held.append(_bucket_pairs(order, np.where(counts > posting_bound, 1, counts), starts))
    pairs = sorted_distinct(np.concatenate(held))
    left, right = pairs // len(rows), pairs % len(rows)
    chosen = np.flatnonzero(crowded)
    join = join_exact(grams, rows[chosen], threshold, posting_bound)
    left, right = rows[left], rows[right]
    values = np.empty(len(left))
    for start in range(0, len(left), VERIFIED_AT_ONCE):
        some = slice(start, start + VERIFIED_AT_ONCE)
        values[some] = grams.jaccard(left[some], right[some])
    found = values >= threshold - SLACK
    return join.with_pairs(left[found], right[found], values[found])


def _band_keys(grams: Ragged) -> Hashes:
    """One key per band and row; equal keys mean that all the band's minima are equal."""
    keys = np.zeros((BANDS, len(grams.offsets) - 1), np.uint64)
    filled = np.flatnonzero(grams.lengths)
    if not len(filled):
        return keys
    starts = grams.offsets[filled]
    for index in range(BANDS * BAND_ROWS):
        salt = mixed(np.array([index + 1], np.uint64))
        minima = np.minimum.reduceat(mixed(grams.values ^ salt), starts)
        keys[index // BAND_ROWS, filled] += mixed(minima + np.uint64(index))
    return keys


def _bucket_pairs(order: Integers, counts: Integers, starts: Integers) -> Integers:
    """All pairs within each bucket, packed as smaller * n + larger."""
    members = np.repeat(counts, counts)
    first = np.repeat(starts, counts)
    place = np.arange(len(first)) - np.repeat(offsets_of(counts)[:-1], counts)
    later = members - place - 1
    one = np.repeat(first + place, later)
    other = one + 1 + np.arange(len(one)) - np.repeat(offsets_of(later)[:-1], later)
    a, b = order[one], order[other]
    return sorted_distinct(np.minimum(a, b) * len(order) + np.maximum(a, b))
