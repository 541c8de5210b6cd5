"""The curve of the search for exam items, on a few invented ones: each method finds what it can."""

from __future__ import annotations

import pytest
from benchmarks import bench_contamination as bench
from benchmarks.bench_dedup import THRESHOLD, _jaccard, _told_again


def test_methods_find_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PLANTED", 8)
    monkeypatch.delenv("MEADOW_UPSTREAM", raising=False)
    items, rows, _ = bench.exam_and_rows(30)
    found = bench.curve(rows, list(items[:20]))
    assert set(found) == {"ours", "8-gram", "13-gram", "two-stage"}
    assert all(own["verbatim"][0] == 1 for own in found.values())
    assert found["ours"]["every 7th word replaced"][0] == 1
    assert found["13-gram"]["every 5th word replaced"][0] < 0.8
    assert found["two-stage"]["options only"][0] == 0
    assert found["ours"]["all"][1] == 0
    # the stock question is a run of ten words: to a plain set every item is in every such row
    assert found["8-gram"]["all"][1] == 1


@pytest.mark.parametrize("number", range(4))
def test_true_copies_are_near_and_not_equal(number: int) -> None:
    text = " ".join(
        f"This is the sentence number {n}, which says something of its own, briefly."
        for n in "abcdefgh"
    )
    again = _told_again(text, number)
    assert again != text
    assert _jaccard(text, again) >= THRESHOLD
