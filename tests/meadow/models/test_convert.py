"""Weights in PyTorch's own format become safetensors, once, and nothing but tensors does."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.bases import make_base
from support.command import run_meadow
from support.corpora import synthetic_rows, write_mix

from meadow.errors import FileError, RefusedError
from meadow.models import tensors_only
from meadow.models.convert import NOTE, convert, needs_conversion


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base("qwen3", tmp_path_factory.mktemp("base") / "own")  # with a tied output layer


def serialised(base: Path, folder: Path, shards: int = 1) -> Path:
    """The same model as transformers wrote it in 2023."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(base, folder)
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    held["lm_head.weight"] = held["model.embed_tokens.weight"]
    names = sorted(held)
    for number in range(shards):
        part = {name: held[name] for name in names[number::shards]}
        end = f"-{number + 1:05}-of-{shards:05}" if shards > 1 else ""
        torch.save(part, folder / f"pytorch_model{end}.bin")
    if shards > 1:
        (folder / "pytorch_model.bin.index.json").write_text("{}")
    return folder


@pytest.mark.parametrize("shards", [1, 3])
def test_a_converted_model_has_the_same_numbers(base, tmp_path, shards, home) -> None:
    import torch

    from meadow.models.loading import Checkpoint, Precision, load_model

    model = serialised(base, tmp_path / "model", shards)
    assert needs_conversion(str(model))
    folder = convert(str(model))
    assert folder.is_relative_to(home)
    assert not needs_conversion(str(folder))
    assert not list(folder.glob("*.bin*"))
    loaded, own = (load_model(Checkpoint(str(f)), Precision()) for f in (folder, base))
    for name, value in own.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    note = json.loads((folder / NOTE).read_text())
    assert note["source"] == str(model)
    assert len(note["sha256"]) == len(note["converted"]) == shards
    before = (folder / NOTE).stat().st_mtime_ns
    assert convert(str(model)) == folder
    assert (folder / NOTE).stat().st_mtime_ns == before
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**settings, "rope_theta": 123.0}))
    assert convert(str(model)) != folder, "another configuration is another model"
    assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("kind", ["object", "nested", "list", "number", "text"])
def test_anything_but_tensors_is_refused_and_not_executed(kind, base, tmp_path, home) -> None:
    import torch

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "EXECUTED",)

    held: Any = {
        "object": {"model.embed_tokens.weight": Hostile()},
        "nested": {"state_dict": {"weight": torch.zeros(2)}},
        "list": [torch.zeros(2)],
        "number": {"step": 3},
        "text": {"weight": torch.zeros(2), "note": "x"},
    }[kind]
    model = serialised(base, tmp_path / "model")
    torch.save(held, model / "pytorch_model.bin")
    with pytest.raises(RefusedError, match="not converted"):
        convert(str(model))
    assert not (tmp_path / "EXECUTED").exists()
    assert not list((home / ".cache/medical-meadow/converted").iterdir())


def test_the_reading_process_starts_nothing_and_opens_nothing() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(tensors_only.__file__).parent)!r})\n"
        "import os, socket, subprocess, tensors_only\n"
        "sys.addaudithook(tensors_only.refuse)\n"
        "for act in (lambda: os.system('true'), lambda: subprocess.run(['true']),\n"
        "            lambda: socket.create_connection(('127.0.0.1', int(sys.argv[1])))):\n"
        "    try:\n        act()\n    except PermissionError:\n        print('refused')\n"
    )
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        command = [sys.executable, "-c", script, str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["refused"] * 3, done.stderr


def test_a_folder_without_weights_is_an_error(tmp_path) -> None:
    with pytest.raises(FileError, match=r"no pytorch_model\.bin"):
        convert(str(tmp_path))


def test_train_and_eval_convert_where_told(base, tmp_path) -> None:
    model = serialised(base, tmp_path / "model")
    mix = write_mix(tmp_path / "mix", synthetic_rows(16))
    train = ["train", "tiny", "--mix", mix, "--base", model, "--out", tmp_path / "run",
             *("--set=batch.examples=8", "--set=schedule.max_steps=1", "--set=data.bos=false",
               "--set=data.length=96", "--set=batch.row_tokens=160")]  # fmt: skip
    refused = run_meadow(*train)
    assert refused.code == 6
    assert "--convert-weights" in refused.err
    assert not (tmp_path / "run" / "model").exists()
    done = run_meadow(*train, "--convert-weights")
    assert done.code == 0, done.err
    scored = ["eval", "run", "--model", model, "--exam", "sample", "--limit", 3,
              "--max-length", 512, "--out", tmp_path / "scores"]  # fmt: skip
    assert run_meadow(*scored).code == 6
    done = run_meadow(*scored, "--convert-weights")
    assert done.code == 0, done.err


def test_a_row_of_the_paper_that_fails_does_not_stop_the_others(base, tmp_path) -> None:
    model = serialised(base, tmp_path / "model")
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "pytorch_model.bin").write_bytes(b"no tensors")
    done = run_meadow(
        "eval", "paper", "--run", "llama-7b,medalpaca-7b,llama-13b", "--modes", "letter",
        "--file", Path(__file__).parents[3] / "meadow/samples/exam", "--limit", 2,
        "--model", f"llama-7b={broken}", "--model", f"medalpaca-7b={tmp_path / 'nowhere'}",
        "--model", f"llama-13b={model}", "--convert-weights", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.code == 1, done.err
    found = json.loads(done.out)
    assert set(found["failed"]) == {"llama-7b", "medalpaca-7b"}
    ran = [row["key"] for row in found["rows"] if row["status"] == "run"]
    assert ran == ["llama-13b"]
