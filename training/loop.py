"""One training run, from a recipe and a mix to a model folder.

The run folder: run_manifest.json (written first, completed last), plan.parquet (which record in
which step), rejects.jsonl, metrics.jsonl, exams.jsonl, loss.svg, checkpoint-N/ and model/.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from meadow.atomic import fsync_file, locked, sha256_file, write_text
from meadow.corpus.manifest import hash_json
from meadow.errors import UsageError
from meadow.models.loading import load_config, load_tokenizer, quiet, torch_dtype
from training import checkpoints, metrics, run_manifest
from training.batches import PlannedBatches
from training.config import Recipe
from training.data import check_contamination, has_split, mix_facts, open_mix, read_rows
from training.methods import (
    apply_method,
    base_checkpoint,
    capabilities,
    count_parameters,
    load_trainable,
    make_base,
    precision,
    texts_of,
)
from training.packing import Plan, make_plan, write_plan
from training.plan import check_memory, device_gb
from training.plot import loss_plot
from training.run_manifest import model_card
from training.selfcheck import check_packing
from training.tokens import TokenRows, check_tokenizer, pad_token, tokenize
from training.trainer import Exam, Interludes, PlanTrainer, world_size

# A recipe as Trainer's arguments; those of the plan are fixed.


TRACKER_PACKAGES = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
}


def training_arguments(recipe: Recipe, out: Path, *, micro_batches: int) -> TrainingArguments:
    """Trainer's arguments for a recipe.

    Args:
        recipe: The recipe.
        out: The run folder.
        micro_batches: Of each step, over all processes.

    Raises:
        UsageError: Devices, processes or trackers are not what the recipe needs.
    """
    run, optimizer, schedule = recipe.run, recipe.optimizer, recipe.schedule
    processes = world_size()
    if run.fsdp and processes == 1:
        raise UsageError(
            "FSDP shards over several processes; this is one",
            where="run.fsdp",
            fix="start with torchrun --nproc-per-node N -m training, or set run.fsdp = false",
        )
    if (
        processes == 1
        and torch.cuda.device_count() > 1
        and "CUDA_VISIBLE_DEVICES" not in os.environ
    ):
        raise UsageError(
            f"{torch.cuda.device_count()} GPUs are visible to one process",
            fix="start with torchrun --nproc-per-node N -m training, or set CUDA_VISIBLE_DEVICES=0",
        )
    for tracker in run.trackers:
        if importlib.util.find_spec(TRACKER_PACKAGES[tracker]) is None:
            raise UsageError(
                f"the tracker {tracker} is not installed",
                where="run.trackers",
                fix=f"pip install {TRACKER_PACKAGES[tracker]}, or leave it out",
            )
    quiet()
    kinds = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
    sharding: dict[str, Any] = {}
    if run.fsdp:
        sharding = {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "state_dict_type": "FULL_STATE_DICT",
                "reshard_after_forward": True,
                "activation_checkpointing": run.activation_checkpointing,
            },
        }
    return TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, micro_batches // processes),
        num_train_epochs=1,
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        adam_beta1=optimizer.beta1,
        adam_beta2=optimizer.beta2,
        adam_epsilon=optimizer.epsilon,
        max_grad_norm=optimizer.max_grad_norm,
        optim={"adamw": "adamw_torch", "adamw_8bit": "adamw_bnb_8bit"}[optimizer.name],
        lr_scheduler_type=kinds[schedule.kind],
        warmup_steps=schedule.warmup if schedule.warmup < 1 else int(schedule.warmup),
        bf16=run.mixed_precision == "bfloat16",
        fp16=run.mixed_precision == "float16",
        activation_checkpointing=run.activation_checkpointing and not run.fsdp,
        activation_checkpointing_kwargs={"use_reentrant": False},
        save_strategy="steps" if run.save_steps else "no",
        save_steps=run.save_steps or 500,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(run.trackers) or "none",
        seed=run.seed,
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if processes > 1 and not torch.cuda.is_available() else None,
        ddp_timeout=7200,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
        use_cache=False,
        **sharding,
    )


# Everything a run knows before a model is loaded: rows, plan, micro-batches, identity.


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run before its model.

    Args:
        base: Where the base is: as given, or made by the run.
        tokenizer: Of the base.
        rows: The examples.
        plan: Their steps.
        batches: Their micro-batches.
        validation: Held-out micro-batches, or None.
        identity: What makes two starts the same run.
        manifest: The run manifest so far.
    """

    base: str | Path | None
    tokenizer: Any
    rows: TokenRows
    plan: Plan
    batches: PlannedBatches
    validation: PlannedBatches | None
    identity: dict[str, Any]
    manifest: dict[str, Any]


