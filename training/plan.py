"""What a run needs, before anything is downloaded or allocated.

The model is built on the meta device, the adapters by peft itself, so that parameters are counted,
not guessed, in every architecture. Memory is arithmetic, per part, in GB (1e9 bytes):

- weights: bytes per value of the dtype; int8 1 byte and a float32 scale per output; nf4 half a
  byte, 1 byte of scale per 64 values and 4 bytes per 256 scales; embeddings, norms, the output
  layer and fused experts are never quantised; adapters are float32.
- gradients: as the trained weights. optimizer: AdamW two values per trained weight in its dtype;
  8-bit AdamW two bytes and two float32 scales per 256 values. Under FSDP with mixed precision
  accelerate holds all of what is trained in float32, whatever the base's dtype.
- autocast: a half-precision copy of trained float32 weights, where mixed precision is on and the
  weights are not sharded.
- activations: what the layers keep for the backward pass of one micro-batch, counted by running
  them on tensors without memory. With checkpointing every layer keeps its input, and one layer is
  held whole; without it, every layer is. T x T values for the mask of a packed row.
- logits: the values of `LOGITS_AT_ONCE` tokens, their float32 copy and its gradient.

Fragmentation, the allocator's reserve and communication buffers are not in it.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from meadow.errors import FileError, RefusedError
from meadow.exams.contamination import check_contamination
from meadow.models.architecture import empty_model, gives_its_logits
from meadow.models.loading import load_config, load_tokenizer, quiet, torch_dtype
from training.batches import logits_at_once
from training.config import Recipe
from training.data import (
    CHARACTERS_PER_TOKEN,
    TokenRows,
    frame_tokenizer,
    open_mix,
    preview,
    read_rows,
    split_rows,
    texts_of,
    tokenize,
)
from training.methods import apply_method, base_checkpoint, dimensions_config, make_tokenizer
from training.packing import plan_recipe

GB = 1e9
BLOCK_8BIT = 256
BLOCK_NF4 = 64
BLOCK_SCALES = 256
EXPERT_DIMENSIONS = 3
"""Of a weight that holds all experts of a layer."""
FEW_LAYERS = 6
"""On which activations are counted: the longest pattern of full and sliding attention, once."""
UTILISATION = 0.4
"""Share of a device's peak arithmetic that a run is assumed to reach, for the hours."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parameter counts of a model, adapters included, and what its layers keep.

    Args:
        parameters: Of the base.
        trainable: That are trained: the base's, or the adapters'.
        matrices: Values of each linear layer that quantisation replaces, for block counts.
        outputs: Output features of those layers, summed.
        vocabulary: Rows of the embedding.
        fused: Values of experts that are no linear layers.
        pieces: Whether losses can be taken piece by piece (`batches.lose_in_pieces`).
        layers: How many there are.
        kept: Bytes that one layer keeps of a micro-batch, and those of its input alone.
    """

    parameters: int
    trainable: int
    matrices: tuple[int, ...]
    outputs: int
    vocabulary: int
    fused: int
    pieces: bool
    layers: int
    kept: tuple[float, float]

    @property
    def linear(self) -> int:
        """Values of all those layers."""
        return sum(self.matrices)


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
    output = model.get_output_embeddings()
    quantised = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    ]
    parameters = sum(p.numel() for p in model.parameters())
    matrices = tuple(module.weight.numel() for module in quantised)
    outputs = sum(module.out_features for module in quantised)
    language = model.get_decoder().parameters()
    fused = sum(p.numel() for p in language if p.dim() == EXPERT_DIMENSIONS)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    pieces = gives_its_logits(model)
    adapted = model if recipe.method == "none" else apply_method(model, recipe)
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    return Sizes(
        parameters=parameters,
        trainable=0 if recipe.method == "none" else trainable,
        matrices=matrices,
        outputs=outputs,
        vocabulary=vocabulary,
        fused=fused,
        pieces=pieces,
        layers=config.get_text_config().num_hidden_layers,
        kept=(0, 0) if recipe.method == "none" else kept_bytes(recipe, model),
    )


def kept_bytes(recipe: Recipe, model: Any) -> tuple[float, float]:
    """Bytes that a layer keeps for the backward pass of a micro-batch, and those of its input.

    The first layers run on fake tensors, which have shapes and no memory; what autograd saves of
    them is summed.

    Args:
        recipe: What is trained, in which precision.
        model: Without memory, adapters included; it is of no use afterwards.
    """
    mixed = recipe.run.mixed_precision != "no"
    # FSDP's policy casts the weights themselves; fused experts have fake kernels in bfloat16 alone
    decoder = model.get_decoder()
    fused = any(value.dim() == EXPERT_DIMENSIONS for value in decoder.parameters())
    cast = fused or (mixed and recipe.run.fsdp)
    scale = torch_dtype(recipe.base.dtype).itemsize / 2 if fused and not mixed else 1
    tokens, longest = micro_tokens(recipe)
    stack = next(part for part in decoder.modules() if isinstance(part, torch.nn.ModuleList))
    del stack[FEW_LAYERS:]
    # a number of tokens that no weight has in its shape tells activations from cast weights
    odd = longest | 1
    kept: dict[int, torch.Tensor] = {}
    inputs: list[torch.Tensor] = []
    with FakeTensorMode():
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    dtype = torch.bfloat16 if cast else value.dtype
                    fake = torch.empty(value.shape, dtype=dtype)
                    module._parameters[name] = torch.nn.Parameter(fake, value.requires_grad)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)

        def keep(value: torch.Tensor) -> torch.Tensor:
            if odd in value.shape or tokens // longest * odd in value.shape:
                kept[value.untyped_storage()._cdata] = value
            return value

        stack[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        model.train()
        rows = torch.zeros((tokens // longest, odd), dtype=torch.int64)
        autocast = torch.autocast(
            "cpu", dtype=torch_dtype(recipe.run.mixed_precision) if mixed else None, enabled=mixed
        )
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), autocast:
            decoder(input_ids=rows.requires_grad_(False), use_cache=False)
        total = sum(value.untyped_storage().nbytes() for value in kept.values())
    return scale * total / len(stack), scale * inputs[0].untyped_storage().nbytes()


def weight_bytes(recipe: Recipe, sizes: Sizes) -> float:
    """Bytes of all weights, adapters included."""
    width: int = torch_dtype(recipe.base.dtype).itemsize
    rest = (sizes.parameters - sizes.linear) * width
    adapters = 0 if recipe.method in ("none", "full") else sizes.trainable * 4
    if recipe.method == "lora_int8":
        return sizes.linear + 4 * sizes.outputs + rest + adapters
    if recipe.method == "qlora_nf4":
        scales = [math.ceil(values / BLOCK_NF4) for values in sizes.matrices]
        second = sum(math.ceil(count / BLOCK_SCALES) for count in scales)
        return sizes.linear / 2 + sum(scales) + 4 * second + rest + adapters
    return sizes.parameters * width + adapters


def memory(recipe: Recipe, sizes: Sizes) -> dict[str, float]:
    """GB by part on one device without sharding; the module's docstring states each formula."""
    if recipe.method == "none":
        return {"weights": weight_bytes(recipe, sizes) / GB, "gradients": 0.0, "optimizer": 0.0}
    full = recipe.method == "full"
    width: int = torch_dtype(recipe.base.dtype).itemsize
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


