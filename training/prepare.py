"""Everything a run knows before a model is loaded: rows, plan, micro-batches, identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from meadow.atomic import sha256_file
from meadow.corpus.manifest import hash_json
from meadow.errors import UsageError
from training import run_manifest
from training.batches import PlannedBatches
from training.config import Recipe
from training.data import check_contamination, has_split, mix_facts, open_mix, read_rows
from training.methods import base_location, load_config, load_tokenizer
from training.packing import Plan, make_plan
from training.scratch import make_base, texts_of
from training.tokens import TokenRows, check_tokenizer, pad_token, tokenize
from training.trainer import world_size


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its model.

    Args:
        base: Where the base is: as given, or made by the run.
        tokenizer: Of the base.
        rows: The examples.
        plan: Their steps.
        batches: Their micro-batches.
        validation: Held-out micro-batches, or None.
        identity: What makes two starts the same run.
        manifest: The run manifest so far.
    """

    base: str | Path | None
    tokenizer: Any
    rows: TokenRows
    plan: Plan
    batches: PlannedBatches
    validation: PlannedBatches | None
    identity: dict[str, Any]
    manifest: dict[str, Any]


def prepare(
    recipe: Recipe,
    mix: str | Path,
    out: Path,
    base: str | Path | None,
    *,
    allow_contaminated: bool,
    first: bool,
) -> Prepared:
    """Read the mix, hold it to its gate, tokenise it and plan the run."""
    corpus = open_mix(mix)
    contamination = check_contamination(corpus, allow=allow_contaminated)
    if base is None and recipe.base.repository == "random":
        base = out / "base"
        if first:
            make_base(recipe, texts_of(read_rows(corpus, "train")), base)
        barrier()
    config = load_config(recipe, base)
    longest = getattr(config, "max_position_embeddings", recipe.data.length)
    if recipe.data.length > longest:
        raise UsageError(
            f"data.length {recipe.data.length} is above the model's max_position_embeddings "
            f"{longest}",
            where=str(base or recipe.base.repository),
            fix=f"--set data.length={longest}",
        )
    tokenizer = load_tokenizer(recipe, base)
    check_tokenizer(tokenizer, recipe)
    rows = tokenize(read_rows(corpus, "train", recipe.mix.repeat), tokenizer, recipe.data)
    plan = make_plan(
        rows,
        recipe.batch,
        epochs=recipe.schedule.epochs,
        seed=recipe.run.seed,
        row_tokens=recipe.row_tokens,
        devices=world_size(),
        max_steps=recipe.schedule.max_steps,
    )
    batches = _batches(rows, plan, recipe, tokenizer)
    validation = None
    if has_split(corpus, "validation"):
        held = tokenize(read_rows(corpus, "validation"), tokenizer, recipe.data)
        if len(held):
            once = recipe.batch.model_copy(update={"loss_mean": "tokens", "tail": "short"})
            # Held-out rows are seen by every process in the same order: no device count here.
            one = make_plan(held, once, epochs=1, seed=0, row_tokens=recipe.row_tokens)
            validation = _batches(held, one, recipe, tokenizer)
    name, pinned = base_location(recipe, base)
    own = recipe.base.repository == "random" and base == out / "base"
    identity = {
        "recipe_hash": recipe.hash(),
        "plan_hash": plan.hash(rows),
        "base": {
            "name": "random" if own else name,
            "revision": pinned.get("revision") or _commit(config) or _weights_hash(Path(name)),
        },
    }
    manifest = {
        "status": "started",
        "recipe": recipe.to_json(),
        **identity,
        "mix": mix_facts(corpus),
        "contamination": contamination,
        "data": rows.facts(),
        "steps": len(plan.steps),
        "micro_batches_per_step": plan.micro_batches,
        "short_steps": plan.short_steps,
        "fill": plan.fill,
        "seeds": {"run": recipe.run.seed},
        "versions": run_manifest.versions(),
        "hardware": run_manifest.hardware(world_size()),
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "vocabulary": len(tokenizer),
            "hash": hash_json(sorted(tokenizer.get_vocab().items())),
        },
    }
    return Prepared(base, tokenizer, rows, plan, batches, validation, identity, manifest)


def _commit(config: Any) -> str:
    return str(getattr(config, "_commit_hash", None) or "")


def _weights_hash(folder: Path) -> str:
    """Identifies a local base by its configuration and weights."""
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    return "sha256:" + hash_json({path.name: sha256_file(path) for path in files})


def _batches(rows: TokenRows, plan: Plan, recipe: Recipe, tokenizer: Any) -> PlannedBatches:
    packed = plan.layout == "packed"
    return PlannedBatches(
        rows,
        plan,
        recipe.batch,
        pad=int(tokenizer.eos_token_id) if packed else pad_token(tokenizer, recipe.data),
        left=recipe.data.padding_side == "left",
    )


def barrier() -> None:
    """Wait for the other processes, where there are any."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
