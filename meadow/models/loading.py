"""The one way in which a model is loaded: by training, by export and by evaluation.

An adapter is a difference to one base, in the numbers that this base had while the adapter
learned. Quantised otherwise (other blocks, single quantisation, another dtype), most of the base's
numbers are others, and a score is that of a model which nobody trained. So how a base is held is a
value, `Precision`, which training writes into its run manifest and evaluation reads from there.

Weights are safetensors and no code of a repository runs (`meadow.models.weights`). No torch at
import: whoever asks which dtypes there are loads no library.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.errors import FileError, UsageError
from meadow.models.weights import adapter_folder, check_model, is_out_of_reach, out_of_reach

DTYPES = ("float32", "bfloat16", "float16")
QUANTISED = ("int8", "nf4")
TOKENIZER_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
RUN_MANIFEST = "run_manifest.json"
"""Stands in the folder of every model that this project trained."""
PLAN = "plan.parquet"
"""Stands in the folder of a training run: which record was due in which step."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How a model's weights are held."""

    # of the weights that are not quantised, and of those that are before they are
    dtype: str = "float32"
    # bitsandbytes' settings for the linear layers; empty: not quantised
    quantisation: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, dtype: str) -> Precision:
        """The precision of "int8", "nf4" or, for any other `kind`, of plain weights in `dtype`."""
        if kind == "int8":
            return cls(dtype, {"load_in_8bit": True})
        if kind == "nf4":
            # QLoRA's settings (Dettmers et al. 2023, section 3)
            settings = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
            return cls(dtype, {"load_in_4bit": True, **settings, "bnb_4bit_compute_dtype": dtype})
        return cls(dtype)

    @property
    def kind(self) -> str:
        """The quantisation's name, else the dtype's."""
        if self.quantisation:
            return "int8" if self.quantisation.get("load_in_8bit") else "nf4"
        return self.dtype

    def to_json(self) -> dict[str, Any]:
        """As it stands in a run manifest."""
        return {"dtype": self.dtype, "quantisation": dict(self.quantisation)}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model's files are."""

    name: str  # a folder, or OWNER/NAME on the Hub
    revision: str | None = None  # of the repository; None: its newest

    @classmethod
    def parse(cls, text: str | Path) -> Checkpoint:
        """A folder, or `OWNER/NAME[@REVISION]`."""
        if Path(text).is_dir():
            return cls(str(text))
        name, _, revision = str(text).partition("@")
        return cls(name, revision or None)

    def pinned(self) -> Checkpoint:
        """The same with its weights looked at, and a repository at the commit that was looked at.

        Raises:
            FileError: The model is not there.
            RefusedError: Its weights are in a format that can run code.
        """
        try:
            return Checkpoint(self.name, check_model(self.name, self.revision) or self.revision)
        except (OSError, ValueError) as error:
            raise unreadable("model", self.name, error) from error

    @property
    def arguments(self) -> dict[str, Any]:
        """What every `from_pretrained` is told."""
        # said aloud: without it transformers asks at a terminal whether to run a repository's code
        pinned = {"revision": self.revision} if self.revision else {}
        cached = not Path(self.name).is_dir() and is_out_of_reach()
        local = {"local_files_only": True} if cached else {}
        return {"trust_remote_code": False, **pinned, **local}


def quiet() -> None:
    """Leave the terminal to this program: no library's remarks, and bars only on a terminal."""
    from transformers.utils import logging as transformers_logging

    library: Any = transformers_logging
    library.set_verbosity_error()
    # Trainer and peft use names of transformers that it deprecates itself
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers(\.|$)")
    if not sys.stderr.isatty():
        library.disable_progress_bar()


def torch_dtype(name: str) -> Any:
    """The dtype of that name."""
    import torch

    return getattr(torch, name)


def hashed_weights(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of a folder's weights."""
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}


def load_config(checkpoint: Checkpoint) -> Any:
    """The model's configuration.

    Raises:
        FileError: It is not there, or cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(checkpoint.name, **checkpoint.arguments)
    except (OSError, ValueError) as error:
        raise unreadable("model configuration", checkpoint.name, error) from error


def load_tokenizer(checkpoint: Checkpoint, *, local_only: bool = False) -> Any:
    """The model's tokenizer.

    `local_only` takes it from the client's cache or not at all.

    Raises:
        FileError: It is not there, or cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            checkpoint.name,
            **checkpoint.arguments | ({"local_files_only": True} if local_only else {}),
        )
    except (OSError, ValueError) as error:
        raise unreadable("tokenizer", checkpoint.name, error) from error


