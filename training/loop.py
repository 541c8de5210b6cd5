"""One training run, from a recipe and a mix to a model folder.

The run folder: run_manifest.json (written first, completed last), plan.parquet (which record in
which step), rejects.jsonl, metrics.jsonl, exams.jsonl, loss.svg, checkpoint-N/ and model/.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from meadow.atomic import fsync_file, locked, write_text
from training import checkpoints, metrics, run_manifest
from training.arguments import training_arguments
from training.card import model_card
from training.config import Recipe
from training.methods import DTYPES, capabilities, count_parameters, load_config, load_model
from training.packing import write_plan
from training.plan import check_memory, device_gb
from training.plot import loss_plot
from training.prepare import Prepared, barrier, prepare
from training.selfcheck import check_packing
from training.tokens import TokenRows
from training.trainer import Exam, Interludes, PlanTrainer, world_size

MODEL = "model"
PLAN = "plan.parquet"
REJECTS = "rejects.jsonl"
PLOT = "loss.svg"


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run leaves.

    Args:
        model: The model's folder: weights or adapters, tokenizer, manifest, card.
        folder: The run folder.
        manifest: The completed run manifest.
        metrics: One line per step.
        exams: One line per exam.
    """

    model: Path
    folder: Path
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    exams: list[dict[str, Any]]


