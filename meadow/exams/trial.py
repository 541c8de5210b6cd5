"""What the search would have found: items planted into rows in kinds of disguise, and looked for.

"No item found" is worth what the search can find. For each exam some of its own items are edited in
every kind below and held against the exam, and the share that is found stands beside the verdict.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from meadow.exams.contamination import find_contamination
from meadow.exams.overlap import Level

if TYPE_CHECKING:
    from meadow.exams.items import ExamItem

Edit = Callable[["ExamItem", random.Random], str]
LEAST_WORDS = 20
"""Shorter stems are found as a whole or not at all, and tell nothing of edits."""


def _every(k: int) -> Edit:
    def edit(item: ExamItem, draw: random.Random) -> str:
        words = item.question.split()
        return " ".join(
            draw.choice(words) if place % k == k - 1 else word for place, word in enumerate(words)
        )

    return edit


def _reordered(item: ExamItem, draw: random.Random) -> str:
    sentences = re.split(r"(?<=[.?!])\s+", item.question)
    return " ".join(draw.sample(sentences, len(sentences)))


def _dropped(item: ExamItem, draw: random.Random) -> str:
    words = item.question.split()
    gone = set(draw.sample(range(len(words)), len(words) // 10))
    return " ".join(word for place, word in enumerate(words) if place not in gone)


def _options(item: ExamItem, draw: random.Random) -> str:
    texts = [text for _, text in item.options]
    return "\n".join(draw.sample(texts, len(texts)))


_REWORDED = {
    "man": "gentleman", "woman": "lady", "physician": "doctor", "comes": "presents", "has": "had",
    "shows": "reveals", "which": "what", "because": "on account", "the": "a", "is": "was",
}  # fmt: skip


def _reworded(item: ExamItem, draw: random.Random) -> str:
    return " ".join(_REWORDED.get(word, word) for word in item.question.split())


def _inside(item: ExamItem, draw: random.Random) -> str:
    words = item.question.split()
    around = [" ".join(draw.sample(words, min(len(words), 60))) for _ in range(2)]
    return f"{around[0]}. {_every(9)(item, draw)} {around[1]}."


KINDS: dict[str, Edit] = {
    "verbatim": lambda item, draw: item.question,
    **{f"every {k}th word replaced": _every(k) for k in (10, 9, 8, 7, 6, 5)},
    "sentences reordered": _reordered,
    "10 % of the words dropped": _dropped,
    "reworded by rule": _reworded,
    "every 9th word replaced, inside a longer text": _inside,
    "options only": _options,
}


def planted(
    items: Sequence[ExamItem], most: int
) -> list[tuple[str, ExamItem, tuple[str, str, str, str]]]:
    """Kind of edit, item and row (id, instruction, input, output), for `most` items of an exam.

    Which items is a matter of the hashes of their ids.
    """
    long = [item for item in items if len(item.question.split()) >= LEAST_WORDS]
    chosen = sorted(long, key=lambda item: hashlib.sha256(item.item_id.encode()).digest())[:most]
    found = []
    for item in chosen:
        for kind, edit in KINDS.items():
            draw = random.Random(f"{item.item_id}{kind}")  # noqa: S311
            row = (f"{kind}\x1f{item.item_id}", "Answer the question.", edit(item, draw), "?")
            found.append((kind, item, row))
    return found


def recall(items: Sequence[ExamItem], most: int = 50) -> dict[str, dict[str, int]]:
    """How many edited items of an exam the search finds among all items of the exam.

    Returns:
        Kind of edit -> planted (items of the exam, `most` at the most) and found.
    """
    trials = planted(items, most)
    frame = pl.DataFrame(
        [row for _, _, row in trials],
        schema=dict.fromkeys(("id", "instruction", "input", "output"), pl.String),
        orient="row",
    )
    matches = find_contamination(frame, items).filter(pl.col("level") != Level.NONE.value)
    pairs = set(matches.select("row_id", "item_id").rows())
    counts: dict[str, dict[str, int]] = {}
    for kind, item, row in trials:
        told = counts.setdefault(kind, {"planted": 0, "found": 0})
        told["planted"] += 1
        told["found"] += (row[0], item.item_id) in pairs
    return counts
