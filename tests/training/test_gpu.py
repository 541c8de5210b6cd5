"""The same runs on a GPU; skipped with a reason where there is none."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def device() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


@pytest.mark.parametrize("method", ["full", "lora", "lora_int8", "qlora_nf4"])
@pytest.mark.parametrize("precision", ["no", "bfloat16"])
def test_every_method_trains_and_exports(train, tiny, mix, tmp_path, method, precision) -> None:
    from training.export import export

    recipe = tiny(f"method={method}", f"run.mixed_precision={precision}", "schedule.epochs=2")
    result = train(recipe, mix, tmp_path / "run")
    assert result.manifest["hardware"]["gpus"]
    assert result.metrics[-1]["loss"] < result.metrics[0]["loss"]
    assert export(tmp_path / "run", tmp_path / "model")["files"]


def test_the_device_s_memory_is_measured() -> None:
    from meadow.models.machine import device_gb

    size, name = device_gb()
    assert size > 1
    assert name != "the processor's memory"
