"""From a run folder to a model that others can load: merged, safetensors, with its card.

Adapters were trained on a quantised base, so that is what they are merged into: the base is loaded
afresh, each quantised layer is turned back into float32 numbers, and the merge happens there. A
merge into the quantised weights would round the adapters away.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from meadow.atomic import write_text
from meadow.cards.model import model_card
from meadow.config import parse_settings
from meadow.errors import FileError
from meadow.models import checkpoints
from meadow.models.frames import modelfile, set_stops
from meadow.models.gguf import GGUF, convert, find_converter
from meadow.models.loading import (
    RUN_MANIFEST,
    Checkpoint,
    Precision,
    default_device,
    dequantise,
    load_adapter,
    load_model,
    load_tokenizer,
    precision_trained_on,
    quiet,
    read_run_manifest,
    torch_dtype,
)
from training import run_manifest
from training.config import Dtype, Recipe
from training.methods import base_checkpoint, precision
from training.run_manifest import find_model

MODELFILE = "Modelfile"
"""For Ollama: `ollama create NAME -f Modelfile` in the exported folder."""
PROBE_TOKENS = 24


def merge(source: Path, recipe: Recipe, base: str | Path | None) -> tuple[Any, dict[str, float]]:
    """Merge the adapters in the folder `source` into the base that they learned on, in float32.

    Returns:
        The merged model, and how far its logits are from the adapters' on a probe: against the
        dequantised base, and against the base as it was quantised during training.
    """
    where = base_checkpoint(recipe, base)
    held = precision_trained_on(str(source)) or precision(recipe)
    figures: dict[str, float] = {}
    trained_on = None
    device = default_device()
    plain = load_model(where, held, device=device)
    probe = probe_tokens(int(plain.config.get_text_config().vocab_size))
    if held.quantisation:
        trained_on = logits(load_adapter(plain, str(source)), probe)
        device = default_device()
    plain = load_model(where, held, device=device)
    model = load_adapter(dequantise(plain), str(source))
    before = logits(model, probe)
    merged = model.merge_and_unload(safe_merge=True)
    after = logits(merged, probe)
    figures["largest_logit"] = float(before.abs().max())
    figures["merged_against_dequantised"] = float((after - before).abs().max())
    if trained_on is not None:
        figures["merged_against_quantised"] = float((after - trained_on).abs().max())
    return merged, figures


def probe_tokens(vocabulary: int) -> torch.Tensor:
    """A fixed text of token ids; int64 (1, 24)."""
    return (torch.arange(PROBE_TOKENS) * 37 + 3).remainder(vocabulary).unsqueeze(0)


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """float32 logits of a model in evaluation mode."""
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens.to(model.device), use_cache=False).logits
    return found.float().cpu()


def export(
    run: Path,  # a run folder, or one of its checkpoints
    out: Path,  # the folder to make; it must not exist or be empty
    *,
    base: str | Path | None = None,  # where the base is now, if not where the run found it
    dtype: Dtype | None = None,  # of the written weights; None: the base's during training
    gguf: bool = False,  # also convert with llama.cpp's converter
    converter: Path | None = None,  # that program, where it is not on the PATH or in LLAMA_CPP
) -> dict[str, Any]:
    """Write a run's model as one folder of safetensors, with card and manifest.

    Returns:
        {"folder", "method", "dtype", "figures", "files", "gguf"}.

    Raises:
        UsageError: The folder is taken.
        FileError: The run or the base is not there.
        MeadowError: The converter is not there, or failed.
    """
    quiet()
    source = find_model(run)
    document = read_run_manifest(source) or {}
    recipe = parse_settings(document["recipe"], Recipe, where=str(source / RUN_MANIFEST))
    dtype = dtype or recipe.base.dtype
    checkpoints.refuse_taken(out)
    program = find_converter(converter) if gguf else None
    figures: dict[str, float] = {}
    if recipe.method == "full":
        model = load_model(Checkpoint(str(source)), Precision())
    else:
        model, figures = merge(source, recipe, base or trained_base(source, document))
    model.config.use_cache = True
    model = model.to(torch_dtype(dtype))
    staging = out.with_name(f".{out.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    tokenizer = load_tokenizer(Checkpoint(str(source)))
    template = recipe.data.template
    set_stops(model, tokenizer, template)
    try:
        with checkpoints.saving(out):
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            weights = f"./{GGUF}" if program else "."
            write_text(staging / MODELFILE, modelfile(tokenizer, template, weights))
            noted = document | {"export": {"dtype": dtype, "merged": recipe.method != "full",
                                           "figures": figures}}  # fmt: skip
            run_manifest.write(staging, noted)
            merged = recipe.method != "full"
            write_text(staging / "README.md", model_card(noted, merged=merged))
            if program is not None:
                convert(program, staging, dtype)
            if out.exists():
                out.rmdir()
            checkpoints.publish(staging, out, int(document.get("result", {}).get("steps", 0)))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {
        "folder": str(out),
        "method": recipe.method,
        "dtype": dtype,
        "figures": figures,
        "files": sorted(path.relative_to(out).as_posix() for path in checkpoints.walk(out)),
        "gguf": str(out / GGUF) if gguf else None,
    }


def trained_base(source: Path, document: Mapping[str, Any]) -> str | None:
    """Where a run's base is: beside it where it was made from nothing, else as it was named."""
    name = str(document["base"]["name"])
    if name != "random":
        revision = str(document["base"]["revision"])
        pinned = revision and not revision.startswith("sha256:") and not Path(name).is_dir()
        return f"{name}@{revision}" if pinned else name
    for folder in (source.parent / "base", source / "base"):
        if folder.is_dir():
            return str(folder)
    raise FileError(
        "the base of this run was made by the run and is not beside it",
        where=str(source),
        fix="name it with --base",
    )
