"""A random LLaMA with a byte-level tokenizer of the sample exam, and the exam itself.

torch, transformers and what imports them are imported in fixtures and tests, so that collecting
costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meadow.exams.items import ExamItem, eligible, load_exam
from meadow.samples import FOLDER

EXAM = FOLDER / "exam"


@pytest.fixture(scope="session")
def sample_items() -> list[ExamItem]:
    return eligible(load_exam("usmle_self_assessment", [EXAM]))


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory, sample_items) -> Path:
    """A checkpoint folder of a random LLaMA (two layers, 1,024 positions)."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def random_model(random_folder) -> tuple[Any, Any]:
    return _load(random_folder)


@pytest.fixture(scope="session")
def stories(upstream) -> tuple[Any, Any]:
    """The real tiny LLaMA (512 positions)."""
    return _load(upstream / "tiny_llama" / "stories260K-hf")


@pytest.fixture
def local(random_model) -> Callable[..., Any]:
    """Makes a fresh backend of the random model."""
    from evaluation.local import LocalBackend

    return lambda **options: LocalBackend(*random_model, **options)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    if "torch" in sys.modules:  # what needs no model waits for no library
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def chat_tokenizer(random_folder) -> Any:
    """The random model's tokenizer with a chat template that names BOS, turns and the day."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(random_folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>", "<|end|>"]})
    tokenizer.chat_template = (
        "{{ bos_token }}{{ strftime_now('%d %b %Y') }}"
        "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}{% endif %}"
    )
    return tokenizer
