"""A fault at changes of a folder in the stages that load a model.

A trial costs seconds here, so that the nightly run takes one of `EVERY` points where a stage has
hundreds, beside what SAMPLE asks for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from support.budget import sample
from support.fault_models import ModelStages
from support.fault_shim import Mode
from support.fault_signals import interrupt_often
from support.fault_trials import MODES, check_order, run_points, spread

STAGES = ("train", "export", "evaluate")
SAMPLED = {Mode.KILL: 1, Mode.FULL: 1, Mode.FAIL: 1}
EVERY = {"train": 1, "export": 1, "evaluate": 1}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelStages]:
    if shutil.which("gcc") is None:
        pytest.skip("the fault shim is compiled with gcc, which is not installed")
    made = ModelStages(tmp_path_factory.mktemp("models"))
    yield made
    made.warm.close()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_sampled_points(name: str, mode: Mode, stages, record_property) -> None:
    shift = 5 * STAGES.index(name) + 2 * int(mode)
    run_points(
        stages[name],
        mode,
        lambda numbers, points: spread(numbers, points, SAMPLED[mode], shift),
        record_property,
        noted=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_every_point(name: str, mode: Mode, stages, record_property) -> None:
    step = sample() * EVERY[name]
    run_points(stages[name], mode, lambda numbers, _: numbers[::step], record_property, noted=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_signals_at_fifty_moments(name: str, stages, record_property) -> None:
    interrupt_often(stages[name], max(3, 50 // sample()), record_property)


PUBLISHED = {
    "train": ("base", "checkpoint-2", "checkpoint-4", "model", "run_manifest.json", "plan.parquet"),
    "export": ("merged",),
    "evaluate": ("items.parquet", "predictions.parquet", "summary.json", "run.json"),
}
GROWING = {"train": ("metrics.jsonl",), "evaluate": ("journal.0.jsonl",)}


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_on_disk_before_their_name(name: str, stages) -> None:
    stage = stages[name]
    ended, points = stage.record()
    assert ended.code == 0, ended.text
    root = stage.out.resolve()
    published = {f"{root}/{path}" for path in PUBLISHED[name]}
    journals = [f"{root}/{path}" for path in GROWING.get(name, ())]
    assert published <= check_order(points, published, journals=journals)
    if name != "evaluate":
        synced = {point.path.rpartition("/")[2] for point in points if point.call == "fsync"}
        assert "model.safetensors" in synced
