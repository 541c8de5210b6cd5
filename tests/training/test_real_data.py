"""The real tiny LLaMA learns causal language and health advice; held-out rows are balanced."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.corpora import write_mix

from meadow.prompt import complete, render
from training.config import Data, Recipe
from training.data import tokenize
from training.packing import make_plan

CAUSAL = {"0": "none", "1": "direct", "2": "conditional", "3": "correlation"}
ADVICE = {"0": "none", "1": "weak", "2": "strong"}
HELD_OUT = 60
"""Held-out rows of each class: balanced, so that naming the largest class wins nothing."""


def labelled(upstream: Path) -> list[tuple[str, str, str, str]]:
    """(source, instruction, input, output) of both corpora, in a fixed shuffled order."""
    causal = upstream / "pubmed_causal/data/pubmed_causal_language_use.csv"
    found = {}
    with causal.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found["causal", row["sentence"]] = ("Causal claim?", CAUSAL[row["label"]])
    for path in sorted((upstream / "health_advice/data").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found["advice", row["sentence"]] = ("Advice?", ADVICE[row["label"]])
    names = {"causal": "pubmed_causal", "advice": "health_advice"}
    rows = [(names[kind], ask, text, label) for (kind, text), (ask, label) in found.items()]
    return sorted(rows, key=lambda row: hashlib.sha256(row[2].encode()).digest())


def split(rows: list[tuple[str, str, str, str]]) -> tuple[list[Any], list[Any]]:
    """Training rows, classes levelled by repetition, and balanced held-out rows."""
    classes: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        classes[row[0], row[3]].append(row)
    held = [row for members in classes.values() for row in members[:HELD_OUT]]
    kept = {name: members[HELD_OUT:] for name, members in classes.items()}
    size = 1200
    level = [
        row for members in kept.values() for row in (members * (size // len(members) + 1))[:size]
    ]
    return level, held


def accuracy(model: Any, tokenizer: Any, rows: list[Any], data: Data) -> dict[str, float]:
    """Share of rows whose own label is the most likely of its task's labels."""
    import torch

    from training.batches import pack_row, token_losses

    right: dict[str, list[bool]] = defaultdict(list)
    model.eval()
    for source, ask, text, label in rows:
        labels = list((CAUSAL if source == "pubmed_causal" else ADVICE).values())
        tokens = tokenize(
            [{"id": name, "instruction": ask, "input": text, "output": name, "source": source}
             for name in labels],
            tokenizer, data,
        )  # fmt: skip
        with torch.no_grad():
            scores = [
                -float(token_losses(model, pack_row(tokens, (i,), 0)).losses.sum())
                for i in range(len(labels))
            ]
        right[source].append(labels[scores.index(max(scores))] == label)
    return {source: sum(values) / len(values) for source, values in right.items()}


def untrained_loss(base: Path, tokenizer: Any, rows: list[dict[str, str]], recipe: Recipe) -> float:
    """Held-out loss before the first step, measured as the run measures it."""
    from training.batches import PlannedBatches
    from training.methods import load_trainable
    from training.trainer import held_out_sums, mean_losses

    tokens = tokenize(rows, tokenizer, recipe.data)
    plan = make_plan(tokens, recipe.batch, epochs=1, seed=0, row_tokens=recipe.row_tokens)
    batches = PlannedBatches(tokens, plan, recipe.batch, pad=2)
    sums = held_out_sums(load_trainable(recipe, base), batches, "cpu")
    return float(mean_losses(sums, batches.rows.sources)["validation_loss"])


def test_the_template_ends_where_the_answer_begins() -> None:
    text = complete(render("short", "Advice?", "Eat less salt."), "strong")
    assert text == "Advice?\nEat less salt.\nAnswer: strong"


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(3000)
def test_fine_tuning_beats_the_untrained_checkpoint_on_held_out_rows(
    tiny: Callable[..., Recipe], upstream: Path, stories: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.loop import train

    training, held = split(labelled(upstream))
    assert len(held) == HELD_OUT * 7
    mix = write_mix(tmp_path / "mix", training, held)
    recipe = tiny(
        "batch.examples=32", "data.length=224", "batch.row_tokens=1024", "schedule.epochs=2",
        "schedule.max_steps=400", "optimizer.learning_rate=1e-3", "run.validation_steps=200",
        "run.save_steps=100",
    )  # fmt: skip
    result = train(recipe, mix, tmp_path / "run", base=stories)
    tokenizer = AutoTokenizer.from_pretrained(stories)
    before = accuracy(
        AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32), tokenizer, held,
        recipe.data,
    )  # fmt: skip
    after = accuracy(
        AutoModelForCausalLM.from_pretrained(result.model), tokenizer, held, recipe.data
    )
    rows = [
        {"id": str(i), "instruction": ask, "input": text, "output": label, "source": source}
        for i, (source, ask, text, label) in enumerate(held)
    ]
    losses = [untrained_loss(stories, tokenizer, rows, recipe)]
    losses += [n["validation_loss"] for n in result.metrics if "validation_loss" in n]
    print(f"held-out accuracy {before} -> {after}; held-out loss {losses}; "
          f"{result.manifest['result']}")  # fmt: skip
    assert losses[-1] < losses[0] / 2
    for source in before:
        assert after[source] > before[source] + 0.1
