"""Every recipe file: loaded, planned, and its method and template run for two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from meadow.errors import UsageError
from training.config import RECIPES, load_recipe
from training.data import open_mix, read_rows, texts_of
from training.loop import train
from training.methods import make_base
from training.plan import plan_run

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
REDUCED = (
    "base.repository=random", "base.dtype=float32", "base.dimensions.vocab_size=320",
    "base.dimensions.hidden_size=64", "base.dimensions.intermediate_size=128",
    "base.dimensions.num_hidden_layers=2", "base.dimensions.num_attention_heads=2",
    "base.dimensions.num_key_value_heads=1", "base.dimensions.head_dim=32",
    "base.dimensions.max_position_embeddings=512", "data.length=256", "batch.examples=8",
    "batch.row_tokens=512", "schedule.max_steps=2", "schedule.warmup=1", "run.fsdp=false",
    "run.mixed_precision=no", "run.save_steps=0", "run.validation_steps=0",
)  # fmt: skip


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipe_is_planned_and_runs_reduced(path: Path, mix: Path, tmp_path: Path) -> None:
    whole = load_recipe(path)
    document = plan_run(whole, gpus=8, gpu_gb=80)
    assert document["parameters"] > 0
    assert (document["trainable_parameters"] == 0) == (whole.method == "none")
    assert document["fits"] is True

    small = load_recipe(path, REDUCED)
    rows = read_rows(open_mix(mix), "train")
    base = make_base(small, texts_of(rows), tmp_path / "base")
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(base)
    if whole.method == "none":
        with pytest.raises(UsageError, match="evaluation only") as caught:
            train(small, mix, tmp_path / "out", base=base)
        assert caught.value.exit_code == 2
        return
    result = train(small, mix, tmp_path / "out", base=base)
    assert [line["step"] for line in result.metrics] == [1, 2]
    assert result.manifest["recipe"]["data"]["template"] == whole.data.template
    assert result.manifest["recipe"]["method"] == whole.method
    assert result.manifest["trainable_parameters"] > 0
