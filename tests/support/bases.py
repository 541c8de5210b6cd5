"""Tiny random bases, one per family of architecture and chat format, made on the spot.

`make_base("gemma2", folder)` writes configuration, weights and tokenizer as that family has them:
two layers, a fixed seed, a vocabulary learned from the texts below, nothing downloaded. What a
family does otherwise than LLaMA is kept: where its sizes stand, whether its positions are absolute,
a sliding window, attention sinks, fused experts, and how its turns begin and end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.corpora import WORDS

LONGEST = 512
"""Positions of every base."""
WINDOW = 48
"""The sliding window of the families that have one: shorter than a test's row."""
TEXTS = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\n"
    "Sort the words.\n\n### Input:\n### Response:\n",
    "Answer this multiple choice question.\nA: yes\nB: no\nC: maybe\nD: never\nThe answer is: A",
    " ".join(WORDS),
)


@dataclass(frozen=True, slots=True)
class Format:
    """A tokenizer's manner and the chat template of its family.

    Args:
        special: Its special tokens, in the order of their ids.
        template: Jinja, as `apply_chat_template` renders it; empty: a base model has none.
        bos: Whether the tokenizer puts BOS in front by itself.
        pieces: SentencePiece's manner (spaces are a mark) instead of bytes: "always" puts a mark in
            front of a text, "never" does not.
        named: bos_token, eos_token, pad_token.
    """

    special: tuple[str, ...]
    named: dict[str, str]
    template: str = ""
    bos: bool = False
    pieces: str = ""


def turns(user: str, assistant: str, *, start: str = "", prompt: str, end: str = "") -> str:
    """A chat template of the parts of its turns; {} is where a turn's text stands."""

    def said(frame: str) -> str:
        before, _, after = frame.partition("{}")
        return before + "{{ message['content'] }}" + after

    return (
        start
        + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        + said(assistant)
        + "{% elif message['role'] == 'system' %}"
        + said(user)
        + "{% else %}"
        + said(user)
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + prompt
        + "{% else %}"
        + end
        + "{% endif %}"
    )


