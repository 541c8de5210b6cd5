"""Rows that touch exam items: the same items at every level, the words that a level says."""

import random

import pytest

from pipelines.held_out import HeldOut
from pipelines.study_config import Touch
from pipelines.touched import LEVELS, touched_ids, word_runs

TEXT = (
    "After eight weeks the patients who walked each day had fewer falls, while those who sat had "
    "as many falls as before; the effect was associated with age."
)
WORDS = {
    "associated with": "linked to",
    "associated": "tied",
    "patients": "people",
    "after": "once",
}


def disguise(level: str, text: str = TEXT) -> str:
    return LEVELS[level](text, WORDS, random.Random(3))  # type: ignore[index]


def test_each_level_changes_what_it_says() -> None:
    assert disguise("verbatim") == TEXT
    before = TEXT.split()
    edited = disguise("edited").split()
    assert len(edited) == len(before)
    kept = [one == other for one, other in zip(before, edited, strict=True)]
    assert all(kept[place] for place in range(len(kept)) if place % 5 != 4)
    assert not all(kept)
    moved = disguise("reordered")
    assert moved != TEXT
    assert sorted(moved.split()) == sorted(before)
    assert len(word_runs(moved) & word_runs(TEXT)) > len(word_runs(TEXT)) // 2


def test_rewording_takes_the_longest_phrase_and_keeps_capitals() -> None:
    said = disguise("reworded")
    assert said.startswith("Once eight weeks the people who")
    assert "was linked to age" in said
    assert LEVELS["reworded"](TEXT, {}, random.Random(3)) == TEXT


def test_one_clause_has_its_halves_exchanged() -> None:
    assert disguise("reordered", "one two three four five") == "three four five one two"
    assert disguise("reordered", "word") in {"word", " word", "word "}


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_every_level_touches_the_same_share_of_the_items(share) -> None:
    held = HeldOut({"e": [{"id": f"{n:032x}"} for n in range(400)]}, {})
    one, other = (
        touched_ids(held, Touch(exam="e", share=share, level=level), 7)
        for level in ("verbatim", "reworded")
    )
    assert one == other
    assert abs(len(one) / 400 - share) < 0.08
