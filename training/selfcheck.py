"""Before a packed run: prove on two real examples that packing changes nothing.

Isolation of packed examples depends on the library's masks, on the attention implementation and on
arguments that other code may set. Losing it is silent and costs the run. So two examples stand in
one row, and the second one's losses must not move when the first one's tokens are replaced: the
shapes are the same, so that a masked position adds exactly nothing, in every dtype.

Against the same examples alone a row's losses do differ, since rounding depends on the shapes. How
much is the model's own matter, and padding shows it: what packing may change is a small multiple of
what padding changes. That finds position ids which go on instead of beginning anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from meadow.errors import CheckError
from training.batches import pack_row, pad_rows, token_losses
from training.data import IGNORED, TokenRows

LEAK = 1e-5
"""Largest change of one of the second example's losses when the first is replaced."""
NOISE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Mean difference of a token's loss that no shape explains away, by the weights' dtype."""
FACTOR = 4
"""How many times the noise of padding the noise of packing may be."""


def check_packing(model: Any, rows: TokenRows) -> dict[str, float]:
    """Replace the neighbour of a packed example; compare packed and padded with alone.

    The model is on its device and not wrapped; of one example alone it is packed with itself.

    Returns:
        {"leak": largest change under another neighbour, "difference": mean difference of a token's
        loss between packed and alone, "noise": between padded and alone}.

    Raises:
        CheckError: Packed examples see each other, or do not stand where they stand alone.
    """
    pair = first, _ = pick_two(rows)
    config = model.config.get_text_config()
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _tokens_apart(model):
            packed = pack_row(rows, pair, 0)
            together = _losses(model, packed)
            alone = torch.cat([_losses(model, pack_row(rows, (index,), 0)) for index in pair])
            padded = _losses(model, pad_rows(rows, pair, 0, left=False))
            size = int(rows.lengths[first])
            ids = packed["input_ids"]
            ids[:, :size] = (ids[:, :size] + 1) % int(config.vocab_size)
            replaced = _losses(model, packed)
    finally:
        model.train(was_training)
    leak = float((together[size - 1 :] - replaced[size - 1 :]).abs().max())
    difference, noise = (float((made - alone).abs().mean()) for made in (together, padded))
    # experts work on the tokens that were sent to them, whose number the neighbour changes
    kinds = ("num", "num_local", "n_routed")
    routed = any(getattr(config, f"{kind}_experts", None) for kind in kinds)
    where = f"attention {getattr(model.config, '_attn_implementation', 'unknown')}"
    if not leak <= (max(LEAK, noise) if routed else LEAK):
        raise CheckError(
            f"packed examples see each other: a loss moves by {leak:.2g} when the neighbour is "
            "replaced",
            where=where,
            fix='set batch.layout = "padded", or use attention that honours position ids',
        )
    if not difference <= max(FACTOR * noise, NOISE[model.dtype]):
        raise CheckError(
            f"packed examples do not stand where they stand alone: losses differ by "
            f"{difference:.2g} a token, and by {noise:.2g} where they are padded",
            where=where,
            fix='set batch.layout = "padded": the model does not follow position ids',
        )
    return {"leak": leak, "difference": difference, "noise": noise}


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


def _losses(model: Any, batch: Any) -> torch.Tensor:
    """Losses of every position but each example's first, so that the check sees all of them."""
    unseen = batch["position_ids"] == 0
    if "attention_mask" in batch:
        unseen |= batch["attention_mask"] == 0
    batch = dict(batch) | {"labels": batch["input_ids"].masked_fill(unseen, IGNORED)}
    device = next(model.parameters()).device
    moved: Any = {name: tensor.to(device) for name, tensor in batch.items()}
    return token_losses(model, moved).losses
