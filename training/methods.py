"""The four methods: all weights, or adapters on a base in 16/32 bits, in int8 or in nf4."""

from __future__ import annotations

import platform
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerFast,
    set_seed,
)

from meadow.atomic import fsync_file, fsync_folder
from meadow.errors import FileError, UsageError
from meadow.models.weights import check_model
from meadow.net.redaction import redact
from training.config import ALL_LINEAR, Base, Dtype, Lora, Method, Recipe

DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def quiet() -> None:
    """Leave the terminal to this program: no library's remarks, and bars only on a terminal."""
    from transformers.utils import logging as transformers_logging

    library: Any = transformers_logging
    library.set_verbosity_error()
    # Trainer and peft use names of transformers that it deprecates itself.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers(\.|$)")
    if not sys.stderr.isatty():
        library.disable_progress_bar()


def dimensions_config(base: Base) -> Any:
    """The configuration that a recipe's dimensions describe, without a download."""
    values = base.dimensions.model_dump(exclude={"model_type", "rope_theta"}, exclude_none=True)
    return AutoConfig.for_model(
        base.dimensions.model_type,
        **values,
        rope_parameters={"rope_type": "default", "rope_theta": base.dimensions.rope_theta},
    )


def base_location(recipe: Recipe, base: str | Path | None) -> tuple[str, dict[str, Any]]:
    """Where the base's files are, and the arguments that pin them.

    Args:
        recipe: Names repository and revision.
        base: Another folder or `REPO[@REVISION]`; it replaces the recipe's.
    """
    if base is None:
        name, revision = recipe.base.repository, recipe.base.revision
    elif Path(base).is_dir():
        return str(base), {"trust_remote_code": False}
    else:
        name, _, revision = str(base).partition("@")
    arguments: dict[str, Any] = {"trust_remote_code": False}
    return name, arguments | ({"revision": revision} if revision else {})


def load_tokenizer(recipe: Recipe, base: str | Path | None = None) -> Any:
    """The tokenizer of the base.

    Raises:
        FileError: It is not there, or cannot be read.
    """
    name, arguments = base_location(recipe, base)
    try:
        return AutoTokenizer.from_pretrained(
            name, use_fast=not recipe.base.slow_tokenizer, **arguments
        )
    except (OSError, ValueError) as error:
        raise _unreadable("tokenizer", name, error) from error


def load_config(recipe: Recipe, base: str | Path | None = None) -> Any:
    """The base's own configuration.

    Raises:
        FileError: It is not there, or cannot be read.
    """
    name, arguments = base_location(recipe, base)
    try:
        return AutoConfig.from_pretrained(name, **arguments)
    except (OSError, ValueError) as error:
        raise _unreadable("model configuration", name, error) from error


def _unreadable(what: str, name: str, error: Exception) -> FileError:
    first = (redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:200]
    return FileError(
        f"the {what} cannot be loaded: {first}",
        where=name,
        fix="name a local folder or another repository with --base PATH|REPO",
    )


def quantization(method: Method, dtype: Dtype) -> Any:
    """How the frozen base is quantised, or None."""
    make: Any = BitsAndBytesConfig
    if method == "lora_int8":
        return make(load_in_8bit=True)
    if method == "qlora_nf4":
        return make(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[dtype],
        )
    return None


def load_base(
    name: str, method: Method, dtype: Dtype, arguments: dict[str, Any], *, device: str = "cpu"
) -> Any:
    """Load a base as the method holds it: safetensors or nothing.

    Args:
        name: A folder or a repository.
        method: Decides on quantisation.
        dtype: Of the weights that are not quantised.
        arguments: Revision and trust, from `base_location`.
        device: Where a quantised model is put; others are moved later.

    Raises:
        FileError: The weights are not there, or cannot be read.
        RefusedError: They are in a format that can run code.
    """
    quantised = quantization(method, dtype)
    extra: dict[str, Any] = {}
    if quantised is not None:
        extra = {"quantization_config": quantised, "device_map": {"": device}}
    try:
        commit = check_model(name, arguments.get("revision"))
        if commit:
            arguments = arguments | {"revision": commit}
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            attn_implementation="sdpa",
            **extra,
            **arguments,
        )
    except (OSError, ValueError) as error:
        raise _unreadable("base model", name, error) from error
    keep_nf4_weights(model)
    return model


