"""What a run needs, before anything is downloaded or allocated.

The model is built on the meta device, the adapters by peft itself, so that parameters are counted,
not guessed, in every architecture; what was counted before is kept, and torch is imported only for
what is new. Memory is arithmetic, per part, in GB (1e9 bytes):

- weights: as `meadow.models.sizes` counts them; adapters are float32.
- gradients: as the trained weights. optimizer: AdamW two values per trained weight in its dtype;
  8-bit AdamW two bytes and two float32 scales per 256 values. Under FSDP with mixed precision
  accelerate holds all of what is trained in float32, whatever the base's dtype.
- autocast: a half-precision copy of trained float32 weights, where mixed precision is on and the
  weights are not sharded.
- activations: what the layers keep for the backward pass of one micro-batch, from the same place.
  With checkpointing every layer keeps its input, and one layer is held whole; without it, every
  layer is. T x T values for the mask of a packed row.
- logits: the values of `LOGITS_AT_ONCE` tokens, their float32 copy and its gradient.

Fragmentation, the allocator's reserve and communication buffers are not in it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from meadow.api import open_corpus
from meadow.atomic import sha256_file
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import NAME
from meadow.errors import FileError, RefusedError
from meadow.exams.contamination import check_contamination
from meadow.models.architecture import empty_model
from meadow.models.kept import kept
from meadow.models.loading import (
    Checkpoint,
    count_parameters,
    load_config,
    load_tokenizer,
    quiet,
    tokenizer_files,
    torch_dtype,
)
from meadow.models.random_base import make_tokenizer
from meadow.models.sizes import GB, WIDTH, Sizes, kept_bytes, logits_at_once
from training.config import RECIPES, Recipe
from training.data import (
    CHARACTERS_PER_TOKEN,
    TokenRows,
    frame_tokenizer,
    preview,
    read_rows,
    split_rows,
    texts_of,
    tokenize,
)
from training.methods import apply_method, base_checkpoint, dimensions_config, precision
from training.packing import plan_recipe

BLOCK_8BIT = 256
UTILISATION = 0.4
"""Share of a device's peak arithmetic that a run is assumed to reach, for the hours."""
SHIPPED = RECIPES / "sizes.json"
"""Hash -> counts, of the project's recipes as they stand."""


def micro_tokens(recipe: Recipe) -> tuple[int, int]:
    """(tokens, longest row) of a micro-batch."""
    if recipe.batch.layout == "packed":
        return recipe.row_tokens, recipe.row_tokens
    return recipe.batch.micro_batch * recipe.data.length, recipe.data.length


def measure(recipe: Recipe, config: Any) -> Sizes:
    """Count a recipe's parameters and activations, on a model without memory.

    Raises:
        UsageError: Its model or its adapters cannot be made.
    """
    # what runs faster keeps as much for the backward pass as sdpa does
    attention = recipe.run.attention if recipe.run.attention == "eager" else "auto"
    model = empty_model(config, dtype=recipe.base.dtype, attention=attention)
    sizes = Sizes.of(model)
    if recipe.method == "none":
        return sizes
    _, trainable = count_parameters(apply_method(model, recipe))
    mixed = recipe.run.mixed_precision
    tokens, longest = micro_tokens(recipe)
    layer = kept_bytes(
        model,
        rows=tokens // longest,
        longest=longest,
        width=WIDTH[recipe.base.dtype],
        mixed=None if mixed == "no" else torch_dtype(mixed),
        cast=recipe.run.fsdp and mixed != "no",
    )
    return replace(sizes, trainable=trainable, kept=layer)


def measured(recipe: Recipe, config: Path | None = None) -> Sizes:
    """As `measure`, of a base's folder or of the recipe's dimensions; kept once it was counted.

    Raises:
        FileError: The base's configuration cannot be read.
        UsageError: Its model or its adapters cannot be made.
    """

    def count() -> dict[str, Any]:
        quiet()
        found = load_config(Checkpoint(str(config))) if config else dimensions_config(recipe.base)
        return asdict(measure(recipe, found))

    return Sizes.from_json(kept(sizes_of(recipe, config), count, shipped=SHIPPED))


def sizes_of(recipe: Recipe, config: Path | None = None) -> dict[str, Any]:
    """All of a recipe that its counts depend on."""
    whole = recipe.to_json()
    model = whole["base"]["dimensions"]
    if config is not None:
        file = config / "config.json"
        model = sha256_file(file) if file.is_file() else str(config)  # counting says what lacks
    return {
        "model": model,
        "dtype": recipe.base.dtype,
        "method": recipe.method,
        "lora": None if recipe.method in ("none", "full") else whole["lora"],
        "tokens": micro_tokens(recipe),
        "run": [recipe.run.attention == "eager", recipe.run.mixed_precision, recipe.run.fsdp],
    }


def weight_bytes(recipe: Recipe, sizes: Sizes) -> float:
    """Bytes of all weights, adapters included, which are float32."""
    adapters = 0 if recipe.method in ("none", "full") else sizes.trainable * 4
    width = WIDTH[recipe.base.dtype]
    return sizes.held_bytes(precision(recipe).kind, width) + adapters


