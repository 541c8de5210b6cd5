"""Optimizer steps without Trainer: what tests and benchmarks validate the loop against.

The same micro-batches, the same loss function and the same scaling, in as few lines as it takes; it
also runs a model that `fully_shard` has sharded, on processors too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from training.batches import PlannedBatches, token_losses, weighted_loss


def shard(model: Any) -> Any:
    """Shard a model over all processes with FSDP2: each layer, then the rest."""
    from torch.distributed.fsdp import fully_shard

    for layer in model.get_decoder().layers:
        fully_shard(layer)
    return fully_shard(model)


def run_steps(
    model: Any,
    batches: PlannedBatches,
    optimizer: torch.optim.Optimizer,
    *,
    scheduler: Any = None,
    max_grad_norm: float = 0.0,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[float]:
    """Run a plan, step by step.

    Args:
        model: In training mode is set here; whole, or sharded by `shard`.
        batches: The plan's micro-batches.
        optimizer: Over the model's trained weights.
        scheduler: Stepped after the optimizer.
        max_grad_norm: Clip gradients to this norm; 0: do not.
        rank: Which process this is.
        processes: Of how many.

    Yields:
        The loss of each step over all processes.
    """
    model.train()
    count = batches.plan.micro_batches
    device = next(model.parameters()).device
    for step in range(len(batches.plan.steps)):
        total = torch.zeros((), dtype=torch.float64)
        for position in range(rank, count, processes):
            item: Any = batches[step * count + position]
            batch: Any = {name: value.to(device) for name, value in item.items()}
            loss: Any = weighted_loss(token_losses(model, batch), batch)
            (loss * processes).backward()
            total += loss.detach().double().cpu()
        if max_grad_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()
        if processes > 1:
            torch.distributed.all_reduce(total)
        yield float(total)