def tokenizer_files(checkpoint: Checkpoint) -> dict[str, str] | None:
    """Name -> SHA-256 of what a tokenizer is read from; None where that needs a download."""
    folder = Path(checkpoint.name)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        name = "tokenizer_config.json"
        found = try_to_load_from_cache(checkpoint.name, name, revision=checkpoint.revision)
        if not isinstance(found, str):
            return None
        folder = Path(found).parent
    files = sorted(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern))
    return {path.name: sha256_file(path) for path in files}


def load_model(
    checkpoint: Checkpoint,
    precision: Precision,  # how its weights are held
    *,
    device: str = "cpu",  # where they are put
    attention: str | None = None,  # attention implementation; None: the library's choice
    unpacked: str = "",  # "mxfp4" for weights that lie in that format and are to be learned on
) -> Any:
    """A causal language model with its weights.

    Raises:
        FileError: The weights are not there, or cannot be read.
        RefusedError: They are in a format that can run code.
    """
    import transformers
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    extra: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    if unpacked:
        library: Any = transformers
        extra["quantization_config"] = library.Mxfp4Config(dequantize=True)
    if precision.quantisation:
        make: Any = BitsAndBytesConfig
        extra |= {
            "quantization_config": make(**precision.quantisation),
            "device_map": {"": device},
        }
    checkpoint = checkpoint.pinned()
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.name,
            dtype=torch_dtype(precision.dtype),
            use_safetensors=True,
            output_loading_info=True,
            **extra,
            **checkpoint.arguments,
        )
    except (OSError, ValueError) as error:
        raise unreadable("model", checkpoint.name, error) from error
    model, told = found
    if missing := sorted(told["missing_keys"]):
        # transformers fills what a file lacks with random numbers and only remarks on it
        raise FileError(
            f"the weights lack {len(missing)} of the model's: {', '.join(missing[:3])}",
            where=checkpoint.name,
            fix="download the checkpoint again",
        )
    if precision.quantisation:
        keep_nf4_weights(model)
        return model
    return model.to(device)


def load_adapter(model: Any, adapter: str) -> Any:
    """The model with a PEFT adapter on it: a folder's, or a repository's.

    Raises:
        FileError: There is no adapter, or it does not fit the model.
        RefusedError: Its weights are in a format that can run code.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter_folder(adapter)))
    except (OSError, ValueError) as error:
        raise unreadable("adapter", adapter, error) from error


def unreadable(what: str, where: str, error: Exception) -> FileError:
    """The one error for whatever a library could not load."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if not Path(where).is_dir() and is_out_of_reach():
        return out_of_reach(what, where)
    return FileError(
        f"the {what} cannot be loaded: {first}",
        where=where,
        fix="name a folder with config.json, weights and tokenizer, or another repository",
    )


def read_run_manifest(folder: Path) -> dict[str, Any] | None:
    """The run manifest of a run's folder, checkpoint, model or export; None where there is none.

    Raises:
        FileError: It is there and cannot be read.
    """
    path = folder / RUN_MANIFEST
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not a run manifest")
    except (OSError, ValueError) as error:
        raise FileError(f"{RUN_MANIFEST} cannot be read: {error}", where=str(path)) from error
    return document


def precision_trained_on(adapter: str) -> Precision | None:
    """How the base was held on which an adapter of this project learned; None where nobody says.

    Of an adapter on the Hub nothing is known here.

    Raises:
        FileError: The run manifest beside the adapter says something that cannot be.
    """
    path, document = Path(adapter) / RUN_MANIFEST, read_run_manifest(Path(adapter))
    if document is None or "precision" not in document:
        return None
    try:
        said = document["precision"]
        found = Precision(said["dtype"], said["quantisation"])
        ours = {name for kind in QUANTISED for name in Precision.of(kind, "").quantisation}
        ours.add("bnb_4bit_quant_storage")  # of a sharded base
        known = found.dtype in DTYPES and set(found.quantisation) <= ours
    except (KeyError, TypeError) as error:
        raise FileError(f"the run manifest cannot be read: {error}", where=str(path)) from error
    if not known:
        raise FileError(
            f"the run manifest names a precision that is not known here: {said}",
            where=str(path),
            fix="load the base with --dtype as the adapter's authors say",
        )
    return found


