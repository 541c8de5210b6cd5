"""Micro-batches as tensors: packed rows, padded rows, and what each adds to the step's loss."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import numpy as np
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset

from meadow.models.sizes import logits_at_once
from training.config import Batch
from training.data import IGNORED, TokenRows
from training.packing import Plan, Step


class MicroBatchTensors(TypedDict, total=False):
    """One micro-batch.

    Keys:
        input_ids: int64 (rows, tokens).
        labels: int64 (rows, tokens); -100 where nothing is learned. Not shifted.
        position_ids: Restart at each packed example, and begin behind padding on the left, for
            models that take them: those whose positions are absolute know neither otherwise.
        attention_mask: Padded only. A packed row must not have one: with it, the borders are lost.
        source_ids: int64 (rows, tokens): the index of the example's source.
        weight: float64 scalar: what the summed loss of this micro-batch is multiplied with, so that
            the step's micro-batches add up to the step's loss.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    source_ids: torch.Tensor
    weight: torch.Tensor


def pack_row(rows: TokenRows, examples: tuple[int, ...], filler: int) -> MicroBatchTensors:
    """Examples one after the other in one row; without examples, one token that is not learned."""
    if not examples:
        return {
            "input_ids": torch.tensor([[filler]]),
            "labels": torch.tensor([[IGNORED]]),
            "position_ids": torch.tensor([[0]]),
            "source_ids": torch.tensor([[0]]),
        }
    lengths = rows.lengths
    pieces = {
        "input_ids": [rows.row(i) for i in examples],
        "labels": [rows.labels(i) for i in examples],
        "position_ids": [np.arange(lengths[i]) for i in examples],
        "source_ids": [np.full(lengths[i], rows.source[i]) for i in examples],
    }
    made = {
        name: torch.from_numpy(np.concatenate(parts).astype(np.int64)).unsqueeze(0)
        for name, parts in pieces.items()
    }
    return cast("MicroBatchTensors", made)


