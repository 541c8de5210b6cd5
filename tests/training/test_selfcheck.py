"""The self-check as such, and the loss it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.corpora import token_rows

from meadow.api import open_corpus
from meadow.errors import CheckError
from training.data import TokenRows, read_rows, tokenize


@pytest.fixture
def rows(mix, stories, tiny) -> TokenRows:
    from meadow.models.loading import load_tokenizer
    from training.methods import base_checkpoint

    recipe = tiny("data.length=128")
    tokenizer = load_tokenizer(base_checkpoint(recipe, stories))
    return tokenize(read_rows(open_corpus(mix), "train"), tokenizer, recipe.data)


@pytest.mark.parametrize(
    ("method", "attention"),
    [("full", "eager"), ("full", "sdpa"), ("lora", "sdpa"), ("lora_int8", "sdpa"),
     ("qlora_nf4", "sdpa")],
)  # fmt: skip
def test_guarded_passes_and_unguarded_fails_for_every_method(
    rows, stories, tiny, monkeypatch, method, attention
) -> None:
    import torch

    from training import batches
    from training.methods import load_trainable
    from training.selfcheck import check_packing

    model = load_trainable(tiny(f"method={method}"), stories)
    if attention == "eager":
        model.set_attn_implementation(attention)
    found = check_packing(model, rows)
    assert found["leak"] == 0.0
    guarded = batches.model_inputs
    holes = {"attention_mask": torch.ones_like, "use_cache": lambda ids: True}
    for name, hole in holes.items():
        monkeypatch.setattr(
            batches, "model_inputs",
            lambda batch, name=name, hole=hole: guarded(batch) | {name: hole(batch["input_ids"])},
        )  # fmt: skip
        with pytest.raises(CheckError, match="see each other"):
            check_packing(model, rows)


def invented_rows(seed: int) -> TokenRows:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(12, 90, 2).tolist()
    return token_rows(lengths, tokens=draw.integers(3, 500, sum(lengths)).tolist())


@pytest.fixture
def deep() -> Any:
    """GPT-2 in bfloat16, deep and wide enough that its rounding shows; absolute positions."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    made: Any = GPT2Config(n_embd=128, n_layer=8, n_head=4, vocab_size=512, n_positions=256,
                           bos_token_id=1, eos_token_id=2)  # fmt: skip
    model: Any = GPT2LMHeadModel(made)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return model.to(torch.bfloat16)


def test_rounding_in_bfloat16_is_no_leak(deep) -> None:
    from training.selfcheck import check_packing

    found = [check_packing(deep, invented_rows(seed)) for seed in range(8)]
    assert [one["leak"] for one in found] == [0.0] * 8
    # so that the test is about something
    assert max(one["difference"] for one in found) > 1e-4


def test_positions_that_go_on_are_found_in_bfloat16(deep, monkeypatch) -> None:
    import torch

    from training import batches
    from training.selfcheck import check_packing

    guarded = batches.model_inputs

    def going_on(batch: Any) -> dict[str, Any]:
        """Examples do not see each other, but the second one's positions go on."""
        made = guarded(batch)
        if "attention_mask" not in batch:
            number = (made["position_ids"] == 0).cumsum(1)
            seen = (number[:, :, None] == number[:, None, :]).tril()
            made["attention_mask"] = torch.zeros(seen.shape, dtype=torch.bfloat16).masked_fill(
                ~seen, torch.finfo(torch.bfloat16).min
            )[:, None]
            made["position_ids"] = torch.arange(seen.shape[1])[None]
        return made

    monkeypatch.setattr(batches, "model_inputs", going_on)
    with pytest.raises(CheckError, match="do not stand where they stand alone"):
        check_packing(deep, invented_rows(0))


def test_a_row_without_examples_adds_nothing(rows, stories, tiny) -> None:
    import torch

    from training.batches import pack_row, pad_rows, token_losses, weighted_loss
    from training.methods import load_trainable

    model = load_trainable(tiny(), stories)
    for batch in (pack_row(rows, (), 2), pad_rows(rows, (), 2, left=False)):
        batch["weight"] = torch.tensor(0.0, dtype=torch.float64)
        model.zero_grad()
        step: Any = weighted_loss(token_losses(model, batch), batch)
        step.backward()
        assert float(step) == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_gradients_packed_equal_padded(rows: TokenRows, stories: Path, tiny: Any) -> None:
    import torch

    from training.batches import pack_row, pad_rows, token_losses, weighted_loss
    from training.methods import load_trainable
    from training.selfcheck import pick_two

    model = load_trainable(tiny(), stories)
    examples = (*pick_two(rows), 9, 14)
    weight = torch.tensor(1.0 / int(rows.targets[list(examples)].sum()), dtype=torch.float64)
    gradients = []
    for batch in (pack_row(rows, examples, 0), pad_rows(rows, examples, 0, left=False),
                  pad_rows(rows, examples, 0, left=True)):  # fmt: skip
        batch["weight"] = weight
        model.zero_grad()
        step: Any = weighted_loss(token_losses(model, batch), batch)
        step.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    for other in gradients[1:]:
        assert float((gradients[0] - other).norm() / other.norm()) < 1e-5


def test_losses_are_those_of_the_model_s_own_loss(
    rows: TokenRows, stories: Path, tiny: Any
) -> None:
    import torch

    from training.batches import pack_row, token_losses
    from training.methods import load_trainable

    model = load_trainable(tiny(), stories).eval()
    for index in range(6):
        batch = pack_row(rows, (index,), 0)
        with torch.no_grad():
            own = model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
            ours = token_losses(model, batch)
        assert float(ours.losses.mean()) == pytest.approx(float(own), abs=1e-5)
        assert len(ours.losses) == int(rows.targets[index])