def template_trained_in(model: str) -> str | None:
    """The prompt template that a model of this project learned; None where nobody says."""
    try:
        document: Any = read_run_manifest(Path(model))
        return str(document["recipe"]["data"]["template"])
    except (FileError, KeyError, TypeError):
        return None


def trained_as(folder: str) -> dict[str, Any] | None:
    """What ties a model's folder to its training run; None where there is no run manifest.

    Returns:
        `run`, the hash of recipe, plan and base; `manifest`, the SHA-256 of the folder's run
        manifest; `export`, what `meadow export` noted in it, None in the run's own folders;
        `recipe`, the recipe's name.
    """
    try:
        data = (Path(folder) / RUN_MANIFEST).read_bytes()
        document = json.loads(data)
        run = [document[name] for name in ("recipe_hash", "plan_hash", "base")]
        text = json.dumps(run, sort_keys=True).encode()
        return {
            "run": hashlib.sha256(text).hexdigest(),
            "manifest": hashlib.sha256(data).hexdigest(),
            "export": document.get("export"),
            "recipe": document.get("recipe", {}).get("name"),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def choose_precision(kind: str, *, device: str, adapter: str | None = None) -> Precision:
    """The precision of a model that is to be evaluated.

    Args:
        kind: "auto": as an adapter's base was held in training, else float32 on a processor and
            bfloat16 on a GPU; or one of `DTYPES` and `QUANTISED`.
        device: Where the model is going to be.
        adapter: On its base, "auto" and a quantisation mean what they meant in training.

    Raises:
        UsageError: There is no such kind.
    """
    if kind not in {"auto", *DTYPES, *QUANTISED}:
        raise UsageError(f"unknown dtype {kind!r}", fix=f"auto, {', '.join(DTYPES + QUANTISED)}")
    trained = precision_trained_on(adapter) if adapter else None
    if trained is not None and kind in ("auto", trained.kind):
        return trained
    plain = "float32" if device == "cpu" else "bfloat16"
    return Precision.of(kind, kind if kind in DTYPES else plain)


def default_device() -> str:
    """A GPU (of this process's local rank) where there is one, else the processor."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def keep_nf4_weights(model: Any) -> int:
    """Stop bitsandbytes from repacking nf4 weights; returns how many layers there are.

    On processors with AVX512-BF16, bitsandbytes 0.50.2 repacks a Linear4bit weight in place at the
    first forward in evaluation mode. Gradients through it are exactly zero afterwards, and a merge
    is wrong: after one exam the model would stop learning, silently.
    """
    layers = quantised_layers(model)["nf4"]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def quantised_layers(model: Any) -> dict[str, list[Any]]:
    """The layers of each kind that bitsandbytes has put into a model."""
    import bitsandbytes

    library: Any = bitsandbytes.nn
    kinds = {"nf4": library.Linear4bit, "int8": library.Linear8bitLt}
    return {
        name: [module for module in model.modules() if isinstance(module, kind)]
        for name, kind in kinds.items()
    }


def capabilities(model: Any) -> dict[str, Any]:
    """What of this machine and its libraries can change a quantised model's numbers."""
    import bitsandbytes

    functional: Any = bitsandbytes.functional
    layers = quantised_layers(model)
    return {
        "machine": platform.machine(),
        "avx512_bf16": bool(functional.has_avx512bf16()),
        "nf4_layers": len(layers["nf4"]),
        "nf4_repacking": any(layer.support_avx512bf16_for_cpu for layer in layers["nf4"]),
        "int8_layers": len(layers["int8"]),
    }


def count_parameters(model: Any) -> tuple[int, int]:
    """All parameters and the trainable ones; a packed nf4 weight counts what it stands for."""
    total = trainable = 0
    for parameter in model.parameters():
        packed = getattr(parameter, "quant_state", None)
        size = packed.shape.numel() if packed is not None else parameter.numel()
        total += size
        trainable += size if parameter.requires_grad else 0
    return total, trainable


def dequantise(model: Any) -> Any:
    """The same model with every quantised layer as plain float32 numbers, changed in place."""
    if getattr(model, "hf_quantizer", None) is not None:
        model = model.dequantize(torch_dtype("float32"))
    return model.float()
