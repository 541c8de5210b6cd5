"""Every recipe file is planned; one of each method is trained for two steps, reduced."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import pytest

from meadow.api import open_corpus
from meadow.atomic import hash_json
from training.config import load_recipe, recipe_names
from training.data import read_rows, texts_of

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
ONE_A_METHOD = {
    "full": "medalpaca-7b-faithful",
    "lora_int8": "alpaca-7b-lora-faithful",
    "lora": "qwen2.5-7b-instruct-lora",
    "qlora_nf4": "medalpaca-7b-qlora",
}
"""Between them: padded, grouped by length and packed, a chat template, every bug of 2023."""


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_is_planned(name) -> None:
    from training.plan import plan_run

    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.note
    document = plan_run(recipe, gpus=8, gpu_gb=80)
    assert document["parameters"] > 0
    assert (document["trainable_parameters"] == 0) == (recipe.method == "none")
    assert document["fits"] is True


def test_the_kept_counts_of_the_recipes_are_those_of_their_models() -> None:
    """MEADOW_UPDATE_FIXTURES=1 writes them anew."""
    from training.methods import dimensions_config
    from training.plan import SHIPPED, measure, sizes_of

    found = {}
    for recipe in map(load_recipe, recipe_names()):
        key = hash_json(sizes_of(recipe))
        if key not in found:
            found[key] = asdict(measure(recipe, dimensions_config(recipe.base)))
    lines = [f'"{key}": {json.dumps(found[key], sort_keys=True)}' for key in sorted(found)]
    written = "{\n" + ",\n".join(lines) + "\n}\n"
    if os.environ.get("MEADOW_UPDATE_FIXTURES") == "1":
        SHIPPED.write_text(written, encoding="utf-8")
    assert SHIPPED.read_text(encoding="utf-8") == written


@pytest.mark.parametrize("method", ONE_A_METHOD)
def test_a_recipe_of_each_method_trains(train, mix, tmp_path, method) -> None:
    from transformers import AutoTokenizer

    from meadow.models.random_base import make_base
    from training.methods import dimensions_config

    whole = load_recipe(ONE_A_METHOD[method])
    small = load_recipe(ONE_A_METHOD[method], REDUCED)
    assert small.method == method
    texts = texts_of(read_rows(open_corpus(mix), "train"))
    base = make_base(dimensions_config(small.base), texts, tmp_path / "base", seed=0)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(base)
    result = train(small, mix, tmp_path / "out", base=base)
    assert [line["step"] for line in result.metrics] == [1, 2]
    assert result.manifest["recipe"]["data"]["template"] == whole.data.template
    assert result.manifest["trainable_parameters"] > 0
