"""Before a packed run: prove on two real examples that packing changes nothing.

Isolation of packed examples depends on the library's masks, on the attention implementation and on
arguments that other code may set. Losing it is silent and costs the run. So two examples go through
the model in one row and alone; and the second one's losses must not move when the first one's
tokens are replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from meadow.errors import CheckError
from training.batches import MicroBatchTensors, pack_row, token_losses
from training.data import IGNORED, TokenRows

TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}
"""Largest difference of one token's loss between packed and alone, by the model's dtype: rounding
depends on the shapes."""
LEAK = 1e-5
"""Largest change of the second example's losses when the first is replaced: the shapes are the
same, so that a masked position adds exactly nothing."""
INT8_TOLERANCE = 1e-1
"""An int8 layer rounds activations to 8 bits: a last bit of difference can become a whole step."""


def check_packing(
    model: Any, rows: TokenRows, *, dtype: str, int8: bool = False
) -> dict[str, float]:
    """Compare two examples packed with the same two alone.

    Args:
        model: On its device, not wrapped.
        rows: At least one example (one is then packed with itself).
        dtype: In which the model computes: a key of `TOLERANCE`.
        int8: Whether linear layers are int8.

    Returns:
        {"difference": packed against alone, "leak": second example under another first one}.

    Raises:
        CheckError: Packed examples see each other.
    """
    first, second = pick_two(rows)
    vocabulary = int(model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _tokens_apart(model):
            packed = _learn_all(pack_row(rows, (first, second), 0), device)
            alone = [_learn_all(pack_row(rows, (index,), 0), device) for index in (first, second)]
            together = token_losses(model, packed).losses
            single = torch.cat([token_losses(model, item).losses for item in alone])
            size = int(rows.lengths[first])
            packed["input_ids"][:, :size] = (packed["input_ids"][:, :size] + 1) % vocabulary
            replaced = token_losses(model, packed).losses
    finally:
        model.train(was_training)
    difference = float((together - single).abs().max())
    leak = float((together[size - 1 :] - replaced[size - 1 :]).abs().max())
    allowed = INT8_TOLERANCE if int8 else TOLERANCE[dtype]
    if not (difference <= allowed and leak <= LEAK):
        raise CheckError(
            "packed examples see each other: losses differ by "
            f"{difference:.2g} from the same examples alone, and by {leak:.2g} when the "
            "neighbour is replaced",
            where=f"attention {getattr(model.config, '_attn_implementation', 'unknown')}",
            fix='set batch.layout = "padded", or use attention that honours position ids',
        )
    return {"difference": difference, "leak": leak}


@contextlib.contextmanager
def _tokens_apart(model: Any) -> Iterator[None]:
    """Switch off int8 layers' outlier columns, which are chosen over all tokens of a call.

    They tie the tokens of any micro-batch to each other, packed or padded; without them each token
    is quantised by itself, and what is left to see is the attention.
    """
    states = [
        module.state
        for module in model.modules()
        if type(module).__name__ == "Linear8bitLt" and hasattr(module, "state")
    ]
    thresholds = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, thresholds, strict=True):
            state.threshold = threshold


def pick_two(rows: TokenRows) -> tuple[int, int]:
    """Two examples of moderate length: the first ones with at least eight tokens."""
    found = np.flatnonzero(rows.lengths >= 8)[:2].tolist() or [0]
    return int(found[0]), int(found[-1])


def _learn_all(batch: MicroBatchTensors, device: torch.device) -> Any:
    """Every position but each example's first is learned, so that the check sees all of them."""
    batch["labels"] = batch["input_ids"].masked_fill(batch["position_ids"] == 0, IGNORED)
    moved: Any = {name: tensor.to(device) for name, tensor in dict[str, Any](batch).items()}
    return moved
