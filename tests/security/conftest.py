"""A tiny LLaMA with a tokenizer, and a serialised object that leaves a mark when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.canary import OtherHost, other_host

TEXTS = ["The patient takes 12 mg a day.", "A: heart", "B: lung", "Which organ pumps the blood?"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder in safetensors. Not to be changed: copy it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from meadow.models.random_base import make_tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = make_tokenizer(TEXTS * 20, 300, 1024)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Bomb:
    """Makes a folder when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def bomb(tmp_path: Path) -> Callable[[Path], None]:
    """Writes a hostile file; that it is one was seen on a twin of it."""
    import torch

    mark = tmp_path / "EXECUTED"

    def write(path: Path) -> None:
        control = tmp_path / "control"
        twin = tmp_path / "twin.bin"
        torch.save({"weight": Bomb(control)}, twin)
        torch.load(twin, weights_only=False)  # noqa: TID251 - shows that the bomb is live
        assert control.is_dir()
        control.rmdir()
        twin.unlink()
        torch.save({"weight": Bomb(mark)}, path)

    return write


@pytest.fixture(scope="module")
def other() -> Iterator[OtherHost]:
    """A host that must not learn a secret."""
    with other_host() as host:
        yield host
