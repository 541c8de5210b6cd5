"""What a training recipe says: TOML read into pydantic models that know every key.

A recipe names the base model with its dimensions (so that a plan needs no download), the method,
the optimizer, the schedule, the batch in *examples*, the lengths, the template and the seed. The
bugs of 2023 are options with names, so that a faithful run can switch each of them on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from meadow.atomic import hash_json
from meadow.config import Settings, did_you_mean, override, parse_settings, read_toml
from meadow.errors import UsageError
from meadow.prompt import TODAY

RECIPES = Path(__file__).parent / "recipes"

Method = Literal["none", "full", "lora", "lora_int8", "qlora_nf4"]
Layout = Literal["packed", "padded", "length_grouped"]
Dtype = Literal["float32", "bfloat16", "float16"]
ALL_LINEAR: Literal["all-linear"] = "all-linear"


class Dimensions(Settings):
    """The sizes of a decoder-only model, under the names of its Hugging Face configuration.

    `other` holds what only this family has: experts, a sliding window, names of its own.
    """

    model_type: str = "llama"
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int | None = None
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    other: dict[str, Any] = Field(default_factory=dict)
    max_position_embeddings: int = Field(gt=0)
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6


class Base(Settings):
    """The model that training starts from."""

    # a Hub repository or a local folder; "random" makes the weights from the seed and a tokenizer
    # from the mix, for demonstrations without any download
    repository: str
    revision: str = ""  # the commit; empty where nobody could pin it yet
    dtype: Dtype = "float32"  # of the frozen or trained weights in memory
    # another dtype that the weights are read in before they are held in `dtype` (2023: float16)
    loaded_as: Dtype | None = None
    dimensions: Dimensions  # of the model, so that planning fetches nothing


class Mix(Settings):
    """Which rows: the mix's name for the record, and how often each source is seen per epoch.

    `validation` is a share of the rows that is held out by the hash of their ids, in place of the
    mix's own held-out split (2023: 0.1).
    """

    name: str = ""
    validation: float = Field(default=0.0, ge=0, lt=1)
    repeat: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _positive(self) -> Mix:
        if any(times < 1 for times in self.repeat.values()):
            raise ValueError("repeat counts are 1 or more; leave a source out in the mix itself")
        return self


class Data(Settings):
    """How a row becomes tokens."""

    # a name of `meadow.prompt.TEMPLATE_NAMES`, or a text with {instruction} and {input}
    template: str = "alpaca"
    system: str = ""  # for `chat`: what a conversation without a system turn begins with
    date: dt.date = TODAY  # what a chat template that prints the date prints
    # which answers of a conversation are learned: "all", or the "last"
    turns: Literal["all", "last"] = "all"
    # the most tokens of one example; an answer that is cut has no end
    length: int = Field(default=1024, ge=8)
    # whether the BOS that the tokenizer puts in front by itself stays there (2023: no)
    bos: bool = True
    # "completion", or "all": the prompt is learned too (2023)
    loss_on: Literal["completion", "all"] = "completion"
    # "cut_end" cuts the answer's end (2023), "cut_prompt" takes tokens out of the prompt's end and
    # keeps the answer whole, "reject" drops the row and counts it
    truncation: Literal["cut_end", "cut_prompt", "reject"] = "cut_prompt"
    # for padded layouts, where the tokenizer names no pad token (2023: 0)
    pad_token_id: int | None = Field(default=None, ge=0)
    padding_side: Literal["left", "right"] = "right"  # where padding stands (2023: left)

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.system and self.template != "chat":
            raise ValueError('a system prompt needs data.template = "chat"')
        return self


class Batch(Settings):
    """One optimizer step."""

    examples: int = Field(gt=0)  # examples of one step, over all devices and micro-batches
    # "packed" spreads the step over full rows; "padded" and "length_grouped" pad micro-batches;
    # length grouping also reorders the examples of an epoch
    layout: Layout = "packed"
    # the most tokens of a packed row; 0 means the example length
    row_tokens: int = Field(default=0, ge=0)
    micro_batch: int = Field(default=1, gt=0)  # examples per padded micro-batch
    # what happens to the rest of an epoch: a "short" last step, or "carry" it into the next epoch
    tail: Literal["short", "carry"] = "short"
    # "tokens" over the whole global batch, or "micro_batches": the mean of micro-batch means (2023)
    loss_mean: Literal["tokens", "micro_batches"] = "tokens"

    @model_validator(mode="after")
    def _consistent(self) -> Batch:
        if self.layout != "packed" and self.examples % self.micro_batch:
            raise ValueError(f"examples {self.examples} is no multiple of micro_batch "
                             f"{self.micro_batch}")  # fmt: skip
        if self.layout == "packed" and self.loss_mean == "micro_batches":
            raise ValueError("loss_mean micro_batches is defined for padded layouts only")
        return self


class Optimizer(Settings):
    """AdamW, with 32-bit or blockwise 8-bit state; the other keys are Trainer's own arguments."""

    name: Literal["adamw", "adamw_8bit"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, ge=0)


class Schedule(Settings):
    """How long, and how the learning rate runs."""

    kind: Literal["cosine", "linear", "constant"] = "cosine"  # the decay after the warm-up
    # steps where it is 1 or more, a share of all steps below 1
    warmup: float = Field(default=0.03, ge=0)
    epochs: int = Field(default=1, gt=0)  # passes over the mix
    max_steps: int = Field(default=0, ge=0)  # stop the whole plan earlier; 0 means never


