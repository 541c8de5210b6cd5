"""Stages that load a model: training, export, evaluation; a LLaMA of a few thousand weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from support.corpora import record, write_corpus
from support.fault_shim import WarmParent, compile_shim
from support.fault_stage import Stage

from meadow.samples import FOLDER

MODULES = (
    *("evaluation", "training", "peft", "safetensors.torch", "tokenizers", "torch"),
    *("transformers.models.llama.modeling_llama", "transformers.trainer"),
)
SMALL = {
    "base.dimensions.hidden_size": 16,
    "base.dimensions.intermediate_size": 32,
    "base.dimensions.num_hidden_layers": 1,
    "base.dimensions.num_attention_heads": 2,
    "base.dimensions.num_key_value_heads": 1,
    "base.dimensions.vocab_size": 300,
    "base.dimensions.max_position_embeddings": 512,
    "data.length": 128,
    "batch.examples": 4,
    "batch.row_tokens": 128,
    "schedule.max_steps": 4,
    "run.save_steps": 2,
    "run.keep_checkpoints": 1,
}
TIMED = {"run_manifest.json", "README.md", "COMPLETE.json", "run.json"}
"""Files that say when they were made; only their being there is compared."""
LOCAL = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
"""Resume state: what it is good for is seen in the weights after the next run."""


class ModelStages:
    """Makes each stage once, when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "warm").mkdir(parents=True)
        self.warm = WarmParent(
            compile_shim(folder / "warm"),
            folder / "warm",
            modules=MODULES,
            more={"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")},
        )
        self.mix = folder / "mix"
        write_corpus(self.mix, (record("alpha", n, f"answer {n * n}") for n in range(24)))
        self._made: dict[str, Stage] = {}

    def __getitem__(self, name: str) -> Stage:
        if name not in self._made:
            stage: Stage = getattr(self, f"_{name}")()
            stage.reset()
            ended = stage.run()
            assert ended.code == 0, ended.text
            self._made[name] = replace(stage, after=stage.read(stage.out))
        return self._made[name]

    def training(self, out: Path, *more: str) -> tuple[object, ...]:
        """The command that trains a tiny model."""
        settings = [f"{key}={value}" for key, value in SMALL.items()] + list(more)
        words = [word for setting in settings for word in ("--set", setting)]
        return ("train", "tiny", "--mix", self.mix, "--out", out, *words)

    def _train(self) -> Stage:
        out = self.folder / "train"
        return Stage(
            "train",
            self.warm,
            self.training(out),
            out,
            read=read_run,
            doubt=lambda: doubtful_run(out),
        )

    def _export(self) -> Stage:
        run = self.folder / "adapters"
        lora = self.training(run, "method=lora", "lora.rank=2")
        ended = self.warm.run(*lora)
        assert ended.code == 0, ended.text
        out = self.folder / "export"
        return Stage(
            "export",
            self.warm,
            ("export", run, "--out", out / "merged"),
            out,
            read=read_run,
            doubt=lambda: doubtful_run(out),
            once=True,
        )

    def trained(self) -> Path:
        """A model folder that no fault test touches."""
        out = self.folder / "trained"
        if not (out / "model").exists():
            ended = self.warm.run(*self.training(out))
            assert ended.code == 0, ended.text
        return out / "model"

    def _evaluate(self) -> Stage:
        out = self.folder / "evaluate"
        argv = (
            "eval", "run", "--model", self.trained(), "--exam", "usmle_self_assessment",
            "--file", FOLDER / "exam", "--modes", "letter,option", "--limit", 8,
            "--batch-tokens", 900, "--template", "short", "--out", out,
        )  # fmt: skip
        return Stage(
            "evaluate",
            self.warm,
            argv,
            out,
            read=read_run,
            doubt=lambda: doubtful_evaluation(out),
        )


def read_run(out: Path) -> Mapping[str, str]:
    """Every file by its hash, but those that hold times or resume state by their name."""
    found = {}
    for path in sorted(out.rglob("*")):
        if not path.is_file() or path.name == ".meadow.lock":
            continue
        name = path.relative_to(out).as_posix()
        if path.name in TIMED | LOCAL:
            found[name] = "there"
            continue
        data = path.read_bytes()
        if path.name.startswith("journal."):
            # what a batch cost is in seconds; what it found is the same
            data = b"".join(n for n in data.splitlines(True) if b'"unit": "cost:' not in n)
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def doubtful_run(out: Path) -> list[str]:
    """A model folder that cannot be loaded, or a run that says too early that it is done."""
    from safetensors.numpy import load_file

    found = []
    for folder in (out / "model", out / "merged"):
        if not folder.exists():
            continue
        try:
            for path in folder.glob("*.safetensors"):
                load_file(path)
            for path in folder.glob("*.json"):
                json.loads(path.read_text(encoding="utf-8"))
            if not list(folder.glob("*.safetensors")):
                found.append(f"{folder.name} has no weights")
        except Exception as error:
            found.append(f"{folder.name} is torn: {error}")
    manifest = out / "run_manifest.json"
    if manifest.exists():
        status = json.loads(manifest.read_text(encoding="utf-8")).get("status")
        if status == "finished" and not (out / "model" / "COMPLETE.json").exists():
            found.append("the run says that it is finished, and has no model")
    return found


def doubtful_evaluation(out: Path) -> list[str]:
    """A torn line before the last one, or a finished run without its tables."""
    import pyarrow.parquet as pq

    found = []
    for path in out.glob("journal.*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                json.loads(line)
            except ValueError:
                found.append(f"a torn line in the middle of {path.name}")
    for path in out.glob("*.parquet"):
        try:
            pq.read_table(path)
        except Exception as error:
            found.append(f"{path.name} is torn: {error}")
    for path in out.glob("*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            found.append(f"{path.name} is torn: {error}")
    if (out / "run.json").exists() and not (out / "summary.json").exists():
        found.append("the run says that it is finished, and has no summary")
    return found