def train(
    recipe: Recipe,
    mix: str | Path,
    out: Path,
    *,
    base: str | Path | None = None,
    exam: Exam | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    allow_contaminated: bool = False,
    ignore_memory: bool = False,
    available_gb: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Train, or continue a run that was stopped in the same folder.

    Args:
        recipe: What to do.
        mix: A mix or corpus: folder or `OWNER/NAME@REVISION`.
        out: The run folder.
        base: Another base than the recipe's: folder or `REPO[@REVISION]`.
        exam: Scores the model between steps: (model, tokenizer) -> {"exam", "accuracy", ...}.
        callbacks: Further callbacks of transformers.
        allow_contaminated: Train although exam items are in the mix; the manifest says so.
        ignore_memory: Start although the estimate says that it does not fit.
        available_gb: Memory per device, for the estimate; None measures it.
        say: Gets lines for the person at the terminal.

    Returns:
        The model folder and what the run wrote. A finished run is returned as it is.

    Raises:
        UsageError: Recipe, mix, base, devices and folder do not go together.
        RefusedError: Exam items are in the mix, or the run does not fit into memory.
        CheckError: Packed examples see each other.
        MeadowError: The loss is not finite, or sharding was asked for and did not happen.
    """
    if recipe.method == "none":
        load_model(recipe, base)
    arguments = training_arguments(recipe, out, micro_batches=1)
    first = int(os.environ.get("RANK", "0")) == 0
    with locked(out) if first else contextlib.nullcontext(), checkpoints.saving(out):
        prepared = prepare(
            recipe, mix, out, base, allow_contaminated=allow_contaminated, first=first
        )
        found = run_manifest.check_same_run(out, prepared.identity)
        if found and found.get("status") == "finished":
            say(f"this run is finished: {out / MODEL}")
            return _result(out, found)
        resumed = checkpoints.last_complete(out)
        memory = check_memory(
            recipe,
            load_config(recipe, prepared.base),
            devices=world_size(),
            available_gb=available_gb or device_gb(_local_processes())[0],
            device=device_gb()[1],
            ignore=ignore_memory,
        )
        document = prepared.manifest | {"memory": memory, "started": run_manifest.now()}
        if found:
            document["started"] = found["started"]
            document["resumed"] = [*found.get("resumed", []), resumed[0] if resumed else 0]
        if warning := prepared.manifest["contamination"].get("warning"):
            say(f"warning: {warning}")
        if first:
            run_manifest.write(out, document)
            write_plan(prepared.plan, prepared.rows, out / PLAN)
            _write_rejects(prepared.rows, out / REJECTS)
            for name in (metrics.METRICS, metrics.EXAMS):
                metrics.cut_after(out / name, resumed[0] if resumed else 0)
        barrier()
        arguments = training_arguments(recipe, out, micro_batches=prepared.plan.micro_batches)
        model = load_model(recipe, prepared.base, device=str(arguments.device))
        total, trainable = count_parameters(model)
        document |= {
            "parameters": total,
            "trainable_parameters": trainable,
            "capabilities": capabilities(model),
        }
        if recipe.batch.layout == "packed":
            document["packing_check"] = _self_check(model, prepared, recipe, arguments)
        if first:
            run_manifest.write(out, document)
        say(
            f"{recipe.name}: {len(prepared.rows):,} rows, {len(prepared.plan.steps):,} steps, "
            f"{trainable:,} of {total:,} parameters, fill {prepared.plan.fill:.2f}"
            + (f", resumed after step {resumed[0]:,}" if resumed else "")
        )
        trainer = PlanTrainer(
            model=model,
            args=arguments,
            batches=prepared.batches,
            tokenizer=prepared.tokenizer,
            interludes=Interludes(
                prepared.validation, recipe.run.validation_steps, exam, recipe.run.exam_steps
            ),
            sharded=recipe.run.fsdp,
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.keep = recipe.run.keep_checkpoints
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
        seconds = time.monotonic() - started
        return _finish(trainer, document, out, seconds, resumed[0] if resumed else 0)


def _self_check(
    model: Any, prepared: Prepared, recipe: Recipe, arguments: TrainingArguments
) -> dict[str, float]:
    mixed = recipe.run.mixed_precision
    dtype = recipe.base.dtype if mixed == "no" else mixed
    if recipe.method in ("full", "lora"):
        model.to(arguments.device)
    with torch.autocast(
        arguments.device.type, dtype=DTYPES[dtype], enabled=mixed != "no"
    ):  # fmt: skip
        return check_packing(
            model,
            prepared.rows,
            vocabulary=int(model.config.vocab_size),
            dtype=dtype,
            int8=recipe.method == "lora_int8",
        )


def _finish(
    trainer: PlanTrainer, document: dict[str, Any], out: Path, seconds: float, resumed: int
) -> Result:
    """Save the model whole, complete the manifest, draw the loss."""
    staging = out / checkpoints.STAGING
    if trainer.is_world_process_zero():
        shutil.rmtree(staging, ignore_errors=True)
    barrier()
    trainer.save_model(str(staging / MODEL))
    barrier()
    if not trainer.is_world_process_zero():
        return Result(out / MODEL, out, document, [], [])
    for name in (metrics.METRICS, metrics.EXAMS):
        if (out / name).is_file():
            fsync_file(out / name)
    lines = metrics.read(out / metrics.METRICS)
    exams = metrics.read(out / metrics.EXAMS)
    steps = trainer.state.global_step
    here = trainer.tokens_until(steps) - trainer.tokens_until(resumed)
    held = [line for line in lines if line.get("validation_loss") is not None]
    document |= {
        "status": "finished",
        "finished": run_manifest.now(),
        "result": {
            "steps": steps,
            "tokens": trainer.tokens_until(steps),
            "first_loss": lines[0]["loss"] if lines else None,
            "last_loss": lines[-1]["loss"] if lines else None,
            "validation_loss": held[-1]["validation_loss"] if held else None,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(here / seconds, 1) if seconds else None,
            "exams": exams[-1:],
        },
    }
    run_manifest.write(staging / MODEL, document)
    write_text(staging / MODEL / "README.md", model_card(document))
    checkpoints.publish(staging / MODEL, out / MODEL, steps)
    shutil.rmtree(staging, ignore_errors=True)
    checkpoints.rotate(out, trainer.keep)
    write_text(out / PLOT, loss_plot(lines, f"{document['recipe']['name']}: loss per step"))
    run_manifest.write(out, document)
    return Result(out / MODEL, out, document, lines, exams)


def _result(out: Path, document: dict[str, Any]) -> Result:
    return Result(
        out / MODEL,
        out,
        document,
        metrics.read(out / metrics.METRICS),
        metrics.read(out / metrics.EXAMS),
    )


def _write_rejects(rows: TokenRows, path: Path) -> None:
    lines = [json.dumps({"id": name, "reason": reason}) + "\n" for name, reason in rows.rejected]
    write_text(path, "".join(lines))


def _local_processes() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
