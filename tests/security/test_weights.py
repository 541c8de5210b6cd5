"""Weights are safetensors and nothing else; a model's own code is never run.

Each hostile file is live: a twin of it is executed by an ordinary load first.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support.canary import Watch
from support.hub.server import LoopbackHub, running

from evaluation import local
from meadow.cli.weights import safe_weights
from meadow.errors import MeadowError, RefusedError
from meadow.models.loading import Checkpoint, load_config, load_tokenizer
from meadow.models.weights import INDEX, adapter_folder
from training.config import load_recipe
from training.methods import load_trainable

CODE = """
from pathlib import Path
Path({mark!r}).mkdir()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class EvilConfig(LlamaConfig):
    model_type = "evil"
class EvilModel(LlamaForCausalLM):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


def executed(tmp_path: Path) -> bool:
    return (tmp_path / "EXECUTED").exists()


def load_for_training(folder: Path) -> Any:
    return load_trainable(load_recipe("tiny", ["method=lora"]), folder)


LOADERS: dict[str, Callable[[Path], Any]] = {
    "evaluation": lambda folder: local.load(str(folder)),
    "training": load_for_training,
}


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "model")


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "x.ckpt"])
def test_a_serialised_checkpoint_is_refused_and_not_executed(
    loader: str, name: str, model: Path, bomb: Callable[[Path], None], tmp_path: Path
) -> None:
    (model / "model.safetensors").unlink()
    bomb(model / name)
    with pytest.raises(RefusedError, match="safetensors only") as refused:
        LOADERS[loader](model)
    assert name in str(refused.value)
    assert "convert" in refused.value.fix
    assert refused.value.where == str(model)
    assert not executed(tmp_path)


@pytest.mark.parametrize("loader", LOADERS)
def test_beside_safetensors_it_is_not_looked_at(
    loader: str, model: Path, bomb: Callable[[Path], None], tmp_path: Path
) -> None:
    bomb(model / "pytorch_model.bin")
    assert LOADERS[loader](model)
    assert not executed(tmp_path)


def by_index(model: Path, name: str) -> None:
    """The index of the shards names another file."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    (model / INDEX).write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(weights, name)})
    )


def by_config(model: Path, name: str) -> None:
    """The configuration names another file."""
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_weights": name}))


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "../evil.bin", "../evil.safetensors"])
@pytest.mark.parametrize("lead", [by_index, by_config])
def test_no_name_leads_to_another_format_or_folder(
    loader: str,
    name: str,
    lead: Callable[[Path, str], None],
    model: Path,
    bomb: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    bomb(model / name)
    lead(model, name)
    with pytest.raises(RefusedError, match="safetensors only"):
        LOADERS[loader](model)
    assert not executed(tmp_path)


def test_a_serialised_adapter_is_refused_and_not_executed(
    model: Path, bomb: Callable[[Path], None], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapter = tmp_path / "adapter"
    base = AutoModelForCausalLM.from_pretrained(model)
    made: Any = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    made.save_pretrained(adapter)
    assert local.load(str(model), adapter=str(adapter))
    (adapter / "adapter_model.safetensors").unlink()
    bomb(adapter / "adapter_model.bin")
    with pytest.raises(RefusedError, match="safetensors only"):
        local.load(str(model), adapter=str(adapter))
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(MeadowError, match=r"no adapter_model\.safetensors"):
        adapter_folder(str(adapter))
    assert not executed(tmp_path)


@pytest.mark.parametrize("loader", [*LOADERS, "tokenizer", "configuration"])
@pytest.mark.parametrize("kind", ["llama", "evil"])
def test_the_code_of_a_model_is_not_run(
    loader: str, kind: str, model: Path, tmp_path: Path
) -> None:
    """A known type loads by the library's own code; an unknown one is an error."""
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": kind,
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"},
    }
    (model / "config.json").write_text(json.dumps(config))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}
    if kind == "evil":
        settings["tokenizer_class"] = "EvilTokenizer"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (model / "evil.py").write_text(CODE.format(mark=str(tmp_path / "EXECUTED")))
    load = LOADERS | {
        "tokenizer": lambda folder: load_tokenizer(Checkpoint(str(folder))),
        "configuration": lambda folder: load_config(Checkpoint(str(folder))),
    }
    if kind == "llama":
        assert load[loader](model)
    else:
        with pytest.raises(MeadowError, match="cannot be loaded"):
            load[loader](model)
    assert not executed(tmp_path)


