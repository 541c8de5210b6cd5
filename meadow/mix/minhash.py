"""Candidates for near duplicates from MinHash signatures, for tables of more than a million rows.

Two rows are candidates when all the minima of one band of their signatures are equal (Broder
1997); every candidate is then verified exactly. Crowded buckets, which boilerplate makes, are not
paired one by one: their rows go through the exact join together.
"""

from __future__ import annotations

import numpy as np

from meadow.mix.pruning import SLACK
from meadow.mix.similarity import Grams, Join, join_exact
from meadow.text.ngrams import Hashes, Integers, Ragged, mixed, offsets_of, sorted_distinct

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