def memory(recipe: Recipe, sizes: Sizes) -> dict[str, float]:
    """GB by part on one device without sharding; the module's docstring states each formula."""
    if recipe.method == "none":
        return {"weights": weight_bytes(recipe, sizes) / GB, "gradients": 0.0, "optimizer": 0.0}
    full = recipe.method == "full"
    width = WIDTH[recipe.base.dtype]
    mixed = recipe.run.mixed_precision != "no"
    trained_width = 4 if not full or (recipe.run.fsdp and mixed) else width
    weights = weight_bytes(recipe, sizes) + (trained_width - width) * sizes.parameters * full
    eight_bit = recipe.optimizer.name == "adamw_8bit"
    state = 2 * (1 + 4 / BLOCK_8BIT) if eight_bit else 2 * trained_width
    compute = 2 if mixed else width
    tokens, longest = micro_tokens(recipe)
    layer, given = sizes.kept
    activations = sizes.layers * (given if recipe.run.activation_checkpointing else layer)
    activations += recipe.run.activation_checkpointing * layer + tokens * longest * compute
    at_once = min(tokens, logits_at_once(sizes.vocabulary)) if sizes.pieces else tokens
    autocast = sizes.trainable * 2 if full and mixed and width == 4 and not recipe.run.fsdp else 0
    return {
        "weights": weights / GB,
        "gradients": sizes.trainable * trained_width / GB,
        "optimizer": sizes.trainable * state / GB,
        "autocast": autocast / GB,
        "activations": activations / GB,
        "logits": at_once * sizes.vocabulary * (compute + 8) / GB,
    }


def per_device(recipe: Recipe, parts: dict[str, float], devices: int) -> dict[str, float]:
    """GB by part on each device: FSDP divides the state, data parallelism does not."""
    sharded = ("weights", "gradients", "optimizer")
    share = devices if recipe.run.fsdp else 1
    return {name: gb / share if name in sharded else gb for name, gb in parts.items()}


def check_memory(
    recipe: Recipe, sizes: Sizes, *, devices: int, available_gb: float, device: str, ignore: bool
) -> dict[str, Any]:
    """Refuse a run that cannot fit.

    Returns:
        What the run manifest says.

    Raises:
        RefusedError: It does not fit, and `ignore` is not set.
    """
    parts = per_device(recipe, memory(recipe, sizes), devices)
    needed = sum(parts.values())
    facts = {
        "per_device_gb": parts,
        "needed_gb": needed,
        "available_gb": available_gb,
        "device": device,
        "ignored": ignore,
    }
    if needed > available_gb and not ignore:
        listed = ", ".join(f"{name} {gb:.3g}" for name, gb in parts.items() if gb)
        raise RefusedError(
            f"the run needs about {needed:.3g} GB per device ({listed}); "
            f"{device} has {available_gb:.3g} GB",
            fix="choose a smaller method or batch.row_tokens, more devices with run.fsdp, or "
            "--ignore-memory",
        )
    return facts


def estimate_rows(rows: Any, recipe: Recipe) -> TokenRows:
    """Lengths by characters, where no tokenizer is at hand; the tokens themselves are zeros."""
    lengths: list[int] = []
    ids: list[str] = []
    for row in rows:
        characters = sum(len(row[name] or "") for name in ("instruction", "input", "output"))
        frame = 60 if "alpaca" in recipe.data.template else 10
        tokens = round(characters / CHARACTERS_PER_TOKEN) + frame
        lengths.append(max(2, min(recipe.data.length, tokens)))
        ids.append(row["id"])
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    none = np.zeros(len(ids), dtype=np.int32)
    learned = ~np.isin(np.arange(starts[-1]), starts)
    return TokenRows(np.zeros(len(learned), np.int32), starts, learned, none, ids,
                     [0] * len(ids), ["unknown"])  # fmt: skip


def tokenizer_of(recipe: Recipe, base: str | Path | None) -> Any:
    """What tells the tokenizer that `find_tokenizer` gives from others; None: there is none."""
    if base is None and recipe.base.repository == "random":
        return "learned"
    return tokenizer_files(base_checkpoint(recipe, base))


def find_tokenizer(recipe: Recipe, base: str | Path | None, rows: Any) -> Any:
    """A tokenizer that needs no download: of `base`, of the cache, or learned; else None."""
    if base is not None and Path(base).is_dir():
        return load_tokenizer(base_checkpoint(recipe, base))
    if base is None and recipe.base.repository == "random":
        sizes = recipe.base.dimensions
        return make_tokenizer(texts_of(rows()), sizes.vocab_size, sizes.max_position_embeddings)
    try:
        return load_tokenizer(base_checkpoint(recipe, base), local_only=True)
    except FileError:
        return None


