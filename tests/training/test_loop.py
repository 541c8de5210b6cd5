"""Whole runs on small real models: the loss of each step, interruptions, gates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from meadow.atomic import locked
from meadow.errors import (
    CheckError,
    FileError,
    LockedError,
    MeadowError,
    RefusedError,
    UsageError,
)
from meadow.models import checkpoints


def curve(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_packed_equals_padded_at_every_step_and_under_any_row_cap(
    tiny, make_mix, tmp_path, stories, method, train
) -> None:
    mix = make_mix(rows=48, held_out=0)
    common = (
        f"method={method}", "lora.dropout=0.0", "schedule.epochs=2", "batch.examples=8",
        "data.length=96",
    )  # fmt: skip
    variants = {
        "padded": ("batch.layout=padded", "batch.micro_batch=4", "data.pad_token_id=0"),
        "left": ("batch.layout=padded", "batch.micro_batch=2", "data.pad_token_id=0",
                 "data.padding_side=left"),
        "cap 256": ("batch.row_tokens=256",),
        "cap 700": ("batch.row_tokens=700",),
    }  # fmt: skip
    curves = {}
    for name, overrides in variants.items():
        out = tmp_path / name.replace(" ", "-")
        train(tiny(*common, *overrides), mix, out, base=stories)
        curves[name] = curve(out)
    reference = curves.pop("padded")
    assert len(reference) == 12
    for name, found in curves.items():
        assert found == pytest.approx(reference, abs=1e-5), name
    assert reference[-1] < reference[0]


def test_a_run_leaves_what_traces_it(tiny, mix, tmp_path, train) -> None:
    import torch

    calls = []

    def exam(model: Any, tokenizer: Any) -> dict[str, Any]:
        calls.append(model.training)
        torch.rand(3)
        return {"exam": "none", "accuracy": 0.25, "items": 4}

    out = tmp_path / "out"
    recipe = tiny("run.exam_steps=3", "run.validation_steps=4", "run.save_steps=4",
                  "schedule.epochs=2")  # fmt: skip
    result = train(recipe, mix, out, exam=exam)
    manifest = json.loads((out / "run_manifest.json").read_text())
    assert manifest == result.manifest
    assert manifest["status"] == "finished"
    assert manifest["mix"]["shards"][0]["sha256"]
    assert manifest["contamination"]["warning"]
    assert manifest["data"]["rows_in"] == 96
    assert manifest["packing_check"]["difference"] < 1e-4
    assert calls == [False] * len(calls)
    assert [line["step"] for line in result.exams] == [3, 6, 9, 12]
    lines = result.metrics
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert set(lines[0]["loss_per_source"]) <= {"alpha", "beta"}
    assert [n["step"] for n in lines if "validation_loss" in n] == [4, 8, 12]
    plan = pq.read_table(out / "plan.parquet").to_pylist()
    assert {row["step"] for row in plan} == set(range(1, 13))
    assert len(plan) == 2 * manifest["data"]["rows_out"]
    assert lines[-1]["tokens"] == 2 * manifest["data"]["tokens"]
    assert (out / "loss.svg").read_text().startswith("<svg")
    assert not list(out.rglob("*.bin"))
    assert (out / "model" / "model.safetensors").is_file()
    assert manifest["plan_hash"][:16] in (out / "model" / "README.md").read_text()
    # The exam's random draws did not move the run; another seed does.
    train(recipe, mix, tmp_path / "again")
    assert curve(tmp_path / "again") == curve(out)
    train(tiny("run.seed=1", "schedule.max_steps=2"), mix, tmp_path / "other")
    assert curve(tmp_path / "other") != curve(out)[:2]
    # A finished run is not run again.
    assert train(recipe, mix, out).manifest["finished"] == manifest["finished"]


@pytest.mark.parametrize("stop", [3, 9], ids=["epoch-1", "epoch-2"])
def test_stop_and_resume_is_bit_identical(
    tiny, make_mix, tmp_path, stories, stop, train, stop_after
) -> None:
    mix = make_mix(rows=48, held_out=4)
    recipe = tiny(
        "method=lora",
        "lora.dropout=0.2",
        "schedule.epochs=2",
        "run.save_steps=3",
        "batch.examples=8",
        "data.length=96",
        "batch.row_tokens=192",
    )
    whole = tmp_path / "whole"
    train(recipe, mix, whole, base=stories)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, mix, broken, base=stories, callbacks=[stop_after(stop)])
    assert checkpoints.last_complete(broken) == (stop, broken / f"checkpoint-{stop}")
    result = train(recipe, mix, broken, base=stories)
    assert result.manifest["resumed"] == [stop]
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    name = "model/adapter_model.safetensors"
    assert (broken / name).read_bytes() == (whole / name).read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from training.config import load_recipe
from training.loop import train
from training.trainer import METRICS, read_lines

real, count = torch.save, 0

def save(value, path, *rest, **options):
    global count
    if str(path).endswith("optimizer.pt"):
        count += 1
        if count == 2:
            real(value, path, *rest, **options)
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    return real(value, path, *rest, **options)

torch.save = save
recipe = load_recipe("tiny", ["run.save_steps=3", "schedule.epochs=2"])
train(recipe, sys.argv[1], Path(sys.argv[2]))
"""


