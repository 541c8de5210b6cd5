"""Training and scoring at real sizes on one GPU, beside plan's figures, TRL and lm_eval; one JSON.

Parts, in this order, each in a process of its own, so that one that fails or runs out of memory
takes no other with it; one whose time is not left is named as left out:

- full-1b, lora-7b, qlora-8b: `meadow train` on random weights in the shapes of Llama 3.2 1B, LLaMA
  7B and Llama 3.1 8B, twenty steps, packed, the packing check in bfloat16 included;
- scorer: letters of invented vignettes, and the same requests through lm_eval;
- trl-full-1b, trl-lora-7b, trl-qlora-8b: TRL's SFTTrainer on the same rows with its best packing;
- flex-full-1b: full-1b with flex_attention, which says whether `auto` should take it.

    python tests/gpu/measure.py [--out FILE] [--minutes 8] [--tiny] [--part NAME]

`--tiny` is the rehearsal: the same code with tiny shapes in this process, on a processor too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

SHAPES = {"1b": "llama-3.2-1b-lora", "7b": "medalpaca-7b-lora-fixed", "8b": "llama-3.1-8b-qlora"}
"""Name -> the recipe whose dimensions and settings are taken."""
PARTS = {
    "full-1b": 50, "lora-7b": 100, "qlora-8b": 120, "scorer": 40,
    "trl-full-1b": 50, "trl-lora-7b": 80, "flex-full-1b": 60, "trl-qlora-8b": 100,
}  # fmt: skip
"""Name -> seconds that it may need: without them it is not begun."""
METHODS = {"full": "full", "lora": "lora", "qlora": "qlora_nf4"}
STEPS, WARM = 20, 5
"""Optimizer steps of a run, and those that are not timed."""
EXAMPLES, ROWS = 64, 64 * STEPS
PEAK = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "4090": 165}
"""bfloat16 TFLOPS without sparsity, by what a card's name holds (the makers' data sheets)."""
ROOM = 60 * 2**30
TINY = (
    "base.dimensions.hidden_size=64", "base.dimensions.intermediate_size=128",
    "base.dimensions.num_hidden_layers=2", "base.dimensions.num_attention_heads=4",
    "base.dimensions.num_key_value_heads=2", "base.dimensions.head_dim=16",
    "base.dimensions.vocab_size=800",
)  # fmt: skip


def recipe_of(part: str, *, tiny: bool) -> Any:
    """The recipe of a part: the shape's own, for twenty steps."""
    from training.config import load_recipe

    *fast, method, shape = part.split("-")
    changes = [
        f"method={METHODS[method]}",
        f"base.dtype={'float32' if method == 'full' else 'bfloat16'}",
        f"run.attention={'flex' if 'flex' in fast else 'auto'}",
        f"batch.examples={8 if tiny else EXAMPLES}",
        f"schedule.max_steps={3 if tiny else STEPS}",
        "data.bos=false", "data.template=alpaca", "run.save_steps=0", "schedule.epochs=1",
        "run.trackers=[]",
    ]  # fmt: skip
    return load_recipe(SHAPES[shape], [*changes, *(TINY if tiny else ())])


def base_of(part: str, root: Path, *, tiny: bool) -> Path:
    """A folder with random bfloat16 weights in a part's shape; made by the first who needs it."""
    import torch
    from support.bases import make_tokenizer
    from transformers import AutoModelForCausalLM

    from training.methods import dimensions_config

    folder = root / f"base-{part.rpartition('-')[2]}"
    if (folder / "config.json").exists():
        return folder
    recipe = recipe_of(part.removeprefix("trl-"), tiny=tiny)
    tokenizer = make_tokenizer("llama3")
    config = dimensions_config(recipe.base)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    torch.manual_seed(0)
    models: Any = AutoModelForCausalLM
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = models.from_config(config, dtype=torch.bfloat16)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def mix_of(root: Path, *, tiny: bool) -> Path:
    """Invented rows with the uneven lengths of instruction data: about 150 tokens on average."""
    import numpy as np
    from support.corpora import WORDS, write_mix

    folder = root / "mix"
    if folder.exists():
        return folder
    draw = np.random.default_rng(0)
    count = 48 if tiny else ROWS
    rows = [
        ("invented", "Sort the words.", " ".join(draw.choice(WORDS, min(int(size), 300))),
         " ".join(draw.choice(WORDS, 1 + int(size) % 60)))
        for size in draw.lognormal(2.5 if tiny else 4.0, 0.9, count) + 2
    ]  # fmt: skip
    return write_mix(folder, rows, rows[:8])


class Clock:
    """When each optimizer step ended; a callback of transformers."""

    def __new__(cls) -> Any:
        """A callback, made here so that transformers is imported late."""
        from transformers import TrainerCallback

        class Stamps(TrainerCallback):
            times: list[float]

            def __init__(self) -> None:
                self.times = []

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                synchronise()
                self.times.append(time.perf_counter())

        return Stamps()