def pad_rows(
    rows: TokenRows, examples: tuple[int, ...], pad: int, *, left: bool
) -> MicroBatchTensors:
    """Examples one below the other, filled up to the longest; without examples, one pad token."""
    width = max((int(rows.lengths[i]) for i in examples), default=1)
    shape = (max(1, len(examples)), width)
    input_ids = torch.full(shape, pad)
    labels = torch.full(shape, IGNORED)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    source_ids = torch.zeros(shape, dtype=torch.int64)
    if not examples:
        attention_mask[:] = 1
    for line, index in enumerate(examples):
        length = int(rows.lengths[index])
        place = slice(width - length, width) if left else slice(0, length)
        input_ids[line, place] = torch.from_numpy(rows.row(index)).to(torch.int64)
        labels[line, place] = torch.from_numpy(rows.labels(index)).to(torch.int64)
        attention_mask[line, place] = 1
        source_ids[line, place] = int(rows.source[index])
    return {
        "input_ids": input_ids,
        "labels": labels,
        "attention_mask": attention_mask,
        "position_ids": (attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        "source_ids": source_ids,
    }


@dataclass(eq=False)
class PlannedBatches(Dataset[MicroBatchTensors]):
    """The micro-batches of a plan, all epochs: item i is micro-batch i of the run."""

    rows: TokenRows
    plan: Plan  # which of them stand together
    batch: Batch  # the recipe's `[batch]`
    pad: int  # the token that fills; in packed layouts only for rows without an example
    left: bool = False  # whether padding stands on the left
    positions: bool = True  # whether the model takes position ids

    def __len__(self) -> int:
        return len(self.plan.steps) * self.plan.micro_batches

    def __getitem__(self, index: int) -> MicroBatchTensors:
        """Micro-batch `index % micro_batches` of step `index // micro_batches`."""
        step = self.plan.steps[index // self.plan.micro_batches]
        examples = step.micro_batches[index % self.plan.micro_batches]
        if self.plan.layout == "packed":
            made = pack_row(self.rows, examples, self.pad)
        else:
            made = pad_rows(self.rows, examples, self.pad, left=self.left)
            if not self.positions:
                del made["position_ids"]
        made["weight"] = torch.tensor(self.weight(step, examples), dtype=torch.float64)
        return made

    def weight(self, step: Step, examples: tuple[int, ...]) -> float:
        """What a micro-batch's summed loss counts in its step's loss.

        The plan knows every step's learned tokens, over all devices, before the step runs: nothing
        has to be gathered, and the mean is over the whole global batch.
        """
        targets = self.rows.targets
        if not examples:
            return 0.0
        if self.batch.loss_mean == "tokens":
            return 1.0 / int(targets[step.examples].sum())
        filled = sum(bool(m) for m in step.micro_batches)
        return 1.0 / (filled * int(targets[list(examples)].sum()))


# The loss of a micro-batch, token by token: one function for every launcher and every check.

_WANTED: ContextVar[torch.Tensor | None] = ContextVar("wanted", default=None)
"""The targets of the micro-batch whose losses are asked for; without them a head gives logits."""


def lose_in_pieces(model: Any) -> Any:
    """Let a model's output layer give losses where there are more targets than logits may be held.

    Piece by piece, each computed again in the backward pass (Liger's way, without its kernels): the
    largest array of a run with a vocabulary of 128,000 no longer grows with its rows. It happens
    within the model's own forward, so that every wrapper's hooks see it.

    The model gives out its head's logits unchanged (`architecture.gives_its_logits`).
    """
    head = model.get_output_embeddings()
    plain, at_once = head.forward, logits_at_once(head.weight.shape[0])

    def lose(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = plain(hidden).float()
        return functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        targets = _WANTED.get()
        if targets is None or targets.numel() <= at_once:
            return cast("torch.Tensor", plain(hidden))
        states = torch.split(hidden.flatten(0, 1), at_once)
        wanted = torch.split(targets.flatten(), at_once)
        pieces: Any = [
            checkpoint(lose, *pair, use_reentrant=False)
            for pair in zip(states, wanted, strict=True)
        ]
        return torch.cat(pieces).view(*targets.shape, 1)

    head.forward = forward
    return model


@dataclass(frozen=True, slots=True)
class TokenLosses:
    """Losses of the learned tokens of a micro-batch, in reading order."""

    losses: torch.Tensor  # float32 (targets,): negative log-likelihood of each learned token
    sources: torch.Tensor  # int64 (targets,): the source of each


def model_inputs(batch: MicroBatchTensors) -> dict[str, Any]:
    """What the model is called with.

    Examples of a packed row are kept apart by restarting position ids alone, and only without a
    cache and without an attention mask; with either, attention runs across the borders silently.
    """
    names = ("input_ids", "position_ids", "attention_mask")
    found: dict[str, Any] = {name: value for name, value in batch.items() if name in names}
    return found | {"use_cache": False}


def token_losses(model: Any, batch: MicroBatchTensors) -> TokenLosses:
    """Run the model and take the loss of each learned token.

    Logits are made only at positions that predict a learned token of some row: with a loss on
    completions, the vocabulary-sized part of the work shrinks by the prompts' share.

    The model's forward knows `logits_to_keep`; the batch is on its device.
    """
    labels = batch["labels"]
    learned = labels[:, 1:] != IGNORED
    columns = learned.any(dim=0).nonzero().squeeze(1)
    if not len(columns):
        columns = torch.zeros(1, dtype=torch.int64, device=labels.device)
    if labels.shape[1] > 1:
        targets = labels[:, columns + 1]
        sources = batch["source_ids"][:, columns + 1]
    else:
        targets, sources = labels, batch["source_ids"]
    asked = _WANTED.set(targets)
    try:
        logits = model(**model_inputs(batch), logits_to_keep=columns).logits
    finally:
        _WANTED.reset(asked)
    chosen = targets != IGNORED
    # The empty sum of a row without examples stays connected to the graph: data-parallel wrappers
    # wait for a gradient of every parameter.
    kept = logits[chosen].float()
    if kept.shape[-1] == 1:  # the head gave losses
        return TokenLosses(kept.squeeze(-1), sources[chosen])
    losses = functional.cross_entropy(kept, targets[chosen], reduction="none")
    return TokenLosses(losses, sources[chosen])


def weighted_loss(found: TokenLosses, batch: MicroBatchTensors) -> torch.Tensor:
    """What the micro-batch adds to its step's loss."""
    return found.losses.sum() * batch["weight"].to(found.losses.dtype)


def sums_per_source(found: TokenLosses, sources: int) -> torch.Tensor:
    """float64 (sources, 2): summed loss and learned tokens of each source."""
    sums = torch.zeros(sources, 2, dtype=torch.float64, device=found.losses.device)
    losses = found.losses.detach().double()
    sums[:, 0].index_add_(0, found.sources, losses)
    sums[:, 1].index_add_(0, found.sources, torch.ones_like(losses))
    return sums