def test_kill_during_a_checkpoint_resumes_from_the_last_whole_one(
    tiny, mix, tmp_path, root, train
) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(mix), str(out)],
        cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert [step for step, _ in checkpoints.checkpoints(out)] == [3]
    recipe = tiny("run.save_steps=3", "schedule.epochs=2")
    result = train(recipe, mix, out)
    assert result.manifest["resumed"] == [3]
    train(recipe, mix, tmp_path / "whole")
    assert curve(out) == curve(tmp_path / "whole")


def test_a_torn_checkpoint_is_passed_over(tiny, mix, tmp_path, train, stop_after) -> None:
    recipe = tiny("run.save_steps=3", "schedule.epochs=2")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, mix, out, callbacks=[stop_after(6)])
    torn = out / "checkpoint-6" / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:100])
    assert train(recipe, mix, out).manifest["resumed"] == [3]


def test_gates(tiny, mix, tmp_path, stories, train) -> None:
    out = tmp_path / "out"
    with locked(out), pytest.raises(LockedError):
        train(tiny(), mix, out)
    with pytest.raises(FileError, match="there is no such folder"):
        train(tiny(), tmp_path / "none", out)
    with pytest.raises(RefusedError, match="needs about"):
        train(tiny(), mix, out, available_gb=1e-6)
    with pytest.raises(UsageError, match="FSDP shards over several processes"):
        train(tiny("run.fsdp=true"), mix, out)
    with pytest.raises(UsageError, match="max_position_embeddings 512"):
        train(tiny("data.length=600", "base.dimensions.max_position_embeddings=4096",
                   "batch.row_tokens=600"), mix, out, base=stories)  # fmt: skip
    with pytest.raises(UsageError, match="do not fit the model"):
        train(tiny("method=lora", 'lora.targets=["nothing"]'), mix, out)
    with pytest.raises(FileError, match=r"cannot be loaded|is not on this machine"):
        train(tiny(), mix, out, base=tmp_path / "nobase")
    assert not (out / "model").exists()
    told = train(tiny("schedule.max_steps=1"), mix, out, available_gb=1e-6, ignore_memory=True)
    assert told.manifest["memory"]["ignored"] is True
    with pytest.raises(UsageError, match="holds another run: recipe_hash"):
        train(tiny("schedule.max_steps=2", "optimizer.learning_rate=1e-4"), mix, out)


def test_a_loss_that_is_no_number_stops_the_run(tiny, mix, tmp_path, train) -> None:
    with pytest.raises(MeadowError, match="the loss is nan"):
        train(
            tiny("optimizer.learning_rate=1e30", "optimizer.max_grad_norm=0", "schedule.warmup=0"),
            mix, tmp_path / "out",
        )  # fmt: skip


def test_activation_checkpointing_and_bfloat16_run(tiny, mix, tmp_path, train) -> None:
    plain = train(tiny("schedule.max_steps=4"), mix, tmp_path / "a")
    again = train(
        tiny("schedule.max_steps=4", "run.activation_checkpointing=true"), mix, tmp_path / "b"
    )
    assert [n["loss"] for n in again.metrics] == pytest.approx(
        [n["loss"] for n in plain.metrics], abs=1e-5
    )
    mixed = train(tiny("schedule.max_steps=4", "run.mixed_precision=bfloat16"), mix, tmp_path / "c")
    assert [n["loss"] for n in mixed.metrics] == pytest.approx(
        [n["loss"] for n in plain.metrics], abs=0.1
    )


def test_the_best_step_is_kept_by_held_out_loss_or_exam(tiny, mix, tmp_path, train) -> None:
    """A rate that breaks the model at the end: the last step is not the best one."""
    from safetensors.torch import load_file

    late = ("optimizer.learning_rate=3e-2", "schedule.kind=constant", "schedule.max_steps=6")
    scores = iter([0.2, 0.6, 0.4, 0.3, 0.5, 0.1])
    cases: list[tuple[str, Any]] = [
        ("validation_loss", None),
        ("exam", lambda model, tokenizer: {"exam": "own", "accuracy": next(scores)}),
    ]
    for best, exam in cases:
        out = tmp_path / best
        recipe = tiny(*late, f"run.best={best}", "run.validation_steps=1", "run.exam_steps=1",
                      "run.keep_checkpoints=1")  # fmt: skip
        result = train(recipe, mix, out, exam=exam)
        by_step = {line["step"]: line["validation_loss"] for line in result.metrics}
        wanted = 2 if exam else min(by_step, key=by_step.__getitem__)
        assert result.manifest["result"]["model_of_step"] == wanted
        kept = load_file(out / f"checkpoint-{wanted}" / "model.safetensors")
        saved = load_file(out / "model" / "model.safetensors")
        assert all(bool((saved[name] == kept[name]).all()) for name in kept)
    with pytest.raises(UsageError, match="there is none"):
        train(tiny("run.best=exam"), mix, tmp_path / "none")


