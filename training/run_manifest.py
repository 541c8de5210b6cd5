"""run_manifest.json: written before the first step, completed after the last; and the card from it.

With plan.parquet beside it, a checkpoint can be traced to the exact rows it saw. Every figure of a
model's card comes from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from meadow.atomic import write_json
from meadow.errors import FileError, UsageError
from meadow.models.loading import RUN_MANIFEST
from meadow.models.machine import ProcessGroup, hardware, versions

LIBRARIES = (
    "medical-meadow",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
)
IDENTITY = ("recipe_hash", "plan_hash", "base")
"""What must be equal for a run to be continued in the same folder."""


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def surroundings(group: ProcessGroup) -> dict[str, Any]:
    """What the weights depend on beside recipe and rows: libraries and machine."""
    return {
        "versions": versions(LIBRARIES),
        "hardware": {"processes": group.size, **hardware()},
    }


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder or checkpoint; None where there is none.

    Raises:
        FileError: It is there and cannot be read.
    """
    path = folder / RUN_MANIFEST
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{RUN_MANIFEST} cannot be read: {error}", where=str(path)) from error
    if not isinstance(document, dict):
        raise FileError(f"{RUN_MANIFEST} is not a run manifest", where=str(path))
    return document


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the manifest, atomically."""
    write_json(folder / RUN_MANIFEST, dict(document))


def check_same_run(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest of an earlier start of the same run in this folder; None where there is none.

    Raises:
        UsageError: The folder holds another run.
    """
    found = read(folder)
    if found is None:
        return None
    differs = [key for key in IDENTITY if found.get(key) != wanted[key]]
    if differs:
        raise UsageError(
            f"the output folder holds another run: {', '.join(differs)} differ",
            where=str(folder),
            fix="choose another --out, or remove the folder",
        )
    return found


_METHODS = {
    "full": "all weights",
    "lora": "low-rank adapters on the base as it is",
    "lora_int8": "low-rank adapters on a base in int8",
    "qlora_nf4": "low-rank adapters on a base in nf4",
}


def model_card(document: dict[str, Any], *, merged: bool = False) -> str:
    """README.md for a model folder.

    Args:
        document: The run manifest.
        merged: Whether adapters were merged into the weights.
    """
    recipe = document["recipe"]
    adapters = recipe["method"] != "full" and not merged
    head: dict[str, Any] = {
        "library_name": "peft" if adapters else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["medical", "instruction-tuning", "medical-meadow"],
    }
    name = document["base"]["name"]
    if name != "random" and name.count("/") == 1 and not name.startswith((".", "/")):
        head["base_model"] = name
    shown = document.get("result", {})
    data = document["data"]
    contamination = document["contamination"]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=True).strip(),
        "---",
        "",
        f"# {recipe['name']}",
        "",
        "Not for clinical use: a language model's answer is not medical advice.",
        "",
        recipe["note"],
        "",
        "| | |",
        "|---|---|",
        f"| trained | {_METHODS[recipe['method']]}{', merged' if merged else ''} |",
        f"| base | {'a local folder' if name.startswith(('/', '.')) else name} "
        f"{document['base']['revision']} |",
        f"| parameters, trained | {document.get('parameters', 0):,}, "
        f"{document.get('trainable_parameters', 0):,} |",
        f"| mix | {recipe['mix']['name'] or document['mix']['stage']}, manifest "
        f"{document['mix']['manifest_sha256'][:16]} |",
        f"| rows in, trained on | {data['rows_in']:,}, {data['rows_out']:,} |",
        f"| rows left out | {_counts(data['rejected'])} |",
        f"| rows cut to {recipe['data']['length']} tokens | {data['cut']:,} |",
        f"| examples per step, steps | {recipe['batch']['examples']:,}, {document['steps']:,} |",
        f"| learning rate | {recipe['optimizer']['learning_rate']:g}, "
        f"{recipe['schedule']['kind']} |",
        f"| template | {recipe['data']['template'].splitlines()[0]} |",
        f"| loss, first and last step | {_number(shown.get('first_loss'))}, "
        f"{_number(shown.get('last_loss'))} |",
        f"| held-out loss | {_number(shown.get('validation_loss'))} |",
        f"| exam items in the mix | {_contamination(contamination)} |",
        f"| plan | {document['plan_hash'][:16]} |",
        f"| recipe | {document['recipe_hash'][:16]} |",
        "",
        "Rows per source: "
        + ", ".join(f"{source} {n:,}" for source, n in data["rows_per_source"].items())
        + ".",
        "",
        "`run_manifest.json` holds the whole recipe, the shards with their hashes, the library "
        "versions and the hardware.",
        "",
    ]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items()) or "none"


def _number(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "not measured"


def _contamination(found: dict[str, Any]) -> str:
    if not found["checked"]:
        return "not checked"
    if not found["rows"]:
        return "none found"
    listed = "; ".join(f"{exam}: {_counts(levels)}" for exam, levels in found["rows"].items())
    return f"yes, by override: {listed}"