def preview_run(
    recipe: Recipe, mix: str | Path, base: str | Path | None, number: int
) -> list[dict[str, Any]]:
    """The first examples of a run as tokens with what is learned; only a tokenizer is loaded.

    Raises:
        UsageError: The mix, the tokenizer and the recipe do not go together.
        FileError: There is no tokenizer.
    """
    quiet()
    corpus = open_corpus(mix)
    tokenizer = find_tokenizer(recipe, base, lambda: read_rows(corpus, "train"))
    if tokenizer is None:
        tokenizer = load_tokenizer(base_checkpoint(recipe, base))
    frame_tokenizer(tokenizer, recipe)
    return preview(split_rows(corpus, recipe)[0], tokenizer, recipe.data, number)


def hours(recipe: Recipe, sizes: Sizes, tokens: int, gpus: int, tflops: float) -> float:
    """Hours by arithmetic.

    2 operations per weight and token forward, 4 backward, 2 again where activations are recomputed;
    frozen weights need no weight gradient and save 2.
    """
    operations = 6 + (2 if recipe.run.activation_checkpointing else 0)
    operations -= 0 if recipe.method == "full" else 2
    work = operations * sizes.parameters * tokens
    return work / (gpus * tflops * 1e12 * UTILISATION) / 3600


def plan_run(
    recipe: Recipe,
    *,
    mix: str | Path | None = None,  # a mix, to count steps and tokens; None leaves them null
    base: str | Path | None = None,  # a local base, for its tokenizer and its sizes
    gpus: int | None = None,
    gpu_gb: float | None = None,  # memory of each, GB; without both, `fits` is null
    # peak arithmetic of each, 1e12 operations per second, for the hours
    gpu_tflops: float | None = None,
) -> dict[str, Any]:
    """The document of `meadow plan`.

    Raises:
        UsageError: The recipe, the mix and the devices do not go together.
    """
    sizes = measured(recipe, Path(base) if base is not None and Path(base).is_dir() else None)
    parts = memory(recipe, sizes)
    shared = per_device(recipe, parts, gpus or 1)
    document: dict[str, Any] = {
        "recipe": recipe.name,
        "method": recipe.method,
        "parameters": sizes.parameters,
        "trainable_parameters": sizes.trainable,
        "expert_parameters": sizes.fused,
        "memory_gb": {**parts, "total": sum(parts.values())},
        "memory_per_gpu_gb": {**shared, "total": sum(shared.values())},
        "steps": None,
        "tokens": None,
        "tokens_estimated": None,
        "fits": None,
        "hours": None,
        "reported_2023": recipe.reported.model_dump() if recipe.reported else None,
    }
    if gpus and gpu_gb:
        document["fits"] = sum(shared.values()) <= gpu_gb
    if mix is not None:
        document |= _plan_mix(recipe, mix, base, gpus or 1)
        if gpus and gpu_tflops and document["tokens"]:
            document["hours"] = hours(recipe, sizes, document["tokens"], gpus, gpu_tflops)
            document["hours_assume"] = (
                f"{UTILISATION:.0%} of {gpu_tflops:g} TFLOPS on {gpus} GPU{'s' if gpus > 1 else ''}"
            )
    return document


def _plan_mix(
    recipe: Recipe, mix: str | Path, base: str | Path | None, devices: int
) -> dict[str, Any]:
    """Steps and tokens of a run over a mix, counted once for all that they depend on."""
    corpus = open_corpus(mix)
    tokenizer = tokenizer_of(recipe, base)
    of = {
        "mix": sha256_file(corpus.folder / NAME),
        "recipe": recipe.to_json(),
        "tokenizer": tokenizer,
        "devices": devices,
    }
    at_hand = tokenizer is not None
    found = kept(of, lambda: _count_mix(recipe, corpus, base, devices, at_hand), shipped=SHIPPED)
    return dict(found)


def _count_mix(
    recipe: Recipe, corpus: Corpus, base: str | Path | None, devices: int, at_hand: bool
) -> dict[str, Any]:
    contamination = check_contamination(corpus, allow=True)

    def texts() -> Any:
        return split_rows(corpus, recipe)[0]

    if at_hand:
        quiet()
    tokenizer = find_tokenizer(recipe, base, texts) if at_hand else None
    if tokenizer is None:
        rows = estimate_rows(texts(), recipe)
    else:
        frame_tokenizer(tokenizer, recipe)
        rows = tokenize(texts(), tokenizer, recipe.data)
    found = {"tokens_estimated": tokenizer is None, "contamination": contamination}
    if recipe.method == "none":
        return {"steps": 0, "tokens": 0, **found}
    plan = plan_recipe(rows, recipe, devices=devices)
    seen = sum(int(rows.lengths[step.examples].sum()) for step in plan.steps)
    return {
        "steps": len(plan.steps),
        "tokens": seen,
        "tokens_per_epoch": int(rows.starts[-1]),
        "rows": {
            "in": len(rows) + len(rows.rejected),
            "out": len(rows),
            "rejected": rows.facts()["rejected"],
            "cut": rows.cut,
        },
        "rows_per_step": plan.micro_batches,
        "fill": plan.fill,
        "short_steps": plan.short_steps,
        "plan_hash": plan.hash(rows) if tokenizer is not None else None,
        **found,
    }