def synchronise() -> None:
    """Wait for the card, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gb() -> float | None:
    """The most memory that was allocated on the card so far, GB."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def rate(tokens: list[int], times: list[float]) -> float:
    """Tokens per second behind the warm-up; `tokens` counts from the beginning."""
    first = min(WARM, len(times) - 2)
    return (tokens[-1] - tokens[first]) / (times[-1] - times[first])


def utilisation(method: str, parameters: int, tokens_per_second: float) -> float | None:
    """MFU: operations that the model needs, over the card's peak; nothing counts twice."""
    import torch

    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    peak = next((tflops for key, tflops in PEAK.items() if key in name), None)
    operations = (6 if method == "full" else 4) * parameters
    return operations * tokens_per_second / (peak * 1e12) if peak else None


def ours(part: str, root: Path, *, tiny: bool) -> dict[str, Any]:
    """`meadow train`, and what plan said before."""
    from training.loop import train

    clock = Clock()
    recipe = recipe_of(part, tiny=tiny)
    result = train(
        recipe, mix_of(root, tiny=tiny), root / f"run-{part}", base=base_of(part, root, tiny=tiny),
        callbacks=[clock], ignore_memory=True,
    )  # fmt: skip
    manifest, lines = result.manifest, result.metrics
    speed = rate([line["tokens"] for line in lines], clock.times)
    shutil.rmtree(root / f"run-{part}")
    return {
        "attention": manifest["attention"],
        "packing_check": manifest["packing_check"],
        "parameters": manifest["parameters"],
        "steps": len(lines),
        "losses": [lines[0]["loss"], lines[-1]["loss"]],
        "fill": manifest["fill"],
        "tokens_per_second": speed,
        "mfu": utilisation(recipe.method, manifest["parameters"], speed),
        "peak_gb": peak_gb(),
        "plan_gb": manifest["memory"]["needed_gb"],
        "plan_parts_gb": manifest["memory"]["per_device_gb"],
    }


def theirs(part: str, root: Path, *, tiny: bool) -> dict[str, Any]:
    """TRL on the same rows: best-fit packing, and FlashAttention where it is installed."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, utils
    from trl import SFTConfig, SFTTrainer

    from meadow.api import open_corpus
    from training.data import frame_tokenizer, read_rows, tokenize
    from training.methods import adapt

    recipe = recipe_of(part.removeprefix("trl-"), tiny=tiny)
    base = base_of(part, root, tiny=tiny)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    frame_tokenizer(tokenizer, recipe)
    rows = tokenize(
        read_rows(open_corpus(mix_of(root, tiny=tiny)), "train"), tokenizer, recipe.data
    )
    data = Dataset.from_list([{"input_ids": rows.row(i).tolist()} for i in range(len(rows))])
    packed = max(1, -(-int(rows.starts[-1]) // recipe.row_tokens))
    steps = recipe.schedule.max_steps
    checked: Any = vars(utils)["is_flash_attn_2_available"]
    make: Any = BitsAndBytesConfig
    quantised = make(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    ) if recipe.method == "qlora_nf4" else None  # fmt: skip
    models: Any = AutoModelForCausalLM
    model = models.from_pretrained(
        base, dtype=getattr(torch, recipe.base.dtype), quantization_config=quantised,
        attn_implementation="flash_attention_2" if checked() else "sdpa",
    )  # fmt: skip
    if recipe.method != "full":
        model = adapt(model, recipe.lora)
    options: Any = SFTConfig(
        output_dir=str(root / "trl"), max_steps=steps, learning_rate=1e-4, save_strategy="no",
        logging_steps=1, report_to="none", disable_tqdm=True, bf16=True, packing=True,
        packing_strategy="bfd", max_length=recipe.row_tokens, per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, packed // steps), loss_type="chunked_nll",
        gradient_checkpointing=recipe.run.activation_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    clock = Clock()
    trainer: Any = SFTTrainer(
        model=model, args=options, train_dataset=data, processing_class=tokenizer,
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    tokens = [line["num_tokens"] for line in trainer.state.log_history if "num_tokens" in line]
    speed = rate(tokens, clock.times)
    return {"tokens_per_second": speed, "peak_gb": peak_gb(), "steps": len(clock.times)}


def scorer(root: Path, *, tiny: bool) -> dict[str, Any]:
    """Letters of invented vignettes, ours and lm_eval's, questions per second."""
    import torch
    from benchmarks.bench_scorer import Peer, tokenizer_of, vignettes
    from benchmarks.bench_scorer import ours as own
    from transformers import AutoModelForCausalLM

    from meadow.prompt import medalpaca

    questions = vignettes(4 if tiny else 256)
    models: Any = AutoModelForCausalLM
    model = models.from_pretrained(base_of("full-1b", root, tiny=tiny), dtype=torch.bfloat16)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer = tokenizer_of(700 if tiny else 32_000)
    contexts = [
        medalpaca(
            "Answer this multiple choice question.",
            stem + "\n" + "\n".join(f"{label}: {text}" for label, text in options),
        )
        for stem, options in questions
    ]
    tails = [[[f" {label}" for label, _ in options]] for _, options in questions]
    peer = Peer(model, tokenizer, 4 if tiny else 32)
    found: dict[str, list[float]] = {"ours": [], "lm_eval": []}
    scores: dict[str, list[float]] = {}
    for number in range(1 + (1 if tiny else 3)):
        for name in found:
            synchronise()
            begun = time.perf_counter()
            if name == "ours":
                scores[name] = own(model, tokenizer, contexts, tails, True)
            else:
                scores[name] = peer.score(contexts, tails)
            synchronise()
            if number:
                found[name].append(len(questions) / (time.perf_counter() - begun))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    apart = max(abs(a - b) for a, b in zip(*scores.values(), strict=True))
    return {
        "questions_per_second": medians,
        "ratio": medians["ours"] / medians["lm_eval"],
        "largest_difference": apart,
        "peak_gb": peak_gb(),
    }


