"""A base made from nothing: random weights, and a byte-level tokenizer learned from the mix.

For demonstrations and tests that may not download anything; the same rows and seed give the same
base.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from meadow.models import checkpoints

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def make_tokenizer(texts: Iterable[str], vocabulary: int, longest: int) -> Any:
    """Learn a byte-level BPE tokenizer.

    Fewer tokens than `vocabulary` where the texts give fewer; `longest` is the model's context.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    learned: Any = ByteLevelBPETokenizer()
    learned.train_from_iterator(
        texts, vocabulary, min_frequency=0, show_progress=False, special_tokens=[BOS, EOS, PAD]
    )
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=learned._tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        add_bos_token=True,
        model_max_length=longest,
    )


def make_base(config: Any, texts: Iterable[str], folder: Path, *, seed: int) -> Path:
    """Write a random base of a configuration, unless it is there already.

    Returns:
        The folder.
    """
    if checkpoints.is_complete(folder):
        return folder
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    tokenizer = make_tokenizer(texts, config.vocab_size, config.max_position_embeddings)
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    set_seed(seed)
    models: Any = AutoModelForCausalLM
    model = models.from_config(config, dtype=torch.float32)
    # aside first: a run that was killed here must not find half a base the next time
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    tokenizer.save_pretrained(staging)
    model.save_pretrained(staging)
    checkpoints.publish(staging, folder, 0)
    return folder
