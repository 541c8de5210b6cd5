"""transformers.Trainer, told to run a plan: order, loss, metrics and checkpoints are the plan's.

What is left to Trainer: devices, mixed precision, sharding, accumulation, clipping, the optimizer,
the schedule, progress bars and trackers.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from meadow.atomic import fsync_file
from meadow.errors import MeadowError
from training import checkpoints, metrics
from training.batches import PlannedBatches, only_item, sums_per_source, token_losses, weighted_loss
from training.run_manifest import NAME as MANIFEST_NAME

Exam = Callable[[Any, Any], Mapping[str, Any]]
"""Scores a model: (model, tokenizer) -> {"exam", "accuracy", ...}."""


@dataclass(frozen=True, slots=True)
class Interludes:
    """What happens between steps.

    Args:
        validation: Held-out micro-batches, or None.
        validation_steps: How often; 0 means at the end only.
        exam: The scorer, or None.
        exam_steps: How often; 0 means at the end only.
    """

    validation: PlannedBatches | None = None
    validation_steps: int = 0
    exam: Exam | None = None
    exam_steps: int = 0


class PlanTrainer(Trainer):
    """Runs a plan.

    Args:
        model: Prepared by `training.methods`.
        args: `per_device_train_batch_size` is 1: an item of the data set is a micro-batch.
        batches: The plan's micro-batches.
        tokenizer: Saved with every checkpoint, and handed to the exam.
        interludes: Held-out loss and exams.
        sharded: Whether FSDP was asked for.
        callbacks: The caller's own.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: TrainingArguments,
        batches: PlannedBatches,
        tokenizer: Any,
        interludes: Interludes,
        sharded: bool = False,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        collate: Any = only_item
        super().__init__(
            model=model,
            args=args,
            train_dataset=batches,
            data_collator=collate,
            processing_class=tokenizer,
            callbacks=[_BetweenSteps(self), *(callbacks or [])],
        )
        # The weight of a micro-batch already holds the accumulation and the devices.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = True
        self.batches = batches
        self.tokenizer = tokenizer
        self.interludes = interludes
        self.sharded = sharded
        self.out = Path(str(args.output_dir))
        self._staging: Path | None = None
        self._noted: dict[str, Any] = {}
        self._clear()

    # ---- the plan's order and loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(self.batches)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One micro-batch; the first one finds out whether the model is really sharded."""
        if self.sharded:
            from torch.distributed.fsdp import FSDPModule

            if not isinstance(model, FSDPModule):
                raise MeadowError(
                    f"FSDP was asked for, but the model is a {type(model).__name__}: every device "
                    "would hold the whole state",
                    where="run.fsdp",
                    fix="run on GPUs with torchrun or accelerate launch, or set run.fsdp = false",
                )
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
            sources = metrics.per_source(sums, self.batches.rows.sources)
            self._clear()
            step = self.state.global_step
            planned = self.batches.plan.steps[step - 1]
            line = {
                "step": step,
                "epoch": planned.epoch + 1,
                "loss": loss,
                "loss_per_source": sources,
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs.get("grad_norm"),
                "tokens": self.tokens_until(step),
                "target_tokens": int(sums[:, 1].sum()),
                **self._noted,
            }
            logs["loss"] = loss
            logs |= {f"loss/{name}": value for name, value in sources.items()}
            if "validation_loss" in self._noted:
                logs["validation_loss"] = self._noted["validation_loss"]
            self._noted = {}
            if self.is_world_process_zero():
                metrics.append(self.out / metrics.METRICS, line)
            if not math.isfinite(loss):
                raise MeadowError(
                    f"the loss is {loss} at step {step}",
                    where=str(self.out / metrics.METRICS),
                    fix="lower optimizer.learning_rate, or resume from the last checkpoint",
                )
        super().log(logs, start_time)

    def tokens_until(self, step: int) -> int:
        """Real tokens of the plan's first `step` steps."""
        if not hasattr(self, "_tokens"):
            lengths = self.batches.rows.lengths
            self._tokens = [0]
            for planned in self.batches.plan.steps:
                self._tokens.append(self._tokens[-1] + int(lengths[planned.examples].sum()))
        return self._tokens[step]

    # ---- between steps

    def between_steps(self) -> None:
        """Held-out loss and exam, where one is due after the step that has just ended."""
        step = self.state.global_step
        last = step >= self.state.max_steps
        plan = self.interludes
        validate = plan.validation is not None and _due(step, plan.validation_steps, last)
        examine = plan.exam is not None and _due(step, plan.exam_steps, last)
        if not (validate or examine):
            return
        model: Any = self.model
        with undisturbed():
            model.eval()
            if validate and plan.validation is not None:
                self._noted |= held_out_loss(self.model_wrapped, plan.validation, self.args.device)
            if examine and plan.exam is not None:
                with torch.no_grad():
                    scored = dict(plan.exam(model, self.tokenizer))
                if self.is_world_process_zero():
                    metrics.append(self.out / metrics.EXAMS, {"step": step, **scored})
            model.train()

    # ---- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write aside, then publish; Trainer's own rotation is off."""
        step = self.state.global_step
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
            name = f"checkpoint-{step}"
            manifest = self.out / MANIFEST_NAME
            if manifest.is_file():
                shutil.copyfile(manifest, staging / name / MANIFEST_NAME)
            for lines in (self.out / metrics.METRICS, self.out / metrics.EXAMS):
                if lines.is_file():  # a checkpoint on disk must not be ahead of its metrics
                    fsync_file(lines)
            checkpoints.publish(staging / name, self.out / name, step)
            shutil.rmtree(staging, ignore_errors=True)
            checkpoints.rotate(self.out, self.keep)
        self.accelerator.wait_for_everyone()

    keep = 2
    """How many checkpoints stay."""


class _BetweenSteps(TrainerCallback):
    """Calls the trainer back after every step."""

    def __init__(self, trainer: PlanTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.between_steps()


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


def held_out_loss(model: Any, batches: PlannedBatches, device: Any) -> dict[str, Any]:
    """Mean loss over learned tokens of held-out rows, in all and per source."""
    sources = batches.rows.sources
    sums = torch.zeros(len(sources), 2, dtype=torch.float64)
    training = model.training
    model.eval()
    with torch.no_grad():
        for index in range(len(batches)):
            batch: Any = batches[index]
            moved: Any = {name: value.to(device) for name, value in batch.items()}
            sums += sums_per_source(token_losses(model, moved), len(sources)).cpu()
    model.train(training)
    total, tokens = sums.sum(dim=0).tolist()
    return {
        "validation_loss": total / tokens if tokens else None,
        "validation_loss_per_source": metrics.per_source(sums, sources),
    }


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))