def device_gb(local_processes: int = 1) -> tuple[float, str]:
    """GB of the device that this process would train on, and what it is."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return properties.total_memory / GB, properties.name
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return pages / GB / local_processes, "the processor's memory"


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
    corpus = open_mix(mix)
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
    mix: str | Path | None = None,
    base: str | Path | None = None,
    gpus: int | None = None,
    gpu_gb: float | None = None,
    gpu_tflops: float | None = None,
) -> dict[str, Any]:
    """The document of `meadow plan`.

    Args:
        recipe: What to plan.
        mix: A mix, to count steps and tokens; None leaves them null.
        base: A local base, for its tokenizer and its sizes.
        gpus: Devices.
        gpu_gb: Memory of each, GB; without both, `fits` is null.
        gpu_tflops: Peak arithmetic of each, 1e12 operations per second, for the hours.

    Raises:
        UsageError: The recipe, the mix and the devices do not go together.
    """
    quiet()
    local = base is not None and Path(base).is_dir()
    config = load_config(base_checkpoint(recipe, base)) if local else dimensions_config(recipe.base)
    sizes = measure(recipe, config)
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
            document["hours_assume"] = f"{UTILISATION:.0%} of {gpu_tflops} TFLOPS on {gpus} GPUs"
    return document


def _plan_mix(
    recipe: Recipe, mix: str | Path, base: str | Path | None, devices: int
) -> dict[str, Any]:
    corpus = open_mix(mix)
    contamination = check_contamination(corpus, allow=True)

    def texts() -> Any:
        return split_rows(corpus, recipe)[0]

    tokenizer = find_tokenizer(recipe, base, texts)
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
