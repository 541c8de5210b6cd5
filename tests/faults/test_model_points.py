"""A fault at every change of a folder in the stages that load a model: train, export, evaluate."""

from __future__ import annotations

import pytest
from support.budget import sample
from support.fault_shim import Mode
from support.fault_stages import Stage
from support.fault_trials import MODES, check_order, first_of, interrupt_often, run_points, spread

STAGES = ("train", "export", "evaluate")
SAMPLED = {Mode.KILL: 1, Mode.FULL: 1, Mode.FAIL: 1}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_sampled_points(name: str, mode: Mode, stage: Stage, record_property) -> None:
    shift = 5 * STAGES.index(name) + 2 * int(mode)
    run_points(
        stage,
        mode,
        lambda numbers, points: spread(numbers, points, SAMPLED[mode], shift),
        record_property,
        noted=False,
    )


@pytest.mark.parametrize(
    ("name", "mode", "call", "path"),
    [
        # half of a base stayed beside the whole one
        ("train", Mode.KILL, "write", "base.part/tokenizer.json"),
        # half of a checkpoint that was being removed stayed for ever
        ("train", Mode.FAIL, "unlink", "/checkpoint-2/rng_state.pth"),
        # tracebacks of libraries
        ("train", Mode.FULL, "write", "base.part/tokenizer.json"),
        ("train", Mode.FULL, "writev", "/optimizer.pt"),
        ("export", Mode.FULL, "write", "/tokenizer.json"),
        # messages that did not say which file
        ("evaluate", Mode.FULL, "write", "/journal.0.jsonl"),
        ("evaluate", Mode.FAIL, "fsync", "/journal.0.jsonl"),
    ],
)
def test_where_defects_were(mode, call, path, stage: Stage, record_property) -> None:
    run_points(stage, mode, first_of(call, path), record_property, noted=False)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_every_point(mode: Mode, stage: Stage, record_property) -> None:
    run_points(stage, mode, lambda numbers, _: numbers[:: sample()], record_property, noted=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_signals_at_fifty_moments(stage: Stage, record_property) -> None:
    interrupt_often(stage, max(3, 50 // sample()), record_property)


PUBLISHED = {
    "train": ("base", "checkpoint-2", "checkpoint-4", "model", "run_manifest.json", "plan.parquet"),
    "export": ("merged",),
    "evaluate": ("items.parquet", "predictions.parquet", "summary.json", "run.json"),
}
GROWING = {"train": ("metrics.jsonl",), "evaluate": ("journal.0.jsonl",)}


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_on_disk_before_their_name(name: str, stage: Stage) -> None:
    points = stage.record()
    root = stage.out.resolve()
    published = {f"{root}/{path}" for path in PUBLISHED[name]}
    journals = [f"{root}/{path}" for path in GROWING.get(name, ())]
    assert published <= check_order(points, published, journals=journals)
    if name != "evaluate":
        synced = {point.path.rpartition("/")[2] for point in points if point.call == "fsync"}
        assert "model.safetensors" in synced
