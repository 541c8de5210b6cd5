"""One training run, from a recipe and a mix to a model folder.

`prepare` finds out everything that is known before a model is loaded: rows, plan, micro-batches and
what makes two starts the same run. `train` holds the folder, passes the gates, proves the packing,
runs the plan and finishes: the model saved whole, the manifest completed last.

The run folder: run_manifest.json (written first, completed last), plan.parquet (which record in
which step), rejects.jsonl, metrics.jsonl, exams.jsonl, loss.svg, checkpoint-N/ and model/.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from meadow.api import open_corpus
from meadow.atomic import hash_json, locked, sha256_file, write_text
from meadow.cards.model import model_card
from meadow.charts import curves
from meadow.errors import UsageError
from meadow.exams.contamination import check_contamination
from meadow.models import checkpoints
from meadow.models.architecture import check_tokens, takes_positions, trainable_model
from meadow.models.frames import pad_token, set_stops
from meadow.models.loading import (
    PLAN,
    capabilities,
    count_parameters,
    hashed_weights,
    load_config,
    load_tokenizer,
    quiet,
    torch_dtype,
)
from meadow.models.machine import ProcessGroup, device_gb
from meadow.models.random_base import make_base
from training import run_manifest
from training.batches import PlannedBatches, lose_in_pieces
from training.config import Recipe
from training.data import (
    TokenRows,
    frame_tokenizer,
    read_rows,
    split_rows,
    texts_of,
    tokenize,
)
from training.methods import (
    apply_method,
    base_checkpoint,
    dimensions_config,
    load_trainable,
    precision,
)
from training.packing import Plan, make_plan, plan_recipe, write_plan
from training.plan import check_memory, measure
from training.selfcheck import check_packing
from training.trainer import (
    EXAMS,
    METRICS,
    Exam,
    PlanTrainer,
    cut_lines,
    flush_lines,
    read_lines,
    training_arguments,
)

MODEL = "model"
REJECTS = "rejects.jsonl"
PLOT = "loss.svg"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its model."""

    base: str | Path | None  # where the base is: as given, or made by the run
    config: Any  # the base's configuration
    attention: str  # transformers' name of the attention that it gets
    tokenizer: Any
    batches: PlannedBatches  # the micro-batches, with the examples and the plan that they come from
    validation: PlannedBatches | None  # held-out micro-batches, or None
    manifest: dict[str, Any]  # the run manifest so far


def prepare(
    recipe: Recipe,
    mix: str | Path,
    out: Path,
    base: str | Path | None,
    *,
    allow_contaminated: bool,
    group: ProcessGroup,
) -> Prepared:
    """Read the mix, pass its gate, tokenise it and plan the run."""
    corpus = open_corpus(mix)
    contamination = check_contamination(corpus, allow=allow_contaminated)
    made = base is None and recipe.base.repository == "random"
    if made:
        base = out / "base"
        if group.first:
            texts = texts_of(read_rows(corpus, "train"))
            make_base(dimensions_config(recipe.base), texts, base, seed=recipe.run.seed)
        group.wait()
    checkpoint = base_checkpoint(recipe, base).pinned()
    config = load_config(checkpoint)
    empty = trainable_model(
        config,
        dtype=recipe.base.dtype,
        attention=recipe.run.attention,
        half=recipe.run.mixed_precision != "no" or recipe.base.dtype != "float32",
        packed=recipe.batch.layout == "packed",
        length=recipe.data.length,
    )
    attention = str(empty.config._attn_implementation)
    tokenizer = load_tokenizer(checkpoint)
    frame_tokenizer(tokenizer, recipe)
    shown, kept_back = split_rows(corpus, recipe)
    rows = tokenize(shown, tokenizer, recipe.data)
    packed = recipe.batch.layout == "packed"
    pad = int(tokenizer.eos_token_id) if packed else pad_token(tokenizer, recipe.data.pad_token_id)
    check_tokens(tokenizer, empty, [int(rows.tokens.max(initial=0)), pad])
    plan = plan_recipe(rows, recipe, devices=group.size)
    validation = None
    if kept_back is not None:
        held = tokenize(kept_back, tokenizer, recipe.data)
        if len(held):
            once = recipe.batch.model_copy(update={"loss_mean": "tokens", "tail": "short"})
            one = make_plan(
                held, once, epochs=1, seed=0, row_tokens=recipe.row_tokens, devices=group.size
            )
            validation = _batches(held, one, recipe, pad, empty)
    if recipe.run.best == "validation_loss" and validation is None:
        raise UsageError(
            "run.best is the held-out loss, and no row is held out",
            where=str(corpus.folder),
            fix="--set mix.validation=0.1, or mix again with a validation split",
        )
    manifest = {
        "status": "started",
        "recipe": recipe.to_json(),
        "recipe_hash": recipe.hash(),
        "trained": recipe.hash(length=False),
        "plan_hash": plan.hash(rows),
        "base": {
            "name": "random" if made else checkpoint.name,
            "revision": checkpoint.revision or _weights_hash(Path(checkpoint.name)),
        },
        "precision": precision(recipe).to_json(),
        "attention": attention,
        "mix": corpus.facts(),
        "contamination": contamination,
        "data": rows.facts(),
        "steps": len(plan.steps),
        "micro_batches_per_step": plan.micro_batches,
        "short_steps": plan.short_steps,
        "fill": plan.fill,
        "seeds": {"run": recipe.run.seed},
        **run_manifest.surroundings(group),
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "vocabulary": len(tokenizer),
            "hash": hash_json(sorted(tokenizer.get_vocab().items())),
        },
    }
    batches = _batches(rows, plan, recipe, pad, empty)
    return Prepared(base, config, attention, tokenizer, batches, validation, manifest)


