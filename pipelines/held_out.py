"""Items cut from the corpus itself: balanced by class, and without a relative in the training rows.

Whole clusters of near duplicates are held out, so that no training row is a variant of an item. The
draw is a hash of seed and record id.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.errors import UsageError
from meadow.exams.items import ExamItem, eligible, load_exam
from meadow.prompt import render
from pipelines.study_config import HeldOutPart, StudyExam

if TYPE_CHECKING:
    import polars as pl

LABELS = "ABCDEFGHIJ"
OPTION_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Items and what must leave the training rows with them."""

    items: dict[str, list[dict[str, Any]]]  # rows of the documented exam form, by exam
    taken: dict[str, tuple[str, ...]]  # item's record id -> ids of its cluster, itself included

    def excluded(self, records: Iterable[str], *, keep: float, seed: int) -> frozenset[str]:
        """The record ids that a mix must not hold: the items' clusters, and what is not kept.

        `keep` is the share of the other rows that stays in.
        """
        related = {record for cluster in self.taken.values() for record in cluster}
        if keep == 1:
            return frozenset(related)
        limit = int(keep * 2**64)
        others = {r for r in records if r not in related and draw(seed, f"keep:{r}") >= limit}
        return frozenset(related | others)


def draw(seed: int, text: str) -> int:
    """A number below 2**64 that depends on nothing but its arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big")


def asked_items(exam: StudyExam, paths: Sequence[Path], seed: int) -> list[ExamItem]:
    """The items of an exam that the arms are asked: all, or as many as are wanted, by hash."""
    items = eligible(load_exam(exam.name, paths))
    if exam.longest:
        items = [item for item in items if len(item.question) <= exam.longest]
    if exam.items:
        drawn = sorted(items, key=lambda item: draw(seed, f"ask:{item.item_id}"))[: exam.items]
        chosen = {item.item_id for item in drawn}
        items = [item for item in items if item.item_id in chosen]
    return items


def cut_items(
    frame: pl.DataFrame, exams: Iterable[StudyExam], *, seed: int, template: str
) -> HeldOut:
    """Draw the items of every exam that has parts.

    `template` is the prompt template that the arms are trained with.

    Raises:
        UsageError: A source has too few rows of a class.
    """
    from meadow.mix.duplicates import find_duplicates

    clusters = find_duplicates(frame).clusters
    cluster_of = dict(clusters.select("id", "cluster").iter_rows())
    mates: dict[str, list[str]] = defaultdict(list)
    for record, cluster in cluster_of.items():
        mates[cluster].append(record)
    items: dict[str, list[dict[str, Any]]] = {}
    taken: dict[str, tuple[str, ...]] = {}
    used: set[str] = set()
    for exam in exams:
        if not exam.parts:
            continue
        items[exam.name] = []
        for part in exam.parts:
            rows = frame.filter(frame["source"] == part.source).to_dicts()
            rows = [row for row in rows if _usable(row, template)]
            rows.sort(key=lambda row: draw(seed, row["id"]))
            drawn = _one_per_cluster(rows, part, cluster_of, used)
            cut = _classify if part.per_class else _choose
            items[exam.name] += cut(drawn, part, seed, template)
            for row in drawn:
                cluster = cluster_of.get(row["id"], row["id"])
                taken[row["id"]] = tuple(sorted(mates.get(cluster, [row["id"]])))
    return HeldOut(items, taken)


def _usable(row: Mapping[str, Any], template: str) -> bool:
    question = row["input"].rstrip()
    prompt = render(template, row["instruction"], row["input"])
    return bool(question.strip()) and prompt.count(question) == 1


def _one_per_cluster(
    rows: list[dict[str, Any]],
    part: HeldOutPart,
    cluster_of: Mapping[str, str],
    used: set[str],
) -> list[dict[str, Any]]:
    """As many rows as are wanted (of each class), in drawing order, no two of one cluster."""
    counts: dict[str, int] = defaultdict(int)
    wanted = part.per_class or part.items
    chosen = []
    labels = {row["output"] for row in rows} if part.per_class else {""}
    for row in rows:
        label = row["output"] if part.per_class else ""
        cluster = cluster_of.get(row["id"], row["id"])
        if counts[label] < wanted and cluster not in used:
            used.add(cluster)
            counts[label] += 1
            chosen.append(row)
    short = [label for label in labels if counts[label] < wanted]
    if short:
        raise UsageError(
            f"{part.source} has too few rows to hold out {wanted}"
            + (f" of {short[0]!r}" if part.per_class else ""),
            fix="lower per_class or items in the study",
        )
    return chosen


def _classify(
    rows: list[dict[str, Any]], part: HeldOutPart, seed: int, template: str
) -> list[dict[str, Any]]:
    """The labels of the source are the options of every item."""
    labels = sorted({row["output"] for row in rows})
    return [_item(row, part, template, labels, labels.index(row["output"])) for row in rows]


def _choose(
    rows: list[dict[str, Any]], part: HeldOutPart, seed: int, template: str
) -> list[dict[str, Any]]:
    """The beginning of a row's own answer among those of other held-out rows."""
    items = []
    for row in rows:
        own = _beginning(row["output"])
        others = sorted(
            {_beginning(other["output"]) for other in rows} - {own},
            key=lambda text: draw(seed, f"{row['id']}:{text}"),
        )
        options = sorted(
            [own, *others[: part.options - 1]],
            key=lambda text: draw(seed, f"order:{row['id']}:{text}"),
        )
        items.append(_item(row, part, template, options, options.index(own)))
    return items


def _beginning(text: str) -> str:
    """The first sentence, or as many words as fit."""
    flat = " ".join(text.split())
    end = flat.find(". ")
    sentence = flat[: end + 1] if 0 < end < OPTION_CHARACTERS else flat
    if len(sentence) <= OPTION_CHARACTERS:
        return sentence
    return sentence[:OPTION_CHARACTERS].rsplit(" ", 1)[0]


def _item(
    row: Mapping[str, Any], part: HeldOutPart, template: str, options: list[str], right: int
) -> dict[str, Any]:
    return {
        "id": row["id"],
        "question": row["input"].rstrip(),
        "options": options,
        "answer": LABELS[right],
        "discipline": part.source,
        "prompt": render(template, row["instruction"], row["input"]),
    }