class Lora(Settings):
    """The low-rank adapters; used by every method whose name begins with lora or qlora.

    use_rslora, use_dora and modules_to_save are peft's; prepare_kbit runs its preparation of a
    quantised base (2023), which holds what is not quantised in float32.
    """

    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = ALL_LINEAR
    use_rslora: bool = False
    use_dora: bool = False
    modules_to_save: list[str] | None = None
    prepare_kbit: bool = False


class Run(Settings):
    """How the run is carried out."""

    seed: int = 0  # of the order, the dropout and the new weights
    mixed_precision: Literal["no", "bfloat16", "float16"] = "no"  # autocast of the forward pass
    # "auto": FlashAttention where it is installed, else sdpa, or eager for a family that has no
    # other; "flex" is torch's flex_attention, for GPUs
    attention: Literal["auto", "flash", "flex", "sdpa", "eager"] = "auto"
    activation_checkpointing: bool = False  # recompute activations in the backward pass
    fsdp: bool = False  # shard weights, gradients and optimizer over the devices (FSDP2)
    # a checkpoint every so many steps; 0: only the final model
    save_steps: int = Field(default=0, ge=0)
    keep_checkpoints: int = Field(default=2, gt=0)  # how many complete checkpoints stay
    # held-out loss every so many steps; 0: at the end only
    validation_steps: int = Field(default=0, ge=0)
    exam_steps: int = Field(default=0, ge=0)  # the exams every so many steps; 0: at the end only
    # the model that is kept is the one of the best step, by "validation_loss" or by the first
    # "exam", and not the last one
    best: Literal["", "validation_loss", "exam"] = ""
    # names that Trainer's report_to knows
    trackers: list[Literal["trackio", "wandb", "tensorboard", "mlflow"]] = Field(
        default_factory=list
    )


class Reported(Settings):
    """What the authors of a row measured: it stands beside the estimate, it does not enter it."""

    vram_gb: float
    source: str


class Recipe(Settings):
    """A whole recipe; `trainer` holds further arguments of transformers' TrainingArguments."""

    name: str
    row: str
    variant: Literal["faithful", "fixed", "evaluation", "current", "tiny"]
    method: Method
    note: str = ""
    base: Base
    mix: Mix = Mix()
    data: Data = Data()
    batch: Batch = Batch(examples=128)
    optimizer: Optimizer = Optimizer(learning_rate=2e-5)
    schedule: Schedule = Schedule()
    lora: Lora = Lora()
    run: Run = Run()
    trainer: dict[str, Any] = Field(default_factory=dict)
    reported: Reported | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.run.fsdp and (self.method == "lora_int8" or self.optimizer.name == "adamw_8bit"):
            raise ValueError("run.fsdp cannot shard int8 weights or 8-bit optimizer state")
        if self.method == "full" and self.base.dtype == "float16":
            raise ValueError("weights in float16 become no number within a few steps; method full "
                             "needs base.dtype float32 or bfloat16")  # fmt: skip
        longest = self.base.dimensions.max_position_embeddings
        if self.data.length > longest:
            raise ValueError(
                f"data.length {self.data.length} is above the model's max_position_embeddings "
                f"{longest}"
            )
        if self.batch.row_tokens and self.batch.row_tokens < self.data.length:
            raise ValueError(
                f"batch.row_tokens {self.batch.row_tokens} is below data.length {self.data.length}"
            )
        return self

    @property
    def row_tokens(self) -> int:
        """The most tokens of a packed row."""
        return self.batch.row_tokens or self.data.length

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON, defaults filled in."""
        return self.model_dump(mode="json")

    def hash(self, *, length: bool = True) -> str:
        """Identifies what the recipe trains: how it is watched and saved does not count.

        Epochs and max_steps count where `length` does.
        """
        document = self.to_json()
        kept = ("seed", "mixed_precision", "attention", "activation_checkpointing", "fsdp")
        document["run"] = {name: document["run"][name] for name in kept}
        for name in () if length else ("epochs", "max_steps"):
            del document["schedule"][name]
        return hash_json(document)


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def find_recipe(name: str) -> Path:
    """A recipe by file, by name, or by its row: a row's name means its faithful recipe.

    Raises:
        UsageError: There is none of that name.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError("no such recipe file", where=name, fix="check the path")
        return path
    for candidate in (name, f"{name}-faithful"):
        path = RECIPES / f"{candidate}.toml"
        if path.is_file():
            return path
    raise UsageError(
        f"unknown recipe {name!r}",
        fix=f"{did_you_mean(name, recipe_names())}known recipes: {', '.join(recipe_names())}",
    )


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides.

    Args:
        name: A file, a recipe's name or a row's name.
        overrides: Dotted keys, e.g. "optimizer.learning_rate=1e-4"; values as in TOML, a bare word
            is a text.

    Raises:
        FileError: The file cannot be read.
        UsageError: Not TOML, an unknown key (with the nearest known one) or a wrong value.
    """
    path = find_recipe(str(name))
    document = read_toml(path)
    for change in overrides:
        override(document, change)
    return parse_settings(document, Recipe, where=str(path))
