"""Word n-grams as hashes: what duplicates and contamination are measured on.

A text is compared by its words: Unicode NFKC, lower case, then every run of word characters
(letters, marks, digits, underscore). Case, white space and punctuation therefore never make two
texts different. A text of fewer than n words has one n-gram: all of its words.

Hashes live only in memory and no result depends on their values: they find candidates, and equality
of two hashes of 50 bits stands for equality of two n-grams (one false equality in about 10^11 pairs
of rows of a hundred words).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import polars as pl

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

CHUNK_BYTES = 8_000_000
"""Text that is taken apart at once; a chunk needs about fifteen times as much memory."""
CHUNK_ROWS = 16_384
VALUE_CHUNK = 8_000_000
"""Values that are worked on at once."""
WORD = r"\w+"
_SEED = 2023
_MIX = 0xFF51AFD7ED558CCD
_MULTIPLIERS = (
    0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93,
    0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
    0x1D8E4E27C47D124F, 0xEB44ACCAB455D165, 0x2545F4914F6CDD1D, 0x9FB21C651E98DF25,
    0xBF58476D1CE4E5B9,
)  # fmt: skip


class Ragged(NamedTuple):
    """Rows of different length: all values one after the other, and where each row begins.

    Args:
        values: The values of every row.
        offsets: One more than there are rows; row i is values[offsets[i]:offsets[i + 1]].
    """

    values: Hashes
    offsets: Integers

    @property
    def lengths(self) -> Integers:
        """How many values each row has."""
        return np.diff(self.offsets)

    def rows(self) -> Integers:
        """The row of every value."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def take(self, chosen: Integers) -> Ragged:
        """The chosen rows, in that order."""
        lengths = self.lengths[chosen]
        offsets = offsets_of(lengths)
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return Ragged(self.values[positions], offsets)


def gather(parts: list[Ragged]) -> Ragged:
    """Rows of several tables, one after the other."""
    if not parts:
        return Ragged(np.empty(0, np.uint64), np.zeros(1, np.int64))
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), offsets_of(lengths))


def offsets_of(lengths: Integers) -> Integers:
    """Where rows of these lengths begin, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def comparable(texts: pl.Series) -> pl.Series:
    """NFKC and lower case; ASCII rows, most of them, are spared the normalisation."""
    import polars as pl

    ascii_only = texts.str.len_bytes() == texts.str.len_chars()
    if not ascii_only.all():
        normal = texts.filter(~ascii_only).str.normalize("NFKC")
        texts = texts.scatter(ascii_only.not_().arg_true(), normal)
    return texts.str.to_lowercase().cast(pl.String)


def word_lists(texts: pl.Series) -> pl.Series:
    """The words of each text, as a list column."""
    return comparable(texts).str.extract_all(WORD)


def word_hashes(texts: pl.Series) -> Ragged:
    """The hashes of the words of each text, in order."""
    lists = word_lists(texts)
    offsets = offsets_of(lists.list.len().to_numpy().astype(np.int64))
    words = lists.explode().drop_nulls()
    return Ragged(words.hash(_SEED).to_numpy(), offsets)


def ngram_hashes(words: Ragged, size: int) -> Ragged:
    """The hashes of the n-grams of each row, in order and with repetitions.

    Args:
        words: Word hashes.
        size: Words in an n-gram, at most 13; a row of fewer words gives one value, of none none.
    """
    values, offsets = words
    lengths = words.lengths
    short = (lengths > 0) & (lengths < size)
    counts = np.where(short, 1, np.maximum(lengths - size + 1, 0))
    result = np.empty(int(counts.sum()), np.uint64)
    starts = offsets_of(counts)
    span = len(values) - size + 1
    if span > 0:
        rolled = np.zeros(span, np.uint64)
        for index in range(size):
            rolled += values[index : index + span] * np.uint64(_MULTIPLIERS[index])
        long_counts = np.where(short, 0, counts)
        whole = offsets_of(long_counts)
        positions = np.arange(whole[-1]) + np.repeat(offsets[:-1] - whole[:-1], long_counts)
        targets = np.arange(whole[-1]) + np.repeat(starts[:-1] - whole[:-1], long_counts)
        result[targets] = rolled[positions]
    for length in range(1, size):
        rows = np.flatnonzero(lengths == length)
        total = np.full(len(rows), np.uint64(length), np.uint64)
        for index in range(length):
            total += values[offsets[rows] + index] * np.uint64(_MULTIPLIERS[index])
        result[starts[rows]] = total
    return Ragged(mixed(result), starts)


def mixed(values: Hashes) -> Hashes:
    """The values with every bit depending on every other: sums of products are weak in low bits."""
    values = values ^ (values >> np.uint64(32))
    values = values * np.uint64(_MIX)
    return values ^ (values >> np.uint64(29))


def distinct(grams: Ragged) -> Ragged:
    """Each row's distinct values, ascending, cut to their upper 50 bits.

    Args:
        grams: At most `CHUNK_ROWS` rows, so that row and value fit one 64-bit sort key.
    """
    rows = grams.rows().astype(np.uint64)
    packed = (rows << np.uint64(50)) | (grams.values >> np.uint64(14))
    packed.sort()
    first = np.ones(len(packed), bool)
    first[1:] = packed[1:] != packed[:-1]
    packed = packed[first]
    lengths = np.bincount(
        (packed >> np.uint64(50)).astype(np.int64), minlength=len(grams.offsets) - 1
    )
    return Ragged(packed & np.uint64((1 << 50) - 1), offsets_of(lengths))


def sorted_distinct(values: Integers) -> Integers:
    """The distinct values, ascending; sorting is several times faster here than `np.unique`."""
    values = np.sort(values)
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return values[first]


def chunks(sizes: Integers) -> Iterator[tuple[int, int]]:
    """Cut rows into stretches of at most `CHUNK_BYTES` and `CHUNK_ROWS` (always at least a row).

    Args:
        sizes: Bytes of each row's text.
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + CHUNK_BYTES, side="right"))
        stop = max(start + 1, min(stop, start + CHUNK_ROWS))
        yield start, stop
        start = stop


def stretches(lengths: Integers, most: int) -> Iterator[tuple[int, int]]:
    """Cut rows into stretches of at most `most` values (always at least a row)."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, stop
        start = stop