def test_the_best_by_held_out_loss_needs_held_out_rows(tiny, make_mix, tmp_path, train) -> None:
    folder = make_mix(rows=40, held_out=0)
    with pytest.raises(UsageError, match="no row is held out"):
        train(tiny("run.best=validation_loss"), folder, tmp_path / "out")
    share = ("mix.validation=0.3", "schedule.max_steps=2", "run.best=validation_loss")
    result = train(tiny(*share), folder, tmp_path / "share")
    data = result.manifest["data"]
    assert 4 <= 40 - data["rows_in"] <= 20
    assert result.manifest["result"]["validation_loss"]


def test_a_finished_run_is_extended_and_saved_more_often(tiny, mix, tmp_path, train) -> None:
    out = tmp_path / "out"
    steady = ("schedule.kind=constant", "schedule.warmup=0")
    short = train(tiny(*steady, "schedule.max_steps=3", "run.save_steps=3"), mix, out)
    longer = tiny(*steady, "schedule.max_steps=7", "run.save_steps=2")
    result = train(longer, mix, out)
    assert result.manifest["extended"] == [3]
    assert result.manifest["resumed"] == [3]
    assert [line["step"] for line in result.metrics] == list(range(1, 8))
    assert result.metrics[:3] == short.metrics
    # one that ran through is the same run: its rate is constant
    whole = train(longer, mix, tmp_path / "whole")
    assert [m["loss"] for m in whole.metrics] == [m["loss"] for m in result.metrics]
    # another rate before, but the longer schedule's from the first new step on
    falling = ("schedule.kind=cosine", "schedule.warmup=0", "run.save_steps=2")
    train(tiny(*falling, "schedule.max_steps=2"), mix, tmp_path / "falling")
    went_on = train(tiny(*falling, "schedule.max_steps=4"), mix, tmp_path / "falling")
    at_once = train(tiny(*falling, "schedule.max_steps=4"), mix, tmp_path / "at-once")
    for one, other in zip(went_on.metrics[2:], at_once.metrics[2:], strict=True):
        assert one["learning_rate"] == other["learning_rate"]
    with pytest.raises(UsageError, match="recipe_hash"):
        train(tiny(*steady, "schedule.max_steps=9", "optimizer.learning_rate=1"), mix, out)
    with pytest.raises(UsageError, match="plan_hash"):
        train(tiny(*steady, "schedule.max_steps=5"), mix, out)
    bare = tmp_path / "bare"
    train(tiny(*steady, "schedule.max_steps=2"), mix, bare)
    with pytest.raises(UsageError, match="no checkpoint to go on from"):
        train(tiny(*steady, "schedule.max_steps=4"), mix, bare)


def test_a_table_goes_to_trainer_by_its_own_names(tiny, mix, tmp_path, train) -> None:
    plain = train(tiny("schedule.max_steps=2"), mix, tmp_path / "plain")
    noisy = tiny("schedule.max_steps=2", "trainer.neftune_noise_alpha=5.0")
    result = train(noisy, mix, tmp_path / "noisy")
    assert result.metrics[0]["loss"] != plain.metrics[0]["loss"]
    for key, match in (("neftune_alpha=5", "neftune_noise_alpha"), ("num_train_epochs=2", "stays"),
                       ("weight_decay=1", "stays")):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            train(tiny(f"trainer.{key}"), mix, tmp_path / "wrong")
        assert match in str(caught.value.fix)
        assert caught.value.exit_code == 2


def test_weights_that_are_read_in_another_dtype_are_rounded_through_it(tiny, stories) -> None:
    import torch

    from training.methods import load_trainable

    plain = load_trainable(tiny(), stories)
    rounded = load_trainable(tiny("base.loaded_as=float16"), stories)
    pairs = list(zip(plain.parameters(), rounded.parameters(), strict=True))
    assert all(b.dtype == torch.float32 and torch.equal(a.half().float(), b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("hole", ["attention_mask", "use_cache"])
def test_the_self_check_sees_the_missing_guard(
    tiny, mix, tmp_path: Path, stories, monkeypatch, hole: str, train
) -> None:
    import torch

    from training import batches

    guarded = batches.model_inputs

    def unguarded(batch):
        inputs = guarded(batch)
        if hole == "attention_mask":
            return inputs | {"attention_mask": torch.ones_like(batch["input_ids"])}
        return inputs | {"use_cache": True}

    monkeypatch.setattr(batches, "model_inputs", unguarded)
    with pytest.raises(CheckError, match="packed examples see each other"):
        train(tiny(), mix, tmp_path / "out", base=stories)
