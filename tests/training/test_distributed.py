"""Two processes on processors: DDP through Trainer, FSDP2 by hand, and FSDP that is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meadow.api import open_corpus
from training.config import Recipe
from training.data import read_rows, tokenize
from training.packing import make_plan

SETTINGS = ("batch.examples=16", "schedule.max_steps=5", "data.length=128", "batch.row_tokens=192")


def launch(root: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start `torchrun`'s module with gloo on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
         f"--master-port={port}", *arguments],
        cwd=root, capture_output=True, text=True, timeout=240, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
                          "PYTHONPATH": f"{root}:{root / 'tests'}"},
    )  # fmt: skip


def sets(overrides: tuple[str, ...]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_ddp_over_two_processes_equals_one(
    train, tiny, mix, tmp_path, stories, root, method
) -> None:
    overrides = (*SETTINGS, f"method={method}", "lora.dropout=0.0", "run.save_steps=3")
    one = train(tiny(*overrides), mix, tmp_path / "one", base=stories)
    done = launch(
        root, "-m", "training", "tiny", "--mix", str(mix), "--base", str(stories),
        "--out", str(tmp_path / "two"), *sets(overrides),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    two = [json.loads(line) for line in lines]
    assert [line["loss"] for line in two] == pytest.approx(
        [line["loss"] for line in one.metrics], abs=1e-5
    )
    assert two[-1]["loss_per_source"] == pytest.approx(one.metrics[-1]["loss_per_source"], abs=1e-5)
    # each process takes its share of the held-out rows
    assert two[-1]["validation_loss"] == pytest.approx(one.metrics[-1]["validation_loss"], abs=1e-5)
    manifest = json.loads((tmp_path / "two" / "run_manifest.json").read_text())
    assert manifest["hardware"]["processes"] == 2
    assert manifest["status"] == "finished"


@pytest.mark.slow
def test_fsdp_that_is_not_is_an_error(mix, tmp_path, root) -> None:
    done = launch(
        root, "-m", "training", "tiny", "--mix", str(mix), "--out", str(tmp_path / "out"),
        *sets((*SETTINGS, "run.fsdp=true")),
    )  # fmt: skip
    assert done.returncode != 0
    assert "FSDP was asked for, but the model is a" in done.stderr
    assert not (tmp_path / "out" / "model").exists()


def prepare(recipe: Recipe, mix: str | Path, base: str | Path, devices: int) -> Any:
    from meadow.models.loading import load_tokenizer
    from training.batches import PlannedBatches
    from training.methods import base_checkpoint

    tokenizer = load_tokenizer(base_checkpoint(recipe, base))
    rows = tokenize(read_rows(open_corpus(mix), "train"), tokenizer, recipe.data)
    plan = make_plan(
        rows, recipe.batch, epochs=1, seed=0, row_tokens=recipe.row_tokens, devices=devices,
        max_steps=5,
    )  # fmt: skip
    return PlannedBatches(rows, plan, recipe.batch, pad=2)


WORKER = """
import importlib.util, json, os, sys
import torch
import torch.distributed as dist
from training.config import load_recipe
from training.methods import load_trainable
from support.hand_loop import run_steps, shard
from torch.distributed.fsdp import FSDPModule

spec = importlib.util.spec_from_file_location("prepared", sys.argv[1])
prepared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prepared)
torch.set_num_threads(1)
dist.init_process_group("gloo")
recipe = load_recipe("tiny", [*prepared.SETTINGS, *sys.argv[5:]])
batches = prepared.prepare(recipe, sys.argv[2], sys.argv[3], 2)
model = shard(load_trainable(recipe, sys.argv[3]))
assert isinstance(model, FSDPModule)
local = sum(p.to_local().numel() for p in model.parameters())
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.0)
losses = list(run_steps(model, batches, optimizer, rank=dist.get_rank(), processes=2))
if dist.get_rank() == 0:
    json.dump({"losses": losses, "local": local}, open(sys.argv[4], "w"))
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora", "qlora_nf4"])
def test_fully_shard_over_two_processes_equals_one(
    tiny, mix, tmp_path, stories, root, method
) -> None:
    """By hand, since on processors Trainer shards nothing; a frozen base is sharded too."""
    import torch
    from support.hand_loop import run_steps

    from training.methods import load_trainable

    own = (f"method={method}", "lora.dropout=0", "run.fsdp=true")
    recipe = tiny(*SETTINGS, *own)
    model: Any = load_trainable(recipe, stories)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.0)
    one = list(run_steps(model, prepare(recipe, mix, stories, 1), optimizer))
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    found = tmp_path / "losses.json"
    done = launch(root, str(script), __file__, str(mix), str(stories), str(found), *own)
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(found.read_text())
    assert two["losses"] == pytest.approx(one, abs=1e-5)
    assert two["losses"][-1] < two["losses"][0]
    whole = sum(p.numel() for p in model.parameters())
    assert two["local"] < 0.6 * whole