def _weights_hash(folder: Path) -> str:
    """Identifies a local base by its configuration and weights."""
    config = {"config.json": sha256_file(folder / "config.json")}
    return "sha256:" + hash_json(config | hashed_weights(folder))


def _batches(rows: TokenRows, plan: Plan, recipe: Recipe, pad: int, empty: Any) -> PlannedBatches:
    left, positions = recipe.data.padding_side == "left", takes_positions(empty)
    return PlannedBatches(rows, plan, recipe.batch, pad=pad, left=left, positions=positions)


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run leaves."""

    folder: Path
    manifest: dict[str, Any]  # the completed run manifest
    metrics: list[dict[str, Any]]  # one line per step
    exams: list[dict[str, Any]]  # one line per exam

    @classmethod
    def read(cls, folder: Path, manifest: dict[str, Any]) -> Result:
        """From a run folder."""
        return cls(folder, manifest, read_lines(folder / METRICS), read_lines(folder / EXAMS))

    @property
    def model(self) -> Path:
        """The model's folder: weights or adapters, tokenizer, manifest, card."""
        return self.folder / MODEL


class StepLines(TrainerCallback):
    """One line a step: step, loss, loss on held-out rows where it was measured, learning rate."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Called by Trainer; what it logs besides steps is no step."""
        if logs is None or "learning_rate" not in logs or not state.is_world_process_zero:
            return
        line = f"step {state.global_step:,}/{state.max_steps:,} loss {logs['loss']:.4f}"
        if "validation_loss" in logs:
            line += f" held out {logs['validation_loss']:.4f}"
        self.progress(f"{line} lr {logs['learning_rate']:.1e}")


