"""Recipes: every file loads; a wrong key says where and what was meant."""

from __future__ import annotations

import pytest

from meadow.errors import UsageError
from training.config import find_recipe, load_recipe

ROWS = {
    "llama-7b", "alpaca-7b-naive", "alpaca-7b-lora", "medalpaca-7b", "medalpaca-7b-lora",
    "medalpaca-7b-lora-8bit", "chatdoctor-7b", "llama-13b", "alpaca-13b-naive", "medalpaca-13b",
    "medalpaca-13b-lora", "medalpaca-13b-lora-8bit",
}  # fmt: skip


def test_every_row_has_a_faithful_and_a_fixed_recipe() -> None:
    for row in ROWS:
        recipe = load_recipe(row)
        assert recipe.variant in ("faithful", "evaluation")
        if recipe.variant == "faithful":
            fixed = load_recipe(f"{row}-fixed")
            assert (fixed.variant, fixed.method, fixed.row) == ("fixed", recipe.method, recipe.row)
            assert fixed.data.bos
            assert fixed.data.loss_on == "completion"
            assert fixed.batch.loss_mean == "tokens"
            assert fixed.data.length >= 1024
            if fixed.method != "full":
                assert fixed.optimizer.learning_rate == 2e-4


def test_the_faithful_rows_say_what_was_run_in_2023() -> None:
    full = load_recipe("medalpaca-7b")
    assert (full.batch.examples, full.data.length, full.optimizer.learning_rate) == (256, 256, 2e-5)
    assert (full.data.bos, full.data.loss_on) == (False, "all")
    assert load_recipe("medalpaca-13b-lora-8bit").lora.dropout == 0.05
    assert load_recipe("alpaca-13b-naive").schedule.epochs == 5
    assert load_recipe("alpaca-7b-lora").batch.layout == "length_grouped"
    assert (full.base.loaded_as, full.mix.validation) == ("float16", 0.1)
    assert (full.run.best, full.run.validation_steps) == ("validation_loss", 200)
    for row in ROWS:
        faithful = load_recipe(row)
        assert faithful.lora.prepare_kbit == (faithful.method == "lora_int8")
    doctor = load_recipe("chatdoctor-7b")
    assert (doctor.method, doctor.batch.examples, doctor.schedule.epochs) == ("full", 128, 1)
    assert (doctor.optimizer.learning_rate, doctor.schedule.warmup) == (2e-6, 0.03)
    assert doctor.run.fsdp
    assert sum(load_recipe(row).method != "none" for row in ROWS) == 10


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("optimizer.learning_rat=1", "optimizer.learning_rat", "learning_rate"),
        ("base.dimensions.hidden=64", "base.dimensions.hidden", "hidden_size"),
        ("reported.vram=3", "reported.vram", "vram_gb"),
    ],
)
def test_an_unknown_override_names_file_key_and_the_nearest(override, key, near) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("tiny", [override])
    assert caught.value.exit_code == 2
    assert repr(key) in caught.value.what
    assert f"did you mean {near!r}" in caught.value.fix
    assert caught.value.where.endswith("tiny.toml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.length=100000", "max_position_embeddings"),
        ("batch.row_tokens=64", "batch.row_tokens 64 is below data.length"),
        ("run.fsdp=true", None),
        ("optimizer.learning_rate=-1", "greater than 0"),
        ("method=lora8", "Input should be"),
        ("mix.repeat.a=0", "1 or more"),
        ("batch.loss_mean=micro_batches", "padded layouts only"),
        ("data", "not an override"),
        ("name.x=1", "not a table"),
    ],
)
def test_wrong_values_are_usage_errors(override, message) -> None:
    if message is None:
        for other in ("method=lora_int8", "optimizer.name=adamw_8bit"):
            with pytest.raises(UsageError, match=r"run\.fsdp cannot shard"):
                load_recipe("tiny", [override, other])
        return
    with pytest.raises(UsageError, match=message):
        load_recipe("tiny", [override])


def test_overrides_are_toml_values_or_bare_words() -> None:
    recipe = load_recipe(
        "tiny",
        ["method=lora", "optimizer.learning_rate=1e-4", "run.activation_checkpointing=true",
         'lora.targets=["q_proj", "v_proj"]', "data.template='{instruction} {input}'"],
    )  # fmt: skip
    assert recipe.method == "lora"
    assert recipe.optimizer.learning_rate == 1e-4
    assert recipe.run.activation_checkpointing
    assert recipe.lora.targets == ["q_proj", "v_proj"]
    assert recipe.data.template == "{instruction} {input}"


def test_an_unknown_recipe_names_the_nearest(tmp_path) -> None:
    with pytest.raises(UsageError, match="unknown recipe 'tinny'") as caught:
        find_recipe("tinny")
    assert "'tiny'" in caught.value.fix
    with pytest.raises(UsageError, match="no such recipe file"):
        find_recipe(str(tmp_path / "none.toml"))