def prepare(
    recipe: Recipe,
    mix: str | Path,
    out: Path,
    base: str | Path | None,
    *,
    allow_contaminated: bool,
    first: bool,
) -> Prepared:
    """Read the mix, hold it to its gate, tokenise it and plan the run."""
    corpus = open_mix(mix)
    contamination = check_contamination(corpus, allow=allow_contaminated)
    if base is None and recipe.base.repository == "random":
        base = out / "base"
        if first:
            make_base(recipe, texts_of(read_rows(corpus, "train")), base)
        barrier()
    checkpoint = base_checkpoint(recipe, base)
    config = load_config(checkpoint)
    longest = getattr(config, "max_position_embeddings", recipe.data.length)
    if recipe.data.length > longest:
        raise UsageError(
            f"data.length {recipe.data.length} is above the model's max_position_embeddings "
            f"{longest}",
            where=str(base or recipe.base.repository),
            fix=f"--set data.length={longest}",
        )
    tokenizer = load_tokenizer(checkpoint, slow=recipe.base.slow_tokenizer)
    check_tokenizer(tokenizer, recipe)
    rows = tokenize(read_rows(corpus, "train", recipe.mix.repeat), tokenizer, recipe.data)
    plan = make_plan(
        rows,
        recipe.batch,
        epochs=recipe.schedule.epochs,
        seed=recipe.run.seed,
        row_tokens=recipe.row_tokens,
        devices=world_size(),
        max_steps=recipe.schedule.max_steps,
    )
    batches = _batches(rows, plan, recipe, tokenizer)
    validation = None
    if has_split(corpus, "validation"):
        held = tokenize(read_rows(corpus, "validation"), tokenizer, recipe.data)
        if len(held):
            once = recipe.batch.model_copy(update={"loss_mean": "tokens", "tail": "short"})
            # Held-out rows are seen by every process in the same order: no device count here.
            one = make_plan(held, once, epochs=1, seed=0, row_tokens=recipe.row_tokens)
            validation = _batches(held, one, recipe, tokenizer)
    own = recipe.base.repository == "random" and base == out / "base"
    identity = {
        "recipe_hash": recipe.hash(),
        "plan_hash": plan.hash(rows),
        "base": {
            "name": "random" if own else checkpoint.name,
            "revision": checkpoint.revision
            or _commit(config)
            or _weights_hash(Path(checkpoint.name)),
        },
    }
    manifest = {
        "status": "started",
        "recipe": recipe.to_json(),
        **identity,
        "precision": precision(recipe).to_json(),
        "mix": mix_facts(corpus),
        "contamination": contamination,
        "data": rows.facts(),
        "steps": len(plan.steps),
        "micro_batches_per_step": plan.micro_batches,
        "short_steps": plan.short_steps,
        "fill": plan.fill,
        "seeds": {"run": recipe.run.seed},
        "versions": run_manifest.versions(),
        "hardware": run_manifest.hardware(world_size()),
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "vocabulary": len(tokenizer),
            "hash": hash_json(sorted(tokenizer.get_vocab().items())),
        },
    }
    return Prepared(base, tokenizer, rows, plan, batches, validation, identity, manifest)


def _commit(config: Any) -> str:
    return str(getattr(config, "_commit_hash", None) or "")


def _weights_hash(folder: Path) -> str:
    """Identifies a local base by its configuration and weights."""
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    return "sha256:" + hash_json({path.name: sha256_file(path) for path in files})


def _batches(rows: TokenRows, plan: Plan, recipe: Recipe, tokenizer: Any) -> PlannedBatches:
    packed = plan.layout == "packed"
    return PlannedBatches(
        rows,
        plan,
        recipe.batch,
        pad=int(tokenizer.eos_token_id) if packed else pad_token(tokenizer, recipe.data),
        left=recipe.data.padding_side == "left",
    )


def barrier() -> None:
    """Wait for the other processes, where there are any."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


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
        apply_method(None, recipe)
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
            load_config(base_checkpoint(recipe, prepared.base)),
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
        model = load_trainable(recipe, prepared.base, device=str(arguments.device))
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
        arguments.device.type, dtype=torch_dtype(dtype), enabled=mixed != "no"
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