def train(
    recipe: Recipe,
    mix: str | Path,  # a mix or corpus: folder or `OWNER/NAME@REVISION`
    out: Path,
    *,
    base: str | Path | None = None,  # another base than the recipe's: folder or `REPO[@REVISION]`
    # scores the model between steps: (model, tokenizer) -> {"exam", "accuracy", ...}
    exam: Exam | None = None,
    callbacks: Sequence[TrainerCallback] = (),  # further callbacks of transformers
    # train although exam items are in the mix; the manifest says so
    allow_contaminated: bool = False,
    ignore_memory: bool = False,  # start although the estimate says that it does not fit
    available_gb: float | None = None,  # memory per device, for the estimate; None measures it
    # gets lines for the person at the terminal
    progress: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train, or continue a run that was stopped in the same folder.

    Returns:
        The model folder and what the run wrote. A finished run is returned as it is.

    Raises:
        UsageError: Recipe, mix, base, devices and folder do not go together.
        RefusedError: Exam items are in the mix, or the run does not fit into memory.
        CheckError: Packed examples see each other.
        MeadowError: The loss is not finite, or sharding was asked for and did not happen.
    """
    if recipe.method == "none":
        apply_method(None, recipe)
    if recipe.run.best == "exam" and exam is None:
        raise UsageError("run.best is the exam, and there is none", fix="--exam NAME=FILE")
    quiet()
    group = ProcessGroup.from_environment()
    # what is wrong with devices and trackers comes out before the mix is read
    training_arguments(recipe, out, micro_batches=1)
    with locked(out) if group.first else contextlib.nullcontext(), checkpoints.saving(out):
        prepared = prepare(
            recipe, mix, out, base, allow_contaminated=allow_contaminated, group=group
        )
        rows, plan = prepared.batches.rows, prepared.batches.plan
        found = run_manifest.check_same_run(
            out, prepared.manifest, lambda steps: plan.hash(rows, steps)
        )
        if found and found.get("status") == "finished":
            progress(f"this run is finished: {out / MODEL}")
            return Result.read(out, found)
        resumed = checkpoints.last_complete(out)
        at = resumed[0] if resumed else 0
        if found and found["status"] == "extended" and not at:
            raise UsageError(
                "the run left no checkpoint to go on from: only its model is there",
                where=str(out),
                fix="train anew with --set run.save_steps=N in another --out",
            )
        measured, device = device_gb(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        sizes = measure(recipe, prepared.config)
        if precision(recipe).quantisation and sizes.fused:
            progress(f"warning: {sizes.fused:,} weights of experts stay in {recipe.base.dtype}: "
                     "bitsandbytes quantises linear layers only")  # fmt: skip
        memory = check_memory(
            recipe,
            sizes,
            devices=group.size,
            available_gb=available_gb or measured,
            device=device,
            ignore=ignore_memory,
        )
        document = prepared.manifest | {"memory": memory, "started": run_manifest.now()}
        if found:
            document["started"] = found["started"]
            document["resumed"] = [*found.get("resumed", []), at]
            document["extended"] = found.get("extended", [])
        if warning := document["contamination"].get("warning"):
            progress(f"warning: {warning}")
        if group.first:
            run_manifest.write(out, document)
            write_plan(plan, rows, out / PLAN)
            rejects = [{"id": name, "reason": reason} for name, reason in rows.rejected]
            write_text(out / REJECTS, "".join(json.dumps(line) + "\n" for line in rejects))
            cut_lines(out, at)
        group.wait()
        arguments = training_arguments(recipe, out, micro_batches=plan.micro_batches)
        model = load_trainable(
            recipe, prepared.base, device=str(arguments.device), attention=prepared.attention
        )
        if sizes.pieces:
            lose_in_pieces(model)
        set_stops(model, prepared.tokenizer, recipe.data.template)
        total, trainable = count_parameters(model)
        document |= {
            "parameters": total,
            "trainable_parameters": trainable,
            "capabilities": capabilities(model),
        }
        if recipe.batch.layout == "packed" and not recipe.run.fsdp:
            document["packing_check"] = _self_check(model, prepared, recipe, arguments)
        if group.first:
            run_manifest.write(out, document)
        progress(
            f"{recipe.name}: {len(rows):,} rows, {len(plan.steps):,} steps, "
            f"{trainable:,} of {total:,} parameters, fill {plan.fill:.2f}"
            + (f", resumed after step {at:,}" if at else "")
        )
        trainer = PlanTrainer(
            model=model,
            args=arguments,
            batches=prepared.batches,
            tokenizer=prepared.tokenizer,
            run=recipe.run,
            validation=prepared.validation,
            exam=exam,
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)  # it prints every loss of a step: see StepLines
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
        return _finish(trainer, document, time.monotonic() - started, at)


def _self_check(
    model: Any, prepared: Prepared, recipe: Recipe, arguments: TrainingArguments
) -> dict[str, float]:
    """Prove the packing in the weights' own precision; FlashAttention has none but 16 bits."""
    if not precision(recipe).quantisation:
        model.to(arguments.device)
    mixed = recipe.run.mixed_precision
    half = mixed != "no" and "flash" in prepared.attention
    dtype = torch_dtype(mixed) if half else None
    with torch.autocast(arguments.device.type, dtype=dtype, enabled=half):
        return check_packing(model, prepared.batches.rows)


def _finish(trainer: PlanTrainer, document: dict[str, Any], seconds: float, resumed: int) -> Result:
    """Save the model whole, complete the manifest, draw the loss."""
    out = trainer.out
    staging = out / checkpoints.STAGING
    if trainer.is_world_process_zero():
        shutil.rmtree(staging, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    kept = trainer.keep_best()
    trainer.save_model(str(staging / MODEL))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return Result(out, document, [], [])
    flush_lines(out)
    if trainer.packing:
        document["packing_check"] = trainer.packing
    result = Result.read(out, document)
    lines = result.metrics
    steps = trainer.state.global_step
    tokens = trainer.tokens_until[steps]
    here = tokens - trainer.tokens_until[resumed]
    held = [line["validation_loss"] for line in lines if "validation_loss" in line]
    document |= {
        "status": "finished",
        "finished": run_manifest.now(),
        "result": {
            "steps": steps,
            "model_of_step": kept,
            "tokens": tokens,
            "first_loss": lines[0]["loss"] if lines else None,
            "last_loss": lines[-1]["loss"] if lines else None,
            "validation_loss": held[-1] if held else None,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(here / seconds, 1) if seconds else None,
            "exams": [line for line in result.exams if line["step"] == steps],
        },
    }
    run_manifest.write(staging / MODEL, document)
    write_text(staging / MODEL / "README.md", model_card(document))
    checkpoints.publish(staging / MODEL, out / MODEL, steps)
    shutil.rmtree(staging, ignore_errors=True)
    checkpoints.rotate(out, trainer.run.keep_checkpoints, trainer.state.best_global_step)
    title = f"{document['recipe']['name']}: loss per step"
    plot = curves(
        losses(lines), title, across="step", strong=["all sources", "held out"], sparse=["held out"]
    )
    write_text(out / PLOT, plot + "\n")
    run_manifest.write(out, document)
    return result


def losses(lines: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """The step's loss, the held-out loss, and each source's, as (step, loss)."""
    found: dict[str, list[tuple[float, float]]] = {"all sources": [], "held out": []}
    for line in lines:
        values = {"all sources": line["loss"], **line.get("loss_per_source", {})}
        if line.get("validation_loss") is not None:
            values["held out"] = line["validation_loss"]
        for name, value in values.items():
            found.setdefault(name, []).append((float(line["step"]), float(value)))
    return {name: points for name, points in found.items() if points}
