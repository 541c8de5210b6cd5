"""transformers.Trainer, told to run a plan: order, loss, metrics and checkpoints are the plan's.

What is left to Trainer: devices, mixed precision, sharding, accumulation, clipping, the optimizer,
the schedule, progress bars and trackers.

metrics.jsonl has one line per optimizer step: step, epoch, loss, loss_per_source, learning_rate,
grad_norm, tokens (real ones since the run began), target_tokens and, where it was measured at that
step, validation_loss. Nothing in a line depends on the time of day, so that the lines of a resumed
run are those of one that never stopped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from meadow.atomic import fsync_file, write_text
from meadow.config import did_you_mean
from meadow.errors import MeadowError, UsageError
from meadow.models import checkpoints
from meadow.models.loading import RUN_MANIFEST
from meadow.models.machine import ProcessGroup
from training.batches import PlannedBatches, sums_per_source, token_losses, weighted_loss
from training.config import Recipe, Run
from training.selfcheck import check_packing

METRICS = "metrics.jsonl"
EXAMS = "exams.jsonl"

Exam = Callable[[Any, Any], Mapping[str, Any] | list[dict[str, Any]]]
"""Scores a model: (model, tokenizer) -> {"exam", "accuracy", ...}, or one of them per exam."""


def training_arguments(recipe: Recipe, out: Path, *, micro_batches: int) -> TrainingArguments:
    """Trainer's arguments for a recipe; those of the plan are fixed.

    `micro_batches` are those of a step, over all processes.

    Raises:
        UsageError: Devices, processes or trackers are not what the recipe needs.
    """
    run, optimizer, schedule = recipe.run, recipe.optimizer, recipe.schedule
    group, gpus = ProcessGroup.from_environment(), torch.cuda.device_count()
    if run.fsdp and group.size == 1:
        raise UsageError(
            "FSDP shards over several processes; this is one",
            where="run.fsdp",
            fix="start with torchrun --nproc-per-node N -m training, or set run.fsdp = false",
        )
    if group.size == 1 and gpus > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        # Trainer would fall back to DataParallel, which splits what is one micro-batch here
        raise UsageError(
            f"{gpus} GPUs are visible to one process",
            fix="start with torchrun --nproc-per-node N -m training, or set CUDA_VISIBLE_DEVICES=0",
        )
    for tracker in run.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise UsageError(
                f"the tracker {tracker} is not installed",
                where="run.trackers",
                fix=f"pip install {tracker}, or leave it out",
            )
    sharding = {
        # the first process of a machine reads the weights, the others get their shares of it;
        # a base in 4 bits is read by each: what is packed cannot be handed out
        "cpu_ram_efficient_loading": recipe.method != "qlora_nf4",
        "activation_checkpointing": run.activation_checkpointing,
    }
    table: dict[str, Any] = dict(
        output_dir=str(out),
        # an item of the data set is a whole micro-batch, and the plan holds all epochs
        per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, micro_batches // group.size),
        num_train_epochs=1,
        **optimizer.model_dump(exclude={"name"}),
        optim={"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}[optimizer.name],
        lr_scheduler_type="constant_with_warmup" if schedule.kind == "constant" else schedule.kind,
        warmup_steps=schedule.warmup if schedule.warmup < 1 else int(schedule.warmup),
        bf16=run.mixed_precision == "bfloat16",
        fp16=run.mixed_precision == "float16",
        tf32=True if gpus and torch.cuda.get_device_capability() >= (8, 0) else None,
        activation_checkpointing=run.activation_checkpointing and not run.fsdp,
        # only the kind that is not reentrant lets gradients through a frozen base
        activation_checkpointing_kwargs={"use_reentrant": False},
        save_strategy="steps" if run.save_steps else "no",
        save_steps=run.save_steps or 500,
        logging_steps=1,
        # a loss that is no number ends the run: Trainer would write the last good one instead
        logging_nan_inf_filter=False,
        report_to=list(run.trackers) or "none",
        seed=run.seed,
        use_cpu=not gpus,
        ddp_backend="gloo" if group.size > 1 and not gpus else None,
        ddp_timeout=7200,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=bool(gpus),
        disable_tqdm=True,
        # the loss reads columns that no model's forward knows
        remove_unused_columns=False,
        # with a cache, packed examples would see each other
        use_cache=False,
        **({"fsdp": True, "fsdp_config": sharding} if run.fsdp else {}),
    )
    for name in recipe.trainer:
        known = sorted({field.name for field in fields(TrainingArguments)} - set(table))
        if name not in known:
            raise UsageError(
                f"TrainingArguments has no {name!r} that a recipe may set",
                where="trainer",
                fix=f"{did_you_mean(name, known)}what the plan or another table says stays there",
            )
    try:
        return TrainingArguments(**table, **recipe.trainer)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"TrainingArguments refuses the values: {error}", where="trainer"
        ) from error


class PlanTrainer(Trainer):
    """Runs a plan."""

    def __init__(
        self,
        *,
        model: Any,  # prepared by `training.methods`
        args: TrainingArguments,  # from `training_arguments`
        batches: PlannedBatches,  # the plan's micro-batches
        tokenizer: Any,  # saved with every checkpoint, and handed to the exam
        # how often what happens between steps, which step's model is kept, and whether sharded
        run: Run,
        validation: PlannedBatches | None = None,  # held-out micro-batches, or None
        exam: Exam | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=batches,
            # an item of the data set is a micro-batch already
            data_collator=itemgetter(0),
            processing_class=tokenizer,
            callbacks=[_BetweenSteps(self), *(callbacks or [])],
        )
        # The weight of a micro-batch already holds the accumulation and the devices.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = True
        self.batches = batches
        self.tokenizer = tokenizer
        self.run = run
        self.validation = validation
        self.exam = exam
        self.out = Path(str(args.output_dir))
        lengths = batches.rows.lengths
        steps = [int(lengths[planned.examples].sum()) for planned in batches.plan.steps]
        self.tokens_until = np.concatenate([[0], np.cumsum(steps, dtype=np.int64)]).tolist()
        """Real tokens of the plan's first n steps."""
        self.packing: dict[str, float] = {}
        self._staging: Path | None = None
        self._noted: dict[str, Any] = {}
        self._clear()

    # ---- the plan's order and loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(self.batches)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One micro-batch; before the first one a sharded model is looked at, and its packing."""
        if self.run.fsdp and not self.packing:
            from torch.distributed.fsdp import FSDPModule

            # on processors Trainer(fsdp=True) runs DDP and says nothing
            if not isinstance(model, FSDPModule):
                raise MeadowError(
                    f"FSDP was asked for, but the model is a {type(model).__name__}: every device "
                    "would hold the whole state",
                    where="run.fsdp",
                    fix="run on GPUs with torchrun or accelerate launch, or set run.fsdp = false",
                )
            # only now it is on its devices, a share on each
            packed = self.batches.plan.layout == "packed"
            self.packing = check_packing(model, self.batches.rows) if packed else {"padded": 0.0}
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The micro-batch's part of the step's loss, times the devices (which are averaged)."""
        found = token_losses(model, inputs)
        loss = weighted_loss(found, inputs)
        self._sums += sums_per_source(found, len(self.batches.rows.sources)).cpu()
        self._objective += loss.detach().double().cpu()
        return loss * self.args.world_size

    # ---- metrics

    def _clear(self) -> None:
        self._sums = torch.zeros(len(self.batches.rows.sources), 2, dtype=torch.float64)
        self._objective = torch.zeros((), dtype=torch.float64)

    def _reduced(self, values: torch.Tensor) -> torch.Tensor:
        if self.args.world_size > 1:
            moved = values.to(self.args.device)
            torch.distributed.all_reduce(moved)
            return moved.cpu()
        return values

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss per source, and write the step's line."""
        if "loss" in logs and "learning_rate" in logs:
            sums = self._reduced(self._sums)
            loss = float(self._reduced(self._objective))
            sources = per_source(sums, self.batches.rows.sources)
            self._clear()
            step = self.state.global_step
            line = {
                "step": step,
                "epoch": self.batches.plan.steps[step - 1].epoch + 1,
                "loss": loss,
                "loss_per_source": sources,
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs.get("grad_norm"),
                "tokens": self.tokens_until[step],
                "target_tokens": int(sums[:, 1].sum()),
                **self._noted,
            }
            logs["loss"] = loss
            logs |= {f"loss/{name}": value for name, value in sources.items()}
            if "validation_loss" in self._noted:
                logs["validation_loss"] = self._noted["validation_loss"]
            self._noted = {}
            self._write_line(METRICS, line)
            if not math.isfinite(loss):
                raise MeadowError(
                    f"the loss is {loss} at step {step}",
                    where=str(self.out / METRICS),
                    fix="lower optimizer.learning_rate, or resume from the last checkpoint",
                )
        super().log(logs, start_time)

    def _write_line(self, name: str, line: Mapping[str, Any]) -> None:
        if self.is_world_process_zero():
            with (self.out / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    # ---- between steps

    def between_steps(self) -> bool:
        """Held-out loss and exam, where one is due; whether the step is the best one so far."""
        step = self.state.global_step
        last = step >= self.state.max_steps
        held, exam = self.validation, self.exam
        validate = held is not None and _due(step, self.run.validation_steps, last)
        examine = exam is not None and _due(step, self.run.exam_steps, last)
        if not (validate or examine):
            return False
        model: Any = self.model
        merit: float | None = None
        with undisturbed():
            model.eval()
            if validate and held is not None:
                sums = held_out_sums(
                    self.model_wrapped, held, self.args.device,
                    rank=self.args.process_index, processes=self.args.world_size,
                )  # fmt: skip
                self._noted |= mean_losses(self._reduced(sums), held.rows.sources)
                if self.run.best == "validation_loss":
                    merit = -float(self._noted["validation_loss"] or math.inf)
            if examine and exam is not None:
                with torch.no_grad():
                    scored = exam(model, self.tokenizer)
                lines = scored if isinstance(scored, list) else [dict(scored)]
                for line in lines:
                    self._write_line(EXAMS, {"step": step, **line})
                if self.run.best == "exam":
                    merit = float(lines[0]["accuracy"])
            model.train()
        so_far = -math.inf if self.state.best_metric is None else self.state.best_metric
        if merit is None or merit <= so_far:
            return False
        self.state.best_metric, self.state.best_global_step = merit, step
        return True

    def keep_best(self) -> int:
        """Take up the weights of the best step, where one was to be found; returns the step."""
        best = self.state.best_global_step
        if not self.run.best or best in (None, self.state.global_step):
            return int(self.state.global_step)
        self.state.best_model_checkpoint = str(self.out / f"checkpoint-{best}")
        self._load_best_model()
        return int(best)

    # ---- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write aside, then publish; Trainer's own rotation is off."""
        name = f"checkpoint-{self.state.global_step}"
        staging = self.out / checkpoints.STAGING
        if self.is_world_process_zero():
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            manifest = self.out / RUN_MANIFEST
            if manifest.is_file():
                shutil.copyfile(manifest, staging / name / RUN_MANIFEST)
            flush_lines(self.out)
            checkpoints.publish(staging / name, self.out / name, self.state.global_step)
            shutil.rmtree(staging, ignore_errors=True)
            checkpoints.rotate(self.out, self.run.keep_checkpoints, self.state.best_global_step)
        self.accelerator.wait_for_everyone()


class _BetweenSteps(TrainerCallback):
    """Calls the trainer back after every step."""

    def __init__(self, trainer: PlanTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # a checkpoint holds its own schedule's rate; that of a longer run is another
        schedule: Any = self.trainer.lr_scheduler
        groups = schedule.optimizer.param_groups
        for group, base, share in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
            group["lr"] = base * share(schedule.last_epoch)
        schedule._last_lr = [group["lr"] for group in groups]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # a best step is saved, whatever save_steps says
        control.should_save |= self.trainer.between_steps()


def _due(step: int, every: int, last: bool) -> bool:
    return last or bool(every and step % every == 0)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Random numbers go on afterwards as if nothing had been drawn within."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
        yield
    random.setstate(python)
    np.random.set_state(numpy_state)


def held_out_sums(
    model: Any, batches: PlannedBatches, device: Any, *, rank: int = 0, processes: int = 1
) -> torch.Tensor:
    """Summed loss and learned tokens per source of this process's share of held-out rows.

    The plan's micro-batches are a multiple of the processes: each runs as many.
    """
    sums = torch.zeros(len(batches.rows.sources), 2, dtype=torch.float64)
    training = model.training
    model.eval()
    with torch.no_grad():
        for index in range(rank, len(batches), processes):
            batch: Any = batches[index]
            moved: Any = {name: value.to(device) for name, value in batch.items()}
            sums += sums_per_source(token_losses(model, moved), len(sums)).cpu()
    model.train(training)
    return sums


def mean_losses(sums: torch.Tensor, sources: list[str]) -> dict[str, Any]:
    """Mean loss over learned tokens of held-out rows, in all and per source."""
    total, tokens = sums.sum(dim=0).tolist()
    return {
        "validation_loss": total / tokens if tokens else None,
        "validation_loss_per_source": per_source(sums, sources),
    }


def per_source(sums: torch.Tensor, sources: list[str]) -> dict[str, float]:
    """Mean loss by source name, from summed losses and tokens: float64 (sources, 2)."""
    return {name: loss / n for name, (loss, n) in zip(sources, sums.tolist(), strict=True) if n}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of metrics or exams; a last line that a kill has cut is left out."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError, FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    return found


def cut_lines(folder: Path, step: int) -> None:
    """Drop the lines of steps that a resumed run will repeat."""
    for path in (folder / METRICS, folder / EXAMS):
        if path.is_file():
            kept = [line for line in read_lines(path) if line["step"] <= step]
            write_text(path, "".join(json.dumps(k, ensure_ascii=False) + "\n" for k in kept))


def flush_lines(folder: Path) -> None:
    """Put metrics and exams on disk: a checkpoint there must not be ahead of them."""
    for path in (folder / METRICS, folder / EXAMS):
        if path.is_file():
            fsync_file(path)
