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


def prediction(
    mode: str,
    question: Question,
    *,
    numbers: Sequence[float] | None = None,
    pred: str | None = None,
    sample: int = 0,
    status: str = "",
    rule: str = "",
    text: str | None = None,
    retries: int = 0,
) -> dict[str, Any]:
    """One row of predictions.parquet.

    Args:
        mode: One of `MODES`.
        question: What was asked.
        numbers: What was compared; a missing one (censored by a server) is NaN and never wins.
        pred: The predicted label where nothing was compared.
        sample: Which draw of a sampled mode.
        status: scored, unscorable, censored, or the parser's status.
        rule: The parser's rule.
        text: The raw response.
        retries: Regenerations of the legacy protocol.
    """
    if numbers is not None:
        known = [n for n in numbers if not math.isnan(n)]
        status = status or ("scored" if len(known) == len(numbers) else "censored")
        if known:
            best = max(known)
            pred = question.item.labels[list(numbers).index(best)]
    gold = question.gold
    return {
        "item_id": question.item.item_id,
        "mode": mode,
        "variant": question.variant,
        "sample": sample,
        "labels": list(question.item.labels),
        "order": [question.item.labels[place] for place in question.order],
        "logliks": None if numbers is None else [float(n) for n in numbers],
        "pred": pred,
        "gold": gold,
        "correct": pred == gold,
        "status": status,
        "rule": rule,
        "text": text,
        "retries": retries,
        "strict_pred": None,
        "n_tokens": question.n_tokens,
        "truncated": question.truncated,
        "lost": question.lost,
        "scorable": question.scorable,
        "step": question.item.step,
        "discipline": question.item.discipline,
        "n_options": len(question.item.options),
    }


def scored_rows(
    modes: Iterable[str], question: Question, scores: Scores | None
) -> list[dict[str, Any]]:
    """The rows of a question in every scored mode; without scores it is unscorable, so wrong."""
    wanted = [mode for mode in modes if mode in SCORED]
    if scores is None:
        return [prediction(mode, question, status="unscorable") for mode in wanted]
    return [prediction(mode, question, numbers=values(mode, question, scores)) for mode in wanted]
