"""Has a model seen an exam? What its own log-likelihoods say, as evidence and not as proof.

The idea of CoDeC (Zawalski et al. 2025, arXiv:2510.27055): to a model that has not seen a set, its
other items in front of an item tell how such items go on, and it becomes more likely. To one
that has learned the items by heart they are in the way, and it becomes less likely. So the share of
items whose log-likelihood *falls* is high for a set that was trained on and low for one that was
not. Where low ends depends on the model and on the form of the items: a control set of the same
form that the model cannot have seen (made after it, or by oneself) stands beside the exam.

What it cannot say: whether a single item was seen; why an exam whose style is everywhere looks
familiar; that an exam is clean, since training on much else wears the trace off.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.backend import Backend
from evaluation.questions import Part, Unit
from evaluation.stats import bootstrap, percentiles, resampled_means
from meadow.errors import UsageError
from meadow.exams.items import ExamItem
from meadow.prompt import exam_input

CUE = "Question:"
"""Stands before every item, alone or not, so that the same tokens are scored in both cases."""
BEFORE = 4
DRAWS = 2000
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What other items in front did to one item."""

    item_id: str
    before: int  # how many stood in front: fewer than asked for where the context is short
    shift: float  # log-likelihood per token behind the others, less that of the item alone


def item_text(item: ExamItem) -> str:
    """An item as it would stand in a training set: question, options, answer."""
    asked = exam_input(item.question, list(item.options))
    return f" {asked}\nAnswer: {item.answer}: {item.answer_text}"


def shifts(
    backend: Backend, items: Sequence[ExamItem], *, before: int = BEFORE, seed: int = 0
) -> list[Shift]:
    """Score every item alone and behind others of the same set; what does not fit is left out.

    `before` others stand in front of an item, drawn for each.
    """
    if len(items) < 2:
        raise UsageError(
            "an item needs another one of its set in front of it", fix="give a set of two and more"
        )
    texts = {item.item_id: item_text(item) for item in items}
    units, used = [], {}
    for key, text in texts.items():
        others = [other for other in texts if other != key]
        drawn = random.Random(f"{seed}{key}").sample(others, min(before, len(others)))  # noqa: S311
        while drawn:
            context = "".join(f"{CUE}{texts[other]}\n\n" for other in drawn) + CUE
            if backend.limit is None or backend.count(context + text) <= backend.limit:
                parts = (Part("text", "alone", CUE, (text,)), Part("text", "", context, (text,)))
                units.append(Unit(key, parts))
                used[key] = len(drawn)
                break
            drawn.pop()
    batches = backend.plan(units, cut_left=False)
    found = {}
    for index, members in enumerate(batches.members):
        for member, scores in zip(members, backend.score(batches, index), strict=True):
            (alone,), (behind,) = scores
            # the two may differ by a token where the border falls otherwise
            shift = behind.loglik / behind.tokens - alone.loglik / alone.tokens
            found[units[member].key] = shift
    return [Shift(key, used[key], found[key]) for key in used]


def compare_sets(
    backend: Backend,
    exam: Sequence[ExamItem],
    control: Sequence[ExamItem] = (),
    *,
    before: int = BEFORE,
    seed: int = 0,
) -> dict[str, Any]:
    """What happens to the items of an exam, beside those of a control set.

    Returns:
        model, set and control (None where none was given) as `describe` gives them, difference
        (how much more often items of the exam fall: value, ci95) and the verdict, one sentence.
    """
    sets = [exam, *([control] if control else [])]
    found = [shifts(backend, items, before=before, seed=seed) for items in sets]
    told = [describe(own, len(items), seed) for own, items in zip(found, sets, strict=True)]
    gap = None
    if control:
        falling = [np.array([one.shift < 0 for one in own]) for own in found]
        means = [
            resampled_means(values.tolist(), resamples=DRAWS, seed=seed + place)
            for place, values in enumerate(falling)
        ]
        value = float(falling[0].mean() - falling[1].mean())
        gap = {"value": value, "ci95": list(percentiles(means[0] - means[1]))}
    beside = told[1] if control else None
    return {"model": backend.describe(), "set": told[0], "control": beside, "difference": gap,
            "verdict": verdict(told[0], beside, gap)}  # fmt: skip


def describe(found: Sequence[Shift], items: int, seed: int = 0) -> dict[str, Any]:
    """The figures of one set, with 95 % bootstrap intervals over its items.

    Returns:
        items, scored, before (mean), falling (share of items that became less likely) and shift
        (mean change of the log-likelihood per token), the last two as value and ci95.
    """
    if not found:
        raise UsageError(
            "no two items fit into the model's context together", fix="a model with a longer one"
        )
    values = np.array([one.shift for one in found])
    return {
        "items": items,
        "scored": len(found),
        "before": float(np.mean([one.before for one in found])),
        **{
            name: {
                "value": float(figures.mean()),
                "ci95": list(bootstrap(figures.tolist(), resamples=DRAWS, seed=seed)),
            }
            for name, figures in (("falling", values < 0), ("shift", values))
        },
    }


def verdict(
    exam: dict[str, Any], control: dict[str, Any] | None, gap: dict[str, Any] | None
) -> str:
    """One sentence, which claims no more than the figures do."""
    share, (low, high) = exam["falling"]["value"], exam["falling"]["ci95"]
    text = f"{share:.0%} [{low:.0%}, {high:.0%}] of {exam['scored']} items are less likely behind "
    text += "others of their set"
    if control is None or gap is None:
        return f"{text}; without a control set this cannot be weighed."
    text += f", {control['falling']['value']:.0%} of the {control['scored']} of the control set"
    if gap["ci95"][0] > 0:
        return f"{text}: evidence, not proof, that the model has seen the exam."
    return f"{text}: no evidence that the model has seen the exam, which proves nothing."
