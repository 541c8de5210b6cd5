"""Each family of architectures trains as a plain loop over it would, or refuses with a message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bases import FAMILIES, make_base

from meadow.errors import CheckError, MeadowError, UsageError
from training.config import Recipe, load_recipe

SMALL = (
    "data.bos=false", "data.length=96", "data.pad_token_id=0", "batch.row_tokens=160",
    "batch.examples=8", "batch.micro_batch=4", "schedule.max_steps=2", "lora.dropout=0",
)  # fmt: skip
PACKED = sorted(set(FAMILIES) - {"bloom", "opt", "falcon", "gpt_oss"})
"""Whose masks know the borders of a packed row."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Callable[[str], Path]:
    """Makes the base of a family once."""
    folder = tmp_path_factory.mktemp("bases")

    def base(name: str) -> Path:
        made = folder / name
        return made if made.exists() else make_base(name, made)

    return base


@pytest.fixture
def small(tiny) -> Callable[..., Recipe]:
    return lambda *overrides: tiny(*SMALL, *overrides)


@pytest.fixture
def go(small, make_mix, tmp_path, train) -> Callable[..., Any]:
    """Trains on 24 rows, with 4 held out: go(base, *overrides, out=NAME) -> what a run leaves."""

    def run(base: Path, *overrides: str, out: str = "run", **more: Any) -> Any:
        mix = tmp_path / "mix"
        mix = mix if mix.exists() else make_mix(rows=24, held_out=4)
        return train(small(*overrides), mix, tmp_path / out, base=base, **more)

    return run


