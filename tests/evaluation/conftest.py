"""A random LLaMA with a byte-level tokenizer of the sample exam, and the exam itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import meadow
from meadow.exams.items import ExamItem, eligible, load_exam


@pytest.fixture(scope="session")
def sample_items() -> list[ExamItem]:
    folder = Path(meadow.__file__).parent / "samples" / "exam"
    return eligible(load_exam("usmle_self_assessment", [folder]))


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory, sample_items: list[ExamItem]) -> Path:
    """A checkpoint folder of a random LLaMA (two layers, 1,024 positions)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = [item.question for item in sample_items] + [f" {label}" for label in "ABCDE"] * 50
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=1024
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.2,  # wide, so that options differ by more than rounding
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "random-llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def random_model(random_folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(random_folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(random_folder)


@pytest.fixture(scope="session")
def stories(upstream: Path) -> tuple[Any, Any]:
    """The real tiny LLaMA (512 positions)."""
    folder = upstream / "tiny_llama" / "stories260K-hf"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
