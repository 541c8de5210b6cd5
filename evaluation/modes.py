"""Scoring modes: from log-likelihoods and generated texts to predictions.

`letter`, `option` ("A: text") and `text` are sums of log-likelihoods. `text_per_token`,
`text_per_byte` and `text_pmi` (less the log-likelihood of the same text after the bare cue) come
from the numbers that `text` has already. All of them come from one forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.questions import Question
from evaluation.trie import Score
from meadow.config import did_you_mean
from meadow.errors import UsageError

SCORED = ("letter", "option", "text", "text_per_token", "text_per_byte", "text_pmi")
GENERATED = ("generate", "generate_sc", "cot", "medalpaca_legacy")
MODES = (*SCORED, *GENERATED)
ALIASES = {"pmi": "text_pmi", "text_norm": "text_per_token", "legacy": "medalpaca_legacy",
           "self_consistency": "generate_sc"}  # fmt: skip
KIND_OF = {"letter": "letter", "option": "option"}

Scores = Mapping[str, Sequence[Score]]
"""Kind of continuation -> a score per option."""


def parse_modes(text: str | Iterable[str]) -> tuple[str, ...]:
    """Mode names, apart or separated by commas, in the order of `MODES`.

    `text` brings its two normalised forms along.

    Raises:
        UsageError: A name is unknown.
    """
    parts = [text] if isinstance(text, str) else text
    names = [name.strip() for part in parts for name in part.split(",")]
    wanted = set()
    for name in filter(None, names):
        mode = ALIASES.get(name, name)
        if mode not in MODES:
            near = did_you_mean(name, (*MODES, *ALIASES))
            raise UsageError(f"unknown mode {name!r}", fix=f"{near}one of {', '.join(MODES)}")
        wanted.add(mode)
    if "text" in wanted:
        wanted |= {"text_per_token", "text_per_byte"}
    if not wanted:
        raise UsageError("no modes", fix=f"--modes with some of {', '.join(MODES)}")
    return tuple(mode for mode in MODES if mode in wanted)


def kinds_of(modes: Iterable[str]) -> list[str]:
    """The kinds of continuation that the modes need."""
    needed = {KIND_OF.get(mode, "text") for mode in modes if mode in SCORED}
    return [kind for kind in ("letter", "option", "text") if kind in needed]


def values(mode: str, question: Question, scores: Scores) -> list[float]:
    """What a mode compares, one number per shown option."""
    if mode in KIND_OF:
        return [score.loglik for score in scores[KIND_OF[mode]]]
    texts = scores["text"]
    if mode == "text":
        return [score.loglik for score in texts]
    if mode == "text_per_token":
        return [score.loglik / score.tokens for score in texts]
    if mode == "text_per_byte":
        return [
            score.loglik / len(text.encode())
            for score, (_, text) in zip(texts, question.options, strict=True)
        ]
    alone = scores["text_given_cue"]  # in the exam's order; the shown order may differ
    return [
        score.loglik - alone[place].loglik
        for score, place in zip(texts, question.order, strict=True)
    ]


def prediction(mode: str, question: Question, **found: Any) -> dict[str, Any]:
    """One row of predictions.parquet.

    Args:
        mode: One of `MODES`.
        question: What was asked.
        found: What the mode says: pred (None: no letter), status (scored, censored, unscorable, or
            the parser's), and where it has them logliks, rule, text, retries, strict_pred and, if
            it is not whether pred is the right label, correct.
    """
    item = question.item
    row: dict[str, Any] = {
        "item_id": item.item_id,
        "mode": mode,
        "variant": question.variant,
        "sample": 0,
        "labels": list(item.labels),
        "order": [item.labels[place] for place in question.order],
        "logliks": None,
        "pred": None,
        "gold": question.gold,
        "rule": "",
        "text": None,
        "prompt": question.context,
        "retries": 0,
        "strict_pred": None,
        "n_tokens": question.n_tokens,
        "truncated": bool(question.lost),
        "lost": question.lost,
        "scorable": question.scorable,
        "step": item.step,
        "discipline": item.discipline,
        "n_options": len(item.options),
        **found,
    }
    row.setdefault("correct", row["pred"] == row["gold"])
    return row


def scored_rows(
    modes: Iterable[str], question: Question, scores: Scores | None
) -> list[dict[str, Any]]:
    """The rows of a question in every scored mode; without scores it is unscorable, so wrong."""
    rows = []
    for mode in (mode for mode in modes if mode in SCORED):
        if scores is None:
            rows.append(prediction(mode, question, status="unscorable"))
            continue
        numbers = values(mode, question, scores)
        # one that a server censored is NaN and never wins
        known = [number for number in numbers if not math.isnan(number)]
        pred = question.item.labels[numbers.index(max(known))] if known else None
        status = "scored" if len(known) == len(numbers) else "censored"
        rows.append(prediction(mode, question, logliks=numbers, pred=pred, status=status))
    return rows