def without_dropout(base: Path, folder: Path) -> Path:
    """GPT-2 and OPT drop by default: two layouts draw differently."""
    shutil.copytree(base, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= {name: 0.0 for name in config if name.endswith(("pdrop", "dropout"))}
    path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_padded_training_is_a_plain_loop_in_every_family(name, bases, small, tmp_path, go) -> None:
    """Left padding, a micro-batch of four, against one example at a time in torch alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from meadow.api import open_corpus
    from meadow.models.loading import Checkpoint, load_tokenizer
    from training.data import frame_tokenizer, read_rows, tokenize
    from training.packing import plan_recipe

    base = without_dropout(bases(name), tmp_path / "base")
    overrides = ("method=full", "batch.layout=padded", "data.padding_side=left")
    recipe, result = small(*overrides), go(base, *overrides)

    tokenizer = load_tokenizer(Checkpoint(str(base)))
    frame_tokenizer(tokenizer, recipe)
    rows = tokenize(read_rows(open_corpus(tmp_path / "mix"), "train"), tokenizer, recipe.data)
    (first, *_) = plan_recipe(rows, recipe, devices=1).steps
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    losses = []
    for index in first.examples:
        tokens = torch.tensor(rows.row(index).tolist())[None]
        labels = torch.tensor(rows.labels(index).tolist())
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, labels[1:], reduction="none"))
        losses[-1] = losses[-1][labels[1:] != -100]
    loss = torch.cat(losses).mean()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    line = result.metrics[0]
    assert line["loss"] == pytest.approx(loss.item(), abs=2e-5)
    assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_packed_training_is_padded_training(name, method, bases, tmp_path, go) -> None:
    base = without_dropout(bases(name), tmp_path / "base")
    lines = [
        go(base, f"method={method}", f"batch.layout={layout}", out=layout).metrics
        for layout in ("packed", "padded")
    ]
    for packed, padded in zip(*lines, strict=True):
        assert packed["loss"] == pytest.approx(padded["loss"], abs=2e-5)
        assert packed["grad_norm"] == pytest.approx(padded["grad_norm"], rel=1e-3)
    assert lines[0][-1]["validation_loss"] == pytest.approx(
        lines[1][-1]["validation_loss"], abs=1e-4
    )


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(PACKED)))
def test_whose_masks_do_not_know_the_borders_is_not_packed(name, bases, go) -> None:
    with pytest.raises((CheckError, UsageError), match="see each other") as refused:
        go(bases(name), "method=full")
    assert "padded" in refused.value.fix


@pytest.mark.parametrize("name", ["gemma3", "neox", "gpt2", "moe", "gpt_oss"])
@pytest.mark.parametrize("method", ["lora", "lora_int8", "qlora_nf4"])
def test_adapters_are_trained_merged_and_read_back(name, method, bases, tmp_path, go) -> None:
    from safetensors.torch import load_file

    from training.export import export

    told: list[str] = []
    padded = (f"method={method}", "batch.layout=padded")
    result = go(bases(name), *padded, progress=told.append)
    adapters = load_file(result.model / "adapter_model.safetensors")
    assert not [key for key in adapters if "vision" in key or "projector" in key]
    assert any("experts stay in float32" in line for line in told) == (
        method != "lora" and name in ("moe", "gpt_oss")
    )
    figures = export(tmp_path / "run", tmp_path / "export")["figures"]
    assert figures["merged_against_dequantised"] < 2e-4 * figures["largest_logit"]


def test_adapters_on_fused_experts_have_no_dropout(bases, go) -> None:
    dropped = ("method=lora", "lora.dropout=0.1")
    with pytest.raises(UsageError, match="dropout") as refused:
        go(bases("moe"), *dropped)
    assert "lora.dropout = 0" in refused.value.fix
    targets = 'lora.targets=["q_proj", "v_proj"]'
    assert go(bases("moe"), *dropped, targets, out="attention").metrics


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("gpt2", ("run.attention=flex",), "flex_attention"),
        ("gemma2", ("run.attention=sdpa",), "does not support an attention implementation"),
        ("llama3", ("run.attention=flash",), "no llama model can be made here"),
        ("opt", ("data.length=600", "batch.row_tokens=600"), "max_position_embeddings 512"),
        ("llama3", ("batch.layout=padded", "data.pad_token_id=512"), "embedding has 512 rows"),
    ],
)
def test_what_cannot_work_is_refused_before_the_weights_are_read(
    name, overrides, said, bases, tmp_path, go
) -> None:
    base = shutil.copytree(bases(name), tmp_path / "base")
    (base / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(UsageError, match=said):
        go(base, "base.dimensions.max_position_embeddings=1024", *overrides)


def test_a_token_beyond_the_embedding_is_named(bases, tmp_path, go) -> None:
    """In training before loading, in evaluation instead of an IndexError."""
    from transformers import AutoTokenizer

    from evaluation.backend import Sampling
    from evaluation.local import load

    base = shutil.copytree(bases("llama3"), tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([f"<unused{number}>" for number in range(100)])
    tokenizer.add_tokens(["Sort the"])
    tokenizer.save_pretrained(base)
    with pytest.raises(UsageError, match="token 'Sort the' has the id 577"):
        go(base)
    with pytest.raises(UsageError, match="token 'Sort the' has the id 577"):
        load(str(base)).generate(["Sort the words"], [Sampling()])


def test_float16_is_no_dtype_for_full_training() -> None:
    with pytest.raises(UsageError, match="float16"):
        load_recipe("tiny", ["method=full", "base.dtype=float16"])


def test_a_base_that_is_quantised_on_disk_is_refused_and_mxfp4_unpacked(
    bases, tmp_path, go
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(bases("gpt_oss"), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    for method in ("gptq", "mxfp4"):
        config["quantization_config"] = {
            "quant_method": method, "bits": 4,
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                       "model.embed_tokens", "lm_head"],
        }  # fmt: skip
        (base / "config.json").write_text(json.dumps(config))
        if method == "gptq":
            with pytest.raises(UsageError, match="quantised already"):
                go(base, "method=lora")
    held = load_file(base / "model.safetensors")
    for name in [name for name in held if name.endswith(("experts.gate_up_proj", "down_proj"))]:
        experts, inner, outer = held.pop(name).shape
        shape = (experts, outer, inner // 32)
        held[f"{name}_blocks"] = torch.randint(0, 255, (*shape, 16), dtype=torch.uint8)
        held[f"{name}_scales"] = torch.full(shape, 124, dtype=torch.uint8)
    save_file(held, base / "model.safetensors", metadata={"format": "pt"})
    assert go(base, "method=lora", "batch.layout=padded").metrics


@pytest.mark.parametrize("name", ["llama3", "gemma3", "gpt2", "neox", "moe"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_plan_s_activations_are_those_of_a_real_pass(name, checkpointing, bases, small) -> None:
    """Bytes that autograd keeps in a real forward pass of four layers, weights not counted."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from training.plan import measure, memory

    config = AutoConfig.from_pretrained(bases(name))
    language = config.get_text_config()
    language.num_hidden_layers = 4
    if getattr(language, "layer_types", None):
        language.layer_types = language.layer_types * 2
    recipe = small("method=full", f"run.activation_checkpointing={str(checkpointing).lower()}")
    planned = memory(recipe, measure(recipe, config))["activations"] * 1e9
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(value: Any) -> Any:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = value
        return value

    rows = torch.zeros((1, recipe.row_tokens), dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model(input_ids=rows, use_cache=False, logits_to_keep=1)
    real = sum(value.untyped_storage().nbytes() for value in kept.values())
    if checkpointing:  # one layer is held whole while it is computed again
        whole = small("method=full")
        real += memory(whole, measure(whole, config))["activations"] * 1e9 / 4
    assert planned == pytest.approx(real, rel=0.25)


def test_an_unknown_type_of_model_in_a_recipe_is_a_usage_error() -> None:
    from training.plan import plan_run

    with pytest.raises(MeadowError, match="these dimensions are no model"):
        plan_run(load_recipe("tiny", ["base.dimensions.model_type=lama"]))
    gemma = load_recipe("tiny", [
        "base.dimensions.model_type=gemma2", "base.dimensions.other={sliding_window = 64}",
    ])  # fmt: skip
    assert plan_run(gemma)["parameters"]


@pytest.mark.parametrize("name", ["llama3", "gemma2", "gpt2", "moe"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_losses_in_pieces_are_those_of_whole_logits(
    name, method, bases, tmp_path, go, monkeypatch
) -> None:
    """Seven tokens at once; a family that caps its logits keeps them whole."""
    import torch

    from training import batches

    base = without_dropout(bases(name), tmp_path / "base")
    layout = "batch.layout=padded" if name == "gemma2" else "batch.layout=packed"
    whole = go(base, f"method={method}", layout, out="whole").metrics
    rows: list[int] = []
    cross_entropy = torch.nn.functional.cross_entropy

    def counted(logits: Any, *arguments: Any, **options: Any) -> Any:
        rows.append(len(logits))
        return cross_entropy(logits, *arguments, **options)

    monkeypatch.setattr(batches, "logits_at_once", lambda vocabulary: 7)
    monkeypatch.setattr(batches.functional, "cross_entropy", counted)
    pieces = go(base, f"method={method}", layout, out="pieces").metrics
    assert (max(rows) == 7) == (name != "gemma2")
    for one, other in zip(whole, pieces, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
    assert whole[-1]["validation_loss"] == pytest.approx(pieces[-1]["validation_loss"], abs=1e-5)
