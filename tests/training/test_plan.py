"""Plans: published parameter counts, the page's arithmetic, and real quantised modules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from meadow.errors import FileError, UsageError
from training.config import load_recipe

SEVEN, THIRTEEN = 6_738_415_616, 13_015_864_320
EIGHT_BIT = (
    "base.dtype=bfloat16", "optimizer.name=adamw_8bit", "run.mixed_precision=no", "run.fsdp=false",
)  # fmt: skip
STATE = ("weights", "gradients", "optimizer")


@pytest.fixture
def plan_run() -> Callable[..., Any]:
    from training.plan import plan_run

    return plan_run


@pytest.mark.parametrize(
    ("recipe", "overrides", "parameters", "trainable", "gigabytes"),
    [
        ("medalpaca-7b", (), SEVEN, SEVEN, 107.8),
        ("medalpaca-7b", EIGHT_BIT, SEVEN, SEVEN, 40.4),
        ("medalpaca-7b-lora", (), SEVEN, 4_194_304, 13.5),
        ("medalpaca-7b-lora-8bit", (), SEVEN, 4_194_304, 7.0),
        ("medalpaca-7b-lora", ("method=qlora_nf4",), SEVEN, 4_194_304, 3.9),
        ("alpaca-7b-lora", (), SEVEN, 16_777_216, 7.0 + 0.27),
        ("medalpaca-13b", (), THIRTEEN, THIRTEEN, 208),
        ("medalpaca-13b", EIGHT_BIT, THIRTEEN, THIRTEEN, 78),
        ("medalpaca-13b-lora", (), THIRTEEN, 6_553_600, 26),
        ("medalpaca-13b-lora-8bit", (), THIRTEEN, 6_553_600, 13.3),
        ("medalpaca-13b-lora", ("method=qlora_nf4",), THIRTEEN, 6_553_600, 7.2),
        ("llama-7b", (), SEVEN, 0, 13.5),
        ("llama-13b", (), THIRTEEN, 0, 26.0),
        ("llama-3.2-1b-lora", (), 1_235_814_400, 11_272_192, 2.65),
        ("llama-3.1-8b-qlora", (), 8_030_261_248, 41_943_040, 5.7 + 0.67),
        ("qwen2.5-7b-instruct-lora", (), 7_615_616_512, 40_370_176, 15.2 + 0.65),
    ],
)  # fmt: skip
def test_counts_and_state_are_the_published_ones(
    recipe, overrides, parameters, trainable, gigabytes, plan_run
) -> None:
    document = plan_run(load_recipe(recipe, overrides))
    assert document["parameters"] == parameters
    assert document["trainable_parameters"] == trainable
    state = sum(document["memory_gb"][part] for part in STATE)
    assert state == pytest.approx(gigabytes, rel=0.05)
    assert (document["steps"], document["tokens"], document["fits"]) == (None, None, None)


def test_sharded_bfloat16_weights_are_held_in_float32_as_accelerate_does(plan_run) -> None:
    """Under FSDP with mixed precision it turns all that is trained into float32."""
    half = plan_run(load_recipe("medalpaca-7b", ["base.dtype=bfloat16"]), gpus=8)
    whole = plan_run(load_recipe("medalpaca-7b"), gpus=8)
    for part in STATE:
        assert half["memory_per_gpu_gb"][part] == whole["memory_per_gpu_gb"][part]


def test_activations_are_the_page_s_three_gigabytes(plan_run) -> None:
    parts = plan_run(load_recipe("medalpaca-7b-fixed"))["memory_gb"]
    assert parts["activations"] + parts["logits"] == pytest.approx(3.0, rel=0.1)
    assert parts["logits"] == pytest.approx(1.31, rel=0.01)


def test_the_three_measured_figures_stand_beside_the_estimate(plan_run) -> None:
    found = {
        name: plan_run(load_recipe(name))["reported_2023"]["vram_gb"]
        for name in ("medalpaca-7b", "medalpaca-7b-lora", "medalpaca-7b-lora-8bit")
    }
    assert sorted(found.values()) == [8.9, 18.8, 79.5]


@pytest.mark.parametrize("method", ["lora_int8", "qlora_nf4", "lora"])
def test_weights_are_the_bytes_of_real_modules(tiny, tmp_path, mix, method, train) -> None:
    """A random model of 64-multiple sizes, loaded by bitsandbytes and counted byte by byte."""
    from meadow.models.loading import (
        Checkpoint,
        Precision,
        count_parameters,
        load_config,
        load_model,
    )
    from training.plan import measure, weight_bytes

    sizes = ("base.dimensions.hidden_size=256", "base.dimensions.intermediate_size=640",
             "base.dimensions.vocab_size=320")  # fmt: skip
    result = train(tiny(*sizes, "schedule.max_steps=1"), mix, tmp_path / "out")
    recipe = tiny(*sizes, f"method={method}")
    kind = method.rpartition("_")[2]
    model = load_model(Checkpoint(str(result.model)), Precision.of(kind, "float32"))
    held = 0
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            held += parameter.numel() * parameter.element_size()
            state = getattr(parameter, "quant_state", None)
            if state is not None:
                held += state.absmax.numel() * state.absmax.element_size()
                held += state.state2.absmax.numel() * state.state2.absmax.element_size()
            if getattr(parameter, "SCB", None) is not None:
                held += parameter.SCB.numel() * parameter.SCB.element_size()
    counted = measure(recipe, load_config(Checkpoint(str(result.model))))
    adapters = counted.trainable * 4
    assert weight_bytes(recipe, counted) - adapters == pytest.approx(held, rel=0.002)
    assert count_parameters(model)[0] == counted.parameters


def test_counts_equal_the_real_model_s(tiny, stories) -> None:
    from meadow.models.loading import Checkpoint, count_parameters, load_config
    from training.methods import load_trainable
    from training.plan import measure

    for method in ("full", "lora", "lora_int8", "qlora_nf4"):
        recipe = tiny(f"method={method}")
        sizes = measure(recipe, load_config(Checkpoint(str(stories))))
        total, trainable = count_parameters(load_trainable(recipe, stories))
        adapters = 0 if method == "full" else sizes.trainable
        assert (sizes.parameters + adapters, sizes.trainable) == (total, trainable)


def test_a_mix_gives_steps_and_tokens_as_training_counts_them(
    tiny, mix, tmp_path, stories, train, plan_run
) -> None:
    for base in (None, stories):
        document = plan_run(tiny("schedule.epochs=2"), mix=mix, base=base)
        result = train(tiny("schedule.epochs=2"), mix, tmp_path / f"out-{base is None}", base=base)
        assert document["tokens_estimated"] is False
        assert document["steps"] == len(result.metrics) == 12
        assert document["tokens"] == result.metrics[-1]["tokens"]
        assert document["plan_hash"] == result.manifest["plan_hash"]


def test_without_a_tokenizer_tokens_are_estimated(mix, monkeypatch, plan_run) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    document = plan_run(
        load_recipe("medalpaca-7b-lora", ["base.repository=nobody/nothing"]),
        mix=mix, gpus=2, gpu_gb=80, gpu_tflops=300,
    )  # fmt: skip
    assert document["tokens_estimated"] is True
    assert document["steps"] == 3
    assert document["fits"] is True
    assert document["hours"] > 0
    assert document["contamination"]["checked"] is False


def test_fits_divides_the_state_under_fsdp_only(plan_run) -> None:
    sharded = plan_run(load_recipe("medalpaca-7b"), gpus=8, gpu_gb=24)
    assert sharded["fits"] is True
    whole = plan_run(load_recipe("medalpaca-7b", ["run.fsdp=false"]), gpus=8, gpu_gb=24)
    assert whole["fits"] is False
    assert sharded["memory_per_gpu_gb"]["weights"] * 8 == pytest.approx(
        whole["memory_per_gpu_gb"]["weights"]
    )


def test_a_batch_that_the_devices_cannot_share(mix, stories, tiny, plan_run) -> None:
    with pytest.raises(UsageError, match="cannot be shared evenly by 3 devices"):
        plan_run(tiny(), mix=mix, base=stories, gpus=3)


def test_a_second_plan_of_a_mix_counts_nothing_again(
    mix, tiny, plan_run, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("meadow.models.kept.FOLDER", tmp_path / "plans")
    first = plan_run(tiny(), mix=mix)
    assert first["tokens"]
    monkeypatch.setattr("training.plan._count_mix", None)
    assert plan_run(tiny(), mix=mix) == first
    with pytest.raises(TypeError):  # other lengths are other counts
        plan_run(tiny("data.length=64"), mix=mix)


def test_a_base_without_a_configuration_is_not_planned_as_another(tiny, plan_run, tmp_path) -> None:
    with pytest.raises(FileError, match="configuration cannot be loaded"):
        plan_run(tiny(), base=tmp_path)


def test_recipes_of_the_project_are_planned_without_torch(mix, tmp_path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None, peft=None)\n"
        "from meadow.cli.app import main; main()"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    for arguments in (("medalpaca-7b-qlora", "--mix", str(mix)), ("tiny",)):
        ran = subprocess.run(
            [sys.executable, "-c", code, "plan", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "parameters" in ran.stdout