# -- on the Hub ------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    with running(tmp_path / "hub") as served:
        yield served


def upload(hub: LoopbackHub, name: str, folder: Path) -> str:
    made = hub.storage.create("model", name, private=False, author="stranger")
    tree = made.head.tree | {
        path.name: hub.storage.regular(path.read_bytes()) for path in folder.iterdir()
    }
    return hub.storage.commit(made, "main", tree, "weights", "", "stranger").id


def test_on_the_hub_serialised_weights_are_not_even_fetched(
    hub: LoopbackHub, model: Path, bomb: Callable[[Path], None], tmp_path: Path
) -> None:
    watch = Watch(tmp_path / "home", {"HF_ENDPOINT": hub.base})
    commit = upload(hub, "stranger/good", model)
    argv = ["--exam", "sample", "--limit", "2", "--modes", "letter", "--json", "--out"]
    done = watch.meadow("eval", "run", "--model", "stranger/good", *argv, watch.folder / "good",
                        fails=False)  # fmt: skip
    run = json.loads((watch.folder / "good" / "run.json").read_text())
    assert run["model"]["revision"] == commit, done.stderr
    (model / "model.safetensors").unlink()
    bomb(model / "pytorch_model.bin")
    upload(hub, "stranger/evil", model)
    done = watch.meadow("eval", "run", "--model", "stranger/evil", *argv, watch.folder / "evil")
    assert (done.returncode, "safetensors only" in done.stderr) == (6, True), done.stderr
    assert not [entry.path for entry in hub.log if "pytorch_model.bin" in entry.path]
    assert not executed(tmp_path)
    assert watch.leaks == []


# -- the rest --------------------------------------------------------------------------------------


def test_the_way_that_the_guide_names_converts_weights(
    root: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--convert-weights`, on honest weights of 2023's kind: the same numbers, loaded by both."""
    import torch

    assert "--convert-weights" in (root / "docs" / "train.md").read_text(encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    weights = load_file(model / "model.safetensors")
    torch.save(weights, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    new = Path(safe_weights(str(model), convert=True))
    loaded = load_file(new / "model.safetensors")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in loaded)
    assert local.load(str(new))
    assert load_for_training(new)


def test_hostile_resume_state_is_not_executed(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    """What training resumes from is read with weights_only, the optimizer's state for one."""
    import torch

    bomb(tmp_path / "optimizer.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "optimizer.pt", weights_only=True)  # noqa: TID251 - as Trainer does
    assert not executed(tmp_path)


def calls(root: Path) -> Iterator[tuple[str, ast.Call]]:
    for package in ("meadow", "pipelines", "training", "evaluation"):
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(root)}:{node.lineno}", node


def test_every_load_says_what_it_trusts(root: Path) -> None:
    """trust_remote_code is never anything but False; a model's weights are asked for by format."""
    seen = 0
    for where, call in calls(root):
        named = {word.arg: word.value for word in call.keywords}
        if "trust_remote_code" in named:
            value = named["trust_remote_code"]
            assert isinstance(value, ast.Constant), where
            assert value.value is False, where
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "from_pretrained":
            continue
        owner = ast.unparse(call.func.value)
        if owner == "PeftModel":  # has no such argument: its folder is looked at first
            assert "adapter_folder" in ast.unparse(call), where
            continue
        assert None in named or "trust_remote_code" in named, where
        if owner.endswith("ForCausalLM") or owner == "loader":
            assert None in named or "use_safetensors" in named, where
        seen += 1
    assert seen >= 3  # the one loader: configuration, tokenizer, model
