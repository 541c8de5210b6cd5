"""What a configuration says of a model before any weight is read.

Families name their sizes in their own ways, and a multimodal one keeps those of its language model
in a configuration within. So nothing here reads a size by LLaMA's names: the model is made without
memory, on torch's meta device, and asked. What cannot work (an attention that the family does not
have, a token that the embedding does not have) is found out on that model, in seconds, instead of
behind an hour of loading. No torch at import.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from meadow.errors import UsageError

ATTENTION = {
    "auto": None,
    "flash": "flash_attention_2",
    "flex": "flex_attention",
    "sdpa": "sdpa",
    "eager": "eager",
}
"""A recipe's word -> transformers' name; None is the library's choice for the family."""


def longest_input(config: Any) -> int | None:
    """The most tokens of an input, by the names that configurations have for it; None: no limit."""
    language = config.get_text_config()
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        value = getattr(language, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def empty_model(
    config: Any, *, dtype: str = "float32", attention: str = "auto", half: bool = False
) -> Any:
    """The model of a configuration, without memory; its own config says which attention it has.

    Args:
        config: Of a causal language model.
        dtype: Of its weights.
        attention: A key of `ATTENTION`; "auto" is FlashAttention where it is installed and the
            family has it, else the library's choice: sdpa, or eager where there is no other.
        half: Whether it is going to compute in 16 bits; FlashAttention does not run otherwise.

    Raises:
        UsageError: It is no causal language model, or its family does not have that attention.
    """
    import torch
    import transformers.utils

    library: Any = transformers
    flash = attention == "auto" and half and library.utils.is_flash_attn_2_available()
    names = [ATTENTION["flash"], None] if flash else [ATTENTION[attention]]
    said = ""
    if attention == "flex" and not torch.cuda.is_available():
        names, said = [], "flex_attention has no backward pass on processors"
    for name in names:
        try:
            with torch.device("meta"):
                return library.AutoModelForCausalLM.from_config(
                    config,
                    dtype=getattr(torch, dtype),
                    **({"attn_implementation": name} if name else {}),
                )
        except (ValueError, ImportError) as error:
            said = str(error).strip().splitlines()[0].partition(". ")[0][:200]
    raise UsageError(
        f"no {config.model_type} model can be made here: {said}",
        fix="name a causal language model" if attention == "auto" else 'run.attention = "auto"',
    )


def packed_weights(config: Any) -> str:
    """The format of a checkpoint whose weights are quantised on disk; "" for plain ones."""
    found = getattr(config, "quantization_config", None)
    found = found if isinstance(found, dict) else getattr(found, "__dict__", {})
    method = found.get("quant_method", "")
    return str(getattr(method, "value", method))


def trainable_model(
    config: Any, *, dtype: str, attention: str, half: bool, packed: bool, length: int
) -> Any:
    """The model without memory, once it is known that it can be trained.

    As of `empty_model`; `packed` examples stand in one row, and `length` is the most tokens of one.

    Raises:
        UsageError: It cannot.
    """
    where = str(getattr(config, "name_or_path", ""))
    longest = longest_input(config)
    if longest and length > longest:
        raise UsageError(
            f"data.length {length} is above the model's max_position_embeddings {longest}",
            where=where,
            fix=f"--set data.length={longest}",
        )
    if (held := packed_weights(config)) not in ("", "mxfp4"):
        raise UsageError(
            f"the weights of the base are quantised already ({held}): they cannot be trained",
            where=where,
            fix="name the plain weights; lora_int8 and qlora_nf4 quantise them",
        )
    empty = empty_model(config, dtype=dtype, attention=attention, half=half)
    if packed and not takes_positions(empty):
        raise UsageError(
            f"a {config.model_type} model is not told where a token stands: examples in one row "
            "would see each other",
            where="batch.layout",
            fix="--set batch.layout=padded",
        )
    return empty


def takes_positions(model: Any) -> bool:
    """Whether a model is told where a token stands: by that alone packed examples stay apart."""
    return "position_ids" in inspect.signature(model.forward).parameters


def gives_its_logits(empty: Any) -> bool:
    """Whether a model hands out what its output layer gives: no cap, no scale behind it.

    `empty` has no memory; its body is left out for this one question.
    """
    import torch

    class Given:
        """A body's output in any family: what is not there is None."""

        def __getattr__(self, name: str) -> Any:
            return hidden if name == "last_hidden_state" else None

        def __getitem__(self, place: Any) -> Any:
            return hidden if place == 0 else None

    head, body, given = empty.get_output_embeddings(), empty.base_model, []
    hidden = torch.empty((1, 2, head.weight.shape[1]), device="meta", dtype=head.weight.dtype)
    hook = head.register_forward_hook(lambda _, __, logits: given.append(logits))
    body.forward = lambda *_, **__: Given()
    try:
        ids = torch.zeros((1, 2), dtype=torch.int64, device="meta")
        return empty(input_ids=ids, use_cache=False).logits is given[-1]
    except (AttributeError, IndexError, KeyError, TypeError):
        return False
    finally:
        hook.remove()
        del body.forward


def beside_text(model: Any) -> list[str]:
    """Names of the parameters that no text runs through: a multimodal model's other parts."""
    parts = (model.get_decoder(), model.get_output_embeddings())
    reached = {id(parameter) for part in parts for parameter in part.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) not in reached]


def check_tokens(tokenizer: Any, model: Any, tokens: Iterable[int]) -> None:
    """Refuse tokens that the model's embedding does not have.

    Raises:
        UsageError: A token's id is beyond it; the lookup would fail in the middle of the run.
    """
    known = model.get_input_embeddings().weight.shape[0]
    beyond = max(tokens, default=0)
    if beyond >= known:
        raise UsageError(
            f"token {tokenizer.convert_ids_to_tokens(beyond)!r} has the id {beyond}, and the "
            f"model's embedding has {known} rows",
            where=str(getattr(tokenizer, "name_or_path", "")),
            fix="use the tokenizer that belongs to these weights; for a pad token alone, name "
            "another with data.pad_token_id",
        )