def keep_nf4_weights(model: Any) -> int:
    """Stop bitsandbytes from repacking nf4 weights; returns how many layers there are.

    On processors with AVX512-BF16, bitsandbytes 0.50.2 repacks a Linear4bit weight in place at the
    first forward in evaluation mode. Gradients through it are exactly zero afterwards, and a merge
    is wrong: after one exam the model would stop learning, silently.
    """
    linear_4bit = _bitsandbytes().nn.Linear4bit
    found = 0
    for module in model.modules():
        if isinstance(module, linear_4bit):
            module.support_avx512bf16_for_cpu = False
            found += 1
    return found


def _bitsandbytes() -> Any:
    """The library, whose modules say nothing of types."""
    import bitsandbytes

    return bitsandbytes


def capabilities(model: Any) -> dict[str, Any]:
    """What of this machine can change a quantised run, for the run manifest."""
    bnb = _bitsandbytes()
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    return {
        "machine": platform.machine(),
        "avx512_bf16": bool(bnb.functional.has_avx512bf16()),
        "nf4_layers": len(layers),
        "nf4_repacking": any(layer.support_avx512bf16_for_cpu for layer in layers),
        "int8_layers": sum(isinstance(m, bnb.nn.Linear8bitLt) for m in model.modules()),
    }


def adapter_config(lora: Lora) -> Any:
    """The adapters as peft wants them described."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if lora.targets == ALL_LINEAR else list(lora.targets),
        bias="none",
    )


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
    set_seed(recipe.run.seed)
    if recipe.method == "full":
        return model.requires_grad_(True)
    from peft import get_peft_model

    model.requires_grad_(False)
    try:
        return get_peft_model(model, adapter_config(recipe.lora))
    except ValueError as error:
        raise UsageError(
            f"the adapters do not fit the model: {str(error).splitlines()[0][:200]}",
            fix='name layers of the model in lora.targets, or "all-linear"',
        ) from error


def load_model(recipe: Recipe, base: str | Path | None = None, *, device: str = "cpu") -> Any:
    """The model as it starts into training.

    Raises:
        FileError: The base is not there.
        UsageError: The recipe trains nothing.
    """
    if recipe.method == "none":
        return apply_method(None, recipe)
    name, arguments = base_location(recipe, base)
    model = load_base(name, recipe.method, recipe.base.dtype, arguments, device=device)
    return apply_method(model, recipe)


def count_parameters(model: Any) -> tuple[int, int]:
    """All parameters and the trainable ones; a packed nf4 weight counts what it stands for."""
    total = trainable = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        size = int(torch.Size(state.shape).numel()) if state is not None else parameter.numel()
        total += size
        trainable += size if parameter.requires_grad else 0
    return total, trainable


# A base made from nothing: random weights and a byte-level tokenizer learned from the mix.
#
# For demonstrations and tests that may not download anything. The folder is a Hugging Face model
# folder like any other; the same rows and seed give the same tokenizer and the same weights.


BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def make_tokenizer(texts: Iterable[str], vocabulary: int, longest: int) -> Any:
    """Learn a byte-level BPE tokenizer.

    Args:
        texts: What it learns from.
        vocabulary: The most tokens; fewer where the texts give fewer.
        longest: The model's context.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=longest,
    )


def make_base(recipe: Recipe, texts: Iterable[str], folder: Path) -> Path:
    """Write a random base of the recipe's dimensions, unless it is there already.

    Returns:
        The folder.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    sizes = recipe.base.dimensions
    tokenizer = make_tokenizer(texts, sizes.vocab_size, sizes.max_position_embeddings)
    config = dimensions_config(recipe.base)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    set_seed(recipe.run.seed)
    models: Any = AutoModelForCausalLM
    model = models.from_config(config, dtype=torch.float32)
    # aside first: a run that was killed here must not find half a base the next time
    staging = folder.with_name(f".{folder.name}.part")
    for unfinished in (staging, folder):
        shutil.rmtree(unfinished, ignore_errors=True)
    staging.mkdir(parents=True)
    tokenizer.save_pretrained(staging)
    model.save_pretrained(staging)
    for path in staging.iterdir():
        fsync_file(path)
    fsync_folder(staging)
    staging.replace(folder)
    fsync_folder(folder.parent)
    return folder


def texts_of(rows: Iterable[Mapping[str, str]]) -> Iterable[str]:
    """What a tokenizer learns from: every text of a row."""
    for row in rows:
        yield row["instruction"]
        yield row["input"] or ""
        yield row["output"]
