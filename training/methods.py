"""The four methods: all weights, or adapters on a base in 16/32 bits, in int8 or in nf4.

No torch at import: a plan asks what a recipe's precision is and loads nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meadow.errors import UsageError
from meadow.models.architecture import beside_text, packed_weights
from meadow.models.loading import Checkpoint, Precision, load_config, load_model, torch_dtype
from training.config import ALL_LINEAR, Base, Lora, Recipe


def dimensions_config(base: Base) -> Any:
    """The configuration that a recipe's dimensions describe, without a download.

    Raises:
        UsageError: The library knows no such type of model, or none of these sizes.
    """
    from transformers import AutoConfig

    own = {"model_type", "rope_theta", "other"}
    values = base.dimensions.model_dump(exclude=own, exclude_none=True)
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": base.dimensions.rope_theta}
    try:
        return AutoConfig.for_model(base.dimensions.model_type, **values | base.dimensions.other)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"these dimensions are no model: {str(error).splitlines()[0][:200]}",
            where="base.dimensions",
            fix="take model_type and sizes from the base's config.json",
        ) from error


def base_checkpoint(recipe: Recipe, base: str | Path | None) -> Checkpoint:
    """Where the base is: `base` (a folder or `REPO[@REVISION]`), else as the recipe says."""
    if base is not None:
        return Checkpoint.parse(base)
    return Checkpoint(recipe.base.repository, recipe.base.revision or None)


def precision(recipe: Recipe) -> Precision:
    """How the base is held while the recipe trains."""
    kind = {"lora_int8": "int8", "qlora_nf4": "nf4"}.get(recipe.method, "")
    held = Precision.of(kind, recipe.base.dtype)
    if kind == "nf4" and recipe.run.fsdp:
        # two packed values a byte cannot be sharded as bytes, but as values of the dtype
        stored = {"bnb_4bit_quant_storage": recipe.base.dtype}
        return Precision(held.dtype, {**held.quantisation, **stored})
    return held


def adapt(model: Any, lora: Lora) -> Any:
    """New adapters on a frozen model.

    peft's own preparation of quantised models is an option: it turns embeddings and norms into
    float32, so that the adapters learn on another base than they are scored on.

    Raises:
        UsageError: The targets are not in the model.
    """
    import peft
    from peft import LoraConfig, get_peft_model

    unreached = {name.rpartition(".")[0] for name in beside_text(model)}
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if lora.targets == ALL_LINEAR else list(lora.targets),
        exclude_modules=sorted(unreached) or None,
        bias="none",
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        modules_to_save=lora.modules_to_save,
    )
    model.requires_grad_(False)
    if lora.prepare_kbit and getattr(model, "is_quantized", False):
        library: Any = peft
        model = library.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        experts = "ParamWrapper" in str(error)
        raise UsageError(
            f"the adapters do not fit the model: {str(error).splitlines()[0][:200]}",
            fix="its experts are fused weights, whose adapters have no dropout: lora.dropout = 0, "
            "or name the attention's layers in lora.targets"
            if experts
            else 'name layers of the model in lora.targets, or "all-linear"',
        ) from error


def apply_method(model: Any, recipe: Recipe) -> Any:
    """Say which weights are trained: all, or new adapters on a frozen base.

    Raises:
        UsageError: The recipe trains nothing, or its targets are not in the model.
    """
    if recipe.method == "none":
        raise UsageError(
            f"recipe {recipe.name} is for evaluation only: there is nothing to train",
            fix="choose another recipe, or set a method: --set method=lora",
        )
    from transformers import set_seed

    set_seed(recipe.run.seed)
    if recipe.method != "full":
        return adapt(model, recipe.lora)
    model.requires_grad_(True)
    for name in beside_text(model):
        # a vision tower gets no gradient from text, for which data parallelism would wait
        model.get_parameter(name).requires_grad_(False)
    return model


def load_trainable(
    recipe: Recipe,
    base: str | Path | None = None,  # another base than the recipe's
    *,
    device: str = "cpu",  # of a quantised base
    attention: str | None = None,  # transformers' name of it; None is the library's choice
) -> Any:
    """The model as it starts into training.

    Raises:
        FileError: The base is not there.
        UsageError: The recipe trains nothing.
    """
    if recipe.method == "none":
        return apply_method(None, recipe)
    held = precision(recipe)
    # Trainer moves what is not quantised: under FSDP only this device's share of it
    where = device if held.quantisation else "cpu"
    checkpoint = base_checkpoint(recipe, base)
    unpacked = packed_weights(load_config(checkpoint))
    if recipe.base.loaded_as and not held.quantisation:
        held = Precision(recipe.base.loaded_as)
    model = load_model(checkpoint, held, device=where, attention=attention, unpacked=unpacked)
    if recipe.base.loaded_as and not held.quantisation:
        model = model.to(torch_dtype(recipe.base.dtype))
    return apply_method(model, recipe)
