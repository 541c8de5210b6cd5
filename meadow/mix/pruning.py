"""Which rows can have a near duplicate at all: a cheap test that most rows of a corpus fail.

A row can only be similar to another if at least a share t of its n-grams occurs in other rows. The
test takes four bytes per n-gram and a working space of bounded size, and is repeated while rows
drop out. Two n-grams with the same 32 bits can only keep a row, never lose one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from meadow.text.ngrams import VALUE_CHUNK, Integers, Ragged, stretches

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
