"""The four methods and 8-bit AdamW: train, save, resume, export, on real weights."""

from __future__ import annotations

from typing import Any

import pytest

from meadow.errors import FileError, MeadowError, RefusedError, UsageError

SMALL = (
    "data.length=96", "batch.row_tokens=192", "batch.examples=8", "schedule.epochs=1",
    "schedule.warmup=0", "optimizer.learning_rate=5e-3",
)  # fmt: skip
VARIANTS = {
    "full": ("method=full",),
    "lora": ("method=lora",),
    "lora_int8": ("method=lora_int8",),
    "qlora_nf4": ("method=qlora_nf4",),
    "adamw_8bit": ("method=full", "optimizer.name=adamw_8bit"),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_trains_saves_resumes_and_exports(
    tiny, make_mix, tmp_path, stories, kind, train, stop_after
) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from meadow.models.loading import Checkpoint, Precision, dequantise, load_model
    from training.export import export, logits, probe_tokens

    mix = make_mix(rows=40, held_out=8)
    recipe = tiny(*SMALL, *VARIANTS[kind], "run.save_steps=2", "lora.dropout=0.1")
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, mix, out, base=stories, callbacks=[stop_after(2)])
    result = train(recipe, mix, out, base=stories)
    assert result.manifest["resumed"] == [2]
    losses = [line["loss"] for line in result.metrics]
    assert losses[-1] < losses[0] - 0.5
    capabilities = result.manifest["capabilities"]
    assert capabilities["nf4_repacking"] is False
    assert (capabilities["nf4_layers"] > 0) == (kind == "qlora_nf4")
    assert (capabilities["int8_layers"] > 0) == (kind == "lora_int8")

    exported = export(out, tmp_path / "export")
    assert not [name for name in exported["files"] if name.endswith((".pt", ".pth", ".bin"))]
    assert {"model.safetensors", "README.md", "run_manifest.json"} <= set(exported["files"])
    figures = exported["figures"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32)
    assert not hasattr(merged.config, "quantization_config")
    written = logits(merged, probe_tokens(512))
    if recipe.method == "full":
        kept = AutoModelForCausalLM.from_pretrained(result.model, dtype=torch.float32)
        assert torch.equal(written, logits(kept, probe_tokens(512)))
        return
    trained = load_file(result.model / "adapter_model.safetensors")
    assert trained
    assert all("lora_" in name for name in trained)
    # What lies on disk, against the adapters on the dequantised base.
    held = Precision(**result.manifest["precision"])
    base = dequantise(load_model(Checkpoint(str(stories)), held))
    adapted = logits(PeftModel.from_pretrained(base, str(result.model)), probe_tokens(512))
    assert float((written - adapted).abs().max()) < 1e-4
    assert figures["merged_against_dequantised"] < 1e-4
    if kind == "qlora_nf4":
        assert figures["merged_against_quantised"] < 1e-4
    if kind == "lora_int8":
        print(f"int8: merged is {figures['merged_against_quantised']:.3g} from the int8 model "
              f"of {figures['largest_logit']:.3g}")  # fmt: skip
        assert 0 < figures["merged_against_quantised"] < figures["largest_logit"] / 5


@pytest.mark.parametrize("method", ["qlora_nf4", "lora_int8"])
def test_the_loss_still_falls_after_an_exam(tiny, mix, tmp_path, method, train) -> None:
    from training.export import logits, probe_tokens

    seen = []

    def exam(model: Any, tokenizer: Any) -> dict[str, Any]:
        seen.append(float(logits(model, probe_tokens(256)).abs().max()))
        return {"exam": "probe", "accuracy": 0.0}

    recipe = tiny(*SMALL, f"method={method}", "run.exam_steps=2", "schedule.kind=constant")
    result = train(recipe, mix, tmp_path / "out", exam=exam)
    lines = result.metrics
    assert len(seen) == 6
    assert all(line["grad_norm"] > 0 for line in lines)
    assert lines[-1]["loss"] < lines[2]["loss"] - 0.1


@pytest.mark.filterwarnings("ignore:bitsandbytes")
@pytest.mark.parametrize("kept", [True, False], ids=["flag-off", "as-shipped"])
def test_the_flag_is_what_keeps_nf4_learning_after_an_evaluation(
    tiny, mix, tmp_path, monkeypatch, kept, train
) -> None:
    import bitsandbytes
    import torch

    from meadow.models import loading
    from training.export import logits, probe_tokens
    from training.methods import load_trainable

    functional: Any = bitsandbytes.functional
    if not functional.has_avx512bf16():
        pytest.skip("the trap exists on processors with AVX512-BF16 only")
    base = train(tiny("schedule.max_steps=1"), mix, tmp_path / "out").model
    if not kept:
        monkeypatch.setattr(loading, "keep_nf4_weights", lambda model: 0)
    model = load_trainable(tiny("method=qlora_nf4", "lora.dropout=0.0"), base)

    def first_layer() -> float:
        """Largest gradient that reaches an adapter through the frozen layers above it."""
        model.train()
        model.zero_grad()
        tokens = probe_tokens(256)
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        found = [p.grad.abs().max() for n, p in model.named_parameters()
                 if "layers.0.self_attn.q_proj.lora_B" in n]  # fmt: skip
        return float(torch.stack(found).max())

    before = first_layer()
    logits(model, probe_tokens(256))
    after = first_layer()
    assert before > 0
    assert after == (pytest.approx(before, rel=1e-4) if kept else 0.0)


def test_adapters_rest_on_the_random_base_beside_them(tiny, mix, tmp_path, train) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from training.export import export, find_model

    result = train(tiny(*SMALL, "method=lora", "schedule.max_steps=2"), mix, tmp_path / "out")
    assert find_model(tmp_path / "out") == result.model
    exported = export(tmp_path / "out", tmp_path / "export", dtype="bfloat16")
    assert exported["dtype"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    assert model.dtype == torch.bfloat16


def test_export_says_what_is_missing(tiny, mix, tmp_path, monkeypatch, train) -> None:
    from training.export import export

    with pytest.raises(FileError, match="no trained model"):
        export(tmp_path, tmp_path / "export")
    result = train(tiny(*SMALL, "schedule.max_steps=1"), mix, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    with pytest.raises(UsageError, match="not empty"):
        export(tmp_path / "out", tmp_path / "full")
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeadowError, match=r"convert_hf_to_gguf\.py is not here"):
        export(tmp_path / "out", tmp_path / "export", gguf=True)
    assert not (tmp_path / "export").exists()
    weights = result.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(FileError, match="torn"):
        export(tmp_path / "out", tmp_path / "export")


def test_a_failing_converter_is_reported(tmp_path) -> None:
    from meadow.models.gguf import convert, find_converter

    program = tmp_path / "convert_hf_to_gguf.py"
    program.write_text("raise SystemExit('no such architecture')\n")
    assert find_converter(program) == program
    with pytest.raises(MeadowError, match="no such architecture"):
        convert(program, tmp_path, "float32")


def test_resume_state_is_never_pushed(tmp_path) -> None:
    from meadow.hub.models import push_model

    (tmp_path / "optimizer.pt").touch()
    with pytest.raises(RefusedError, match=r"optimizer\.pt"):
        push_model(tmp_path, "someone/model")
