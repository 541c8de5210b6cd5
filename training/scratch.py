"""A base made from nothing: random weights and a byte-level tokenizer learned from the mix.

For demonstrations and tests that may not download anything. The folder is a Hugging Face model
folder like any other; the same rows and seed give the same tokenizer and the same weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

from meadow.atomic import fsync_file, fsync_folder
from training.config import Recipe
from training.methods import dimensions_config

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
