"""One loader: an adapter is scored on the very numbers that it learned on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meadow.errors import FileError, UsageError
from meadow.models.loading import (
    RUN_MANIFEST,
    Checkpoint,
    Precision,
    choose_precision,
    dequantise,
    keep_nf4_weights,
    load_adapter,
    load_config,
    load_model,
    load_tokenizer,
    precision_trained_on,
    quantised_layers,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A random LLaMA whose layers have more than 256 blocks of 64 values each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=128,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("loading") / "base"
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def numbers(model: Any) -> dict[str, Any]:
    """Every weight of a base as the float32 number that it stands for."""
    return {
        name.replace("base_model.model.", "").replace("base_layer.", ""): value
        for name, value in dequantise(model).state_dict().items()
        if "lora_" not in name
    }


def write_adapter(folder: Path, precision: dict[str, Any] | None) -> Path:
    """An adapter's folder as far as a precision is read from it."""
    folder.mkdir()
    document = {} if precision is None else {"precision": precision}
    (folder / RUN_MANIFEST).write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["nf4", "int8", "plain"])
def test_the_base_of_a_score_is_the_base_of_training_bit_for_bit(
    base, tmp_path, kind, dtype
) -> None:
    import torch

    trained_on = Precision.of(kind, dtype)
    adapter = write_adapter(tmp_path / "adapter", trained_on.to_json())
    said = "auto" if kind == "plain" else kind
    scored_on = choose_precision(said, device="cpu", adapter=str(adapter))
    assert scored_on == trained_on
    first = numbers(load_model(Checkpoint(str(base)), trained_on))
    second = numbers(load_model(Checkpoint(str(base)), scored_on))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_double_quantisation_most_numbers_are_others(base) -> None:
    """What the test above would see: the fault that it guards against is a real one."""
    right = Precision.of("nf4", "float32")
    single = Precision("float32", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
    first, second = (numbers(load_model(Checkpoint(str(base)), held)) for held in (right, single))
    quantised = [name for name in first if "_proj" in name]
    differ = sum(int((first[name] != second[name]).sum()) for name in quantised)
    assert differ > 0.5 * sum(first[name].numel() for name in quantised)


def test_a_trained_adapter_is_scored_on_its_own_base(base, tmp_path) -> None:
    """Through both front doors: training's model and evaluation's backend."""
    import torch

    from evaluation.local import load
    from meadow.models.random_base import make_tokenizer
    from training.config import load_recipe
    from training.methods import load_trainable, precision

    recipe = load_recipe("tiny", ["method=qlora_nf4", "base.dtype=bfloat16"])
    make_tokenizer(["some words of a text"], 300, 128).save_pretrained(base)
    model = load_trainable(recipe, base)
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / RUN_MANIFEST).write_text(
        json.dumps({"precision": precision(recipe).to_json()})
    )
    backend = load(str(base), adapter=str(tmp_path / "adapter"))
    assert backend.identity["load"] == "nf4"
    assert backend.identity["precision"] == precision(recipe).to_json()
    ours, theirs = numbers(model.get_base_model()), numbers(backend.model.get_base_model())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(layer.support_avx512bf16_for_cpu
                   for layer in quantised_layers(backend.model)["nf4"])  # fmt: skip


def test_precision_is_what_was_said_then_the_manifest_then_the_device(tmp_path) -> None:
    held = Precision.of("nf4", "bfloat16")
    adapter = str(write_adapter(tmp_path / "adapter", held.to_json()))
    assert choose_precision("auto", device="cpu") == Precision("float32")
    assert choose_precision("auto", device="cuda:0") == Precision("bfloat16")
    assert choose_precision("float16", device="cpu", adapter=adapter) == Precision("float16")
    assert choose_precision("nf4", device="cpu") == Precision.of("nf4", "float32")
    assert choose_precision("auto", device="cpu", adapter=adapter) == held
    silent = str(write_adapter(tmp_path / "old", None))
    assert precision_trained_on(silent) is None
    assert precision_trained_on("somebody/adapter") is None
    with pytest.raises(UsageError, match="unknown dtype 'float8'") as caught:
        choose_precision("float8", device="cpu")
    assert "nf4" in caught.value.fix


@pytest.mark.parametrize(
    "said",
    [
        {"dtype": "float8", "quantisation": {}},
        {"dtype": "float32", "quantisation": {"llm_int8_enable_fp32_cpu_offload": True}},
        {"dtype": "float32", "quantisation": None},
        [],
    ],
)
def test_a_manifest_that_says_nonsense_is_an_error(tmp_path, said) -> None:
    adapter = write_adapter(tmp_path / "adapter", said)
    with pytest.raises(FileError, match="run manifest") as caught:
        precision_trained_on(str(adapter))
    assert caught.value.where.endswith(RUN_MANIFEST)


def test_weights_that_lack_a_layer_are_an_error_and_not_random_numbers(base, tmp_path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for kind in ("plain", "nf4"):
        with pytest.raises(FileError, match=r"lack 1 of the model's: model\.layers\.1") as caught:
            load_model(Checkpoint(str(folder)), Precision.of(kind, "float32"))
        assert caught.value.where == str(folder)


def test_what_is_not_there_says_where_and_what_to_do(base, tmp_path) -> None:
    empty = Checkpoint(str(tmp_path))
    for load in (load_config, load_tokenizer, lambda c: load_model(c, Precision())):
        with pytest.raises(FileError, match="cannot be loaded") as caught:
            load(empty)
        assert caught.value.where == str(tmp_path)
        assert caught.value.fix
    model = load_model(Checkpoint(str(base)), Precision())
    assert keep_nf4_weights(model) == 0
    with pytest.raises(FileError, match="adapter_model"):
        load_adapter(model, str(tmp_path))


def test_a_checkpoint_is_a_folder_or_a_repository_with_a_revision(tmp_path) -> None:
    assert Checkpoint.parse(tmp_path) == Checkpoint(str(tmp_path))
    assert Checkpoint.parse("owner/name@abc") == Checkpoint("owner/name", "abc")
    told = Checkpoint.parse("owner/name").arguments
    # a machine without the Hub's host looks into its cache alone
    assert told.pop("local_files_only", True) is True
    assert told == {"trust_remote_code": False}
