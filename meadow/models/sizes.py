"""How much memory a model takes, counted on the model without memory (`architecture.empty_model`).

Weights are bytes per value of the dtype; int8 1 byte and a float32 scale per output; nf4 half a
byte, 1 byte of scale per 64 values and 4 bytes per 256 scales. Embeddings, norms, the output layer
and fused experts are never quantised. No torch at import.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meadow.models.architecture import gives_its_logits

GB = 1e9
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a value."""
BLOCK_NF4 = 64
BLOCK_SCALES = 256
EXPERT_DIMENSIONS = 3
"""Of a weight that holds all experts of a layer."""
LOGITS = 2**27
"""The most logits that are held at once: with float32 copy and gradient about 1.3 GB."""
FEW_LAYERS = 6
"""On which activations are counted: the longest pattern of full and sliding attention, once."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of a model, adapters not included, and what its layers keep."""

    parameters: int  # of all of it
    # (values, how many have so many) of the linear layers that quantisation replaces
    matrices: tuple[tuple[int, int], ...]
    outputs: int  # output features of those layers, summed
    vocabulary: int  # rows of the embedding
    fused: int  # values of experts that are no linear layers
    pieces: bool  # whether its logits are its output layer's, so that losses can be taken in pieces
    layers: int
    trainable: int = 0  # values that are trained: the model's, or those of adapters on it
    # bytes that one layer keeps of a micro-batch, and those of its input alone
    kept: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, empty: Any) -> Sizes:
        """Of a model without memory that nobody has changed yet."""
        import torch

        output = empty.get_output_embeddings()
        linear = [
            module
            for module in empty.modules()
            if isinstance(module, torch.nn.Linear) and module is not output
        ]
        return cls(
            parameters=sum(p.numel() for p in empty.parameters()),
            matrices=tuple(sorted(Counter(part.weight.numel() for part in linear).items())),
            outputs=sum(module.out_features for module in linear),
            vocabulary=empty.get_input_embeddings().weight.shape[0],
            fused=sum(p.numel() for p in _experts(empty)),
            pieces=gives_its_logits(empty),
            layers=empty.config.get_text_config().num_hidden_layers,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Sizes:
        """What `dataclasses.asdict` made of one, and JSON of that."""
        low, high = document["kept"]
        pairs = tuple((values, number) for values, number in document["matrices"])
        return cls(**{**document, "matrices": pairs, "kept": (low, high)})

    def held_bytes(self, kind: str, width: int) -> float:
        """Bytes of the weights.

        `width`: bytes of a value that is not quantised.
        """
        linear = sum(values * number for values, number in self.matrices)
        rest = (self.parameters - linear) * width
        if kind == "int8":
            return linear + 4 * self.outputs + rest
        if kind == "nf4":
            scales = [(math.ceil(values / BLOCK_NF4), number) for values, number in self.matrices]
            second = sum(math.ceil(count / BLOCK_SCALES) * number for count, number in scales)
            return linear / 2 + sum(count * number for count, number in scales) + 4 * second + rest
        return self.parameters * width


def logits_at_once(vocabulary: int) -> int:
    """Tokens whose logits are held at once."""
    return max(1, LOGITS // vocabulary)


def _experts(model: Any) -> list[Any]:
    """Weights that hold all experts of a layer."""
    return [p for p in model.get_decoder().parameters() if p.dim() == EXPERT_DIMENSIONS]


def kept_bytes(
    model: Any, *, rows: int, longest: int, width: int, mixed: Any = None, cast: bool = False
) -> tuple[float, float]:
    """Bytes that a layer keeps for the backward pass of a micro-batch, and those of its input.

    The first layers run on fake tensors, which have shapes and no memory; what autograd saves of
    them is summed.

    The model has no memory, has its adapters, and is of no use afterwards. A row of a micro-batch
    has `longest` tokens, a weight `width` bytes; `mixed` is the dtype of autocast, to which FSDP's
    policy casts the weights themselves (`cast`).
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    decoder = model.get_decoder()
    # fused experts have fake kernels in bfloat16 alone
    fused = bool(_experts(model))
    scale = width / 2 if fused and not mixed else 1
    stack: Any = next(part for part in decoder.modules() if isinstance(part, torch.nn.ModuleList))
    del stack[FEW_LAYERS:]
    # a number of tokens that no weight has in its shape tells activations from cast weights
    odd = longest | 1
    kept: dict[int, Any] = {}
    inputs: list[Any] = []

    def keep(value: Any) -> Any:
        if odd in value.shape or rows * odd in value.shape:
            kept[value.untyped_storage()._cdata] = value
        return value

    with FakeTensorMode():
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    dtype = torch.bfloat16 if cast or fused else value.dtype
                    fake = torch.empty(value.shape, dtype=dtype)
                    module._parameters[name] = torch.nn.Parameter(fake, value.requires_grad)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = torch.empty(value.shape, dtype=value.dtype)
        stack[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        model.train()
        hooks: Any = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
        with hooks, torch.autocast("cpu", dtype=mixed, enabled=mixed is not None):
            decoder(input_ids=torch.zeros((rows, odd), dtype=torch.int64), use_cache=False)
        total = sum(value.untyped_storage().nbytes() for value in kept.values())
    return scale * total / len(stack), scale * inputs[0].untyped_storage().nbytes()