def run_part(part: str, root: Path, *, tiny: bool) -> dict[str, Any]:
    """One part's figures, or what it failed with."""
    begun = time.perf_counter()
    try:
        if part == "scorer":
            found = scorer(root, tiny=tiny)
        else:
            found = (theirs if part.startswith("trl-") else ours)(part, root, tiny=tiny)
    except Exception as error:
        traceback.print_exc()
        found = {"failed": f"{type(error).__name__}: {str(error).strip()[:500]}"}
    return {**found, "seconds": round(time.perf_counter() - begun, 1)}


def run_apart(part: str, root: Path, seconds: float) -> dict[str, Any]:
    """The same in a process of its own, which ends when its time does."""
    target = root / f"{part}.json"
    command = [sys.executable, __file__, "--part", part, "--root", str(root), "--out", str(target)]
    begun = time.perf_counter()
    try:
        done = subprocess.run(command, stdout=sys.stderr, timeout=seconds, check=False)
        failed = f"ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        failed = f"stopped after {seconds:.0f} s"
    if target.exists():
        return dict(json.loads(target.read_text(encoding="utf-8")))
    return {"failed": failed, "seconds": round(time.perf_counter() - begun, 1)}


def compared(parts: dict[str, Any]) -> dict[str, float]:
    """Ratios: ours over TRL's, and measured memory over plan's."""
    found = {}
    for name, part in parts.items():
        peer = parts.get(f"trl-{name}", {})
        if "tokens_per_second" in part and "tokens_per_second" in peer:
            found[f"{name} / TRL"] = part["tokens_per_second"] / peer["tokens_per_second"]
        if part.get("peak_gb") and "plan_gb" in part:
            found[f"{name}: peak / plan"] = part["peak_gb"] / part["plan_gb"]
    return found


def main(arguments: list[str]) -> dict[str, Any]:
    """Run the parts and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--root", type=Path)
    told = parser.parse_args(arguments)
    if told.part:
        document = run_part(told.part, told.root, tiny=told.tiny)
        told.out.write_text(json.dumps(document), encoding="utf-8")
        return document
    begun = time.monotonic()
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM and not told.tiny
    root = Path(tempfile.mkdtemp(prefix="meadow-gpu-", dir=memory if roomy else told.root))
    parts: dict[str, Any] = {}
    try:
        for part, needed in PARTS.items():
            left = told.minutes * 60 - (time.monotonic() - begun)
            if told.tiny and part.startswith("flex"):
                parts[part] = {"left_out": "flex_attention learns on GPUs only"}
            elif left < needed and not told.tiny:
                parts[part] = {"left_out": f"{left:.0f} s were left"}
            else:
                parts[part] = (
                    run_part(part, root, tiny=True) if told.tiny else run_apart(part, root, left)
                )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    from meadow.models.machine import hardware, versions

    document = {
        "hardware": hardware(),
        "versions": versions(["torch", "transformers", "peft", "accelerate", "bitsandbytes", "trl",
                              "lm_eval", "flash_attn"]),
        "tiny": told.tiny,
        "seconds": round(time.monotonic() - begun, 1),
        "compared": compared(parts),
        "parts": parts,
    }  # fmt: skip
    text = json.dumps(document, indent=2)
    out = told.out or (Path(os.environ["OUT"]) / "gpu.json" if "OUT" in os.environ else None)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return document


if __name__ == "__main__":
    failed = [part for part in main(sys.argv[1:]).get("parts", {}).values() if "failed" in part]
    sys.exit(bool(failed))