_HEAD = "<|start_header_id|>{role}<|end_header_id|>\n\n"
_END = "<|endoftext|>"
_THOUGHT = "<think>\n\n</think>\n\n"
FORMATS = {
    "gpt2": Format((_END,), {"bos_token": _END, "eos_token": _END}),
    "opt": Format(
        ("<s>", "<pad>", "</s>", "<unk>"),
        {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"},
        bos=True,
    ),
    "llama2": Format(
        ("<unk>", "<s>", "</s>"),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        turns(
            "{{ bos_token }}[INST] {} [/INST]", " {} {{ eos_token }}", prompt=""
        ),
        bos=True,
        pieces="always",
    ),
    "llama3": Format(
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
         "<|eot_id|>"),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        turns(
            _HEAD.format(role="user") + "{}<|eot_id|>",
            _HEAD.format(role="assistant") + "{}<|eot_id|>",
            start="{{ bos_token }}",
            prompt=_HEAD.format(role="assistant"),
        ),
        bos=True,
    ),
    "gemma": Format(
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        turns(
            "<start_of_turn>user\n{}<end_of_turn>\n",
            "<start_of_turn>model\n{}<end_of_turn>\n",
            start="{{ bos_token }}",
            prompt="<start_of_turn>model\n",
        ),
        bos=True,
        pieces="never",
    ),
    "qwen3": Format(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        turns(
            "<|im_start|>user\n{}<|im_end|>\n",
            f"<|im_start|>assistant\n{_THOUGHT}{{}}<|im_end|>\n",
            prompt="<|im_start|>assistant\n"
            "{% if enable_thinking is defined and not enable_thinking %}"
            + _THOUGHT
            + "{% endif %}",
        ),
    ),
    "phi3": Format(
        ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        {"bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
         "unk_token": "<unk>"},
        turns(
            "<|user|>\n{}<|end|>\n",
            "<|assistant|>\n{}<|end|>\n",
            prompt="<|assistant|>\n",
            end="{{ eos_token }}",
        ),
        pieces="always",
    ),
    "harmony": Format(
        ("<|startoftext|>", "<|endoftext|>", "<|start|>", "<|message|>", "<|end|>", "<|return|>",
         "<|channel|>"),
        {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"},
        turns(
            "<|start|>user<|message|>{}<|end|>",
            "<|start|>assistant<|channel|>final<|message|>{}<|return|>",
            prompt="<|start|>assistant",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """An architecture with the format that its models speak.

    Args:
        model_type: As in config.json.
        format: A key of `FORMATS`.
        sizes: What differs from `SIZES`; None takes a key out.
        nested: The sizes of the language model stand in text_config, beside a vision model.
    """

    model_type: str
    format: str
    sizes: dict[str, Any] = field(default_factory=dict)
    nested: bool = False


SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LONGEST,
}
_SLIDING = {
    "head_dim": 16,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
_OWN_NAMES = dict.fromkeys(SIZES, None)
FAMILIES = {
    "llama2": Family("llama", "llama2", {"num_key_value_heads": 4}),
    "llama3": Family("llama", "llama3"),
    "mistral": Family("mistral", "llama2", {"sliding_window": WINDOW}),
    "gemma": Family("gemma", "gemma", {"head_dim": 16}),
    "gemma2": Family("gemma2", "gemma", _SLIDING | {"query_pre_attn_scalar": 16}),
    "gemma3": Family("gemma3", "gemma", _SLIDING, nested=True),
    "qwen3": Family("qwen3", "qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "phi3": Family("phi3", "phi3", {"pad_token_id": 3, "sliding_window": None}),
    "neox": Family("gpt_neox", "gpt2", {"num_key_value_heads": None}),
    "gpt2": Family(
        "gpt2", "gpt2",
        _OWN_NAMES | {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": LONGEST},
    ),
    "opt": Family(
        "opt", "opt",
        {"intermediate_size": None, "num_key_value_heads": None, "ffn_dim": 128,
         "word_embed_proj_dim": 64, "pad_token_id": 1},
    ),
    "falcon": Family(
        "falcon", "gpt2",
        {"intermediate_size": None, "num_key_value_heads": None, "new_decoder_architecture": False,
         "multi_query": True, "alibi": False},
    ),
    "bloom": Family("bloom", "gpt2", _OWN_NAMES | {"hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "moe": Family(
        "qwen3_moe", "qwen3",
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
    "gpt_oss": Family(
        "gpt_oss", "harmony",
        _SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 64,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ),
}  # fmt: skip
"""BLOOM's positions are no argument of its model: what cannot be packed is among them too."""


def make_tokenizer(name: str, vocabulary: int = 700) -> Any:
    """A tokenizer in the manner of a format, learned from `TEXTS`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    how = FORMATS[name]
    options: dict[str, Any] = {"special_tokens": list(how.special), "show_progress": False}
    model: Any = models.BPE()
    before: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)
    after: Any = decoders.ByteLevel()
    if how.pieces:
        # as SentencePiece does: characters that it has not seen become bytes
        options["special_tokens"] += [f"<0x{byte:02X}>" for byte in range(256)]
        model = models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
        before = pre_tokenizers.Metaspace(prepend_scheme=how.pieces)
        after = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=how.pieces)]
        )
    else:
        options["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    learned: Any = Tokenizer(model)
    learned.pre_tokenizer, learned.decoder = before, after
    learned.train_from_iterator(TEXTS * 20, trainers.BpeTrainer(vocab_size=vocabulary, **options))
    if how.bos:
        bos = how.named["bos_token"]
        learned.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, learned.token_to_id(bos))]
        )
    made: Any = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        model_max_length=LONGEST,
        additional_special_tokens=list(set(how.special) - set(how.named.values())),
        **how.named,
    )
    if how.template:
        made.chat_template = how.template
    return made


def make_base(name: str, folder: Path) -> Path:
    """Write the base of a family into a folder.

    Args:
        name: A key of `FAMILIES`.
        folder: Made where it is not there.

    Returns:
        The folder.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    family = FAMILIES[name]
    tokenizer = make_tokenizer(family.format)
    sizes = SIZES | {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes = {key: value for key, value in (sizes | family.sizes).items()
             if value is not None or key in ("sliding_window", "pad_token_id")}  # fmt: skip
    if family.nested:
        seen = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
        config = AutoConfig.for_model(family.model_type, text_config=sizes, vision_config=seen)
    else:
        config = AutoConfig.for_model(family.model_type, **sizes)
    torch.manual_seed(1)
    models: Any = AutoModelForCausalLM
    model = models.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)  # wide, so that attention moves the losses by more than rounding
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
