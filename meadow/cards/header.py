"""The YAML in front of a dataset card: what the Hub and `datasets` read.

Its `dataset_info` is a contract that loading enforces, so it is computed from the shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from meadow.cards.rows import Locate, SourceRows, languages
from meadow.corpus.manifest import Manifest, Shard
from meadow.schema import COLUMNS, DERIVED

ALL = "all"

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_HUB_LICENSES = {
    "cc0-1.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "mit", "apache-2.0",
    "gpl-3.0",
}  # fmt: skip
"""The licences that the Hub has an identifier for, as far as rows have them."""
_TASKS = {
    "open_qa": "question-answering",
    "multiple_choice": "question-answering",
    "classification": "text-classification",
    "summarization": "summarization",
    "dialogue": "text-generation",
    "instruction": "text-generation",
}
"""Task of a row -> the Hub's category."""

COLUMN_TEXTS = {
    "id": "stable id: a hash of source and upstream id, or of the upstream content",
    "instruction": "what to do",
    "input": "what the instruction is about; may be empty",
    "output": "the answer",
    "source": "the source's name",
    "subset": "a part of the source, or null",
    "task": "open_qa, multiple_choice, classification, summarization, dialogue or instruction",
    "license": "the licence of the answer",
    "url": "where the original stands, or null",
    "authors": "who is to be named: name, url, role",
    "source_id": "the upstream id, or null where upstream has none",
    "rephrased_by": "the model that rewrote the text or reasons in the output, or null",
    "meta": "a JSON object with sorted keys: labels, options, scores, repairs",
    "messages": "the row as a conversation: role and content of each turn",
    "reasoning": "what stands between <think> and </think> in the output, or null",
}
"""What each column holds."""


def front_matter(manifest: Manifest, locate: Locate, counted: list[SourceRows]) -> dict[str, Any]:
    """The YAML of the card as a mapping, computed from the shards."""
    splits = manifest.splits()
    licenses = license_counts(counted)
    spoken = languages(counted)
    tasks = {_TASKS[task] for source in counted for task in source.tasks if task in _TASKS}
    rewritten = any(source.rewritten for source in counted)
    creators = ["found", *(["machine-generated"] if rewritten else [])]
    single = next(iter(licenses)) if len(licenses) == 1 else None
    rows = sum(shard.rows for shard in manifest.shards())
    front: dict[str, Any] = {"pretty_name": pretty_name(manifest)}
    front |= {"language": spoken} if spoken else {}
    per_row = {"license_name": "per-row", "license_link": "LICENSES/README.md"}
    front |= {"license": single} if single in _HUB_LICENSES else {"license": "other", **per_row}
    configs = [_config(config, item, config) for config, item in splits.items()]
    infos = [_dataset_info(config, item, locate) for config, item in splits.items()]
    if ALL not in splits and len(splits) > 1:
        names = dict.fromkeys(split for item in splits.values() for split in item)
        configs.insert(0, _config(ALL, names, "*"))
        infos.insert(0, _combined_info(infos))
    for config in configs[:1]:
        config["default"] = True
    # beside the configs: nobody should train on a row and on its original
    sidecars = manifest.details.get("sidecars", {})
    configs += [_config(name, item, name) for name, item in sidecars.items()]
    return {
        **front,
        "size_categories": [next((name for top, name in _SIZES if rows < top), "n>10M")],
        "task_categories": sorted(tasks),
        "annotations_creators": creators,
        "language_creators": creators,
        "multilinguality": ["multilingual" if len(spoken) > 1 else "monolingual"],
        "source_datasets": ["original"],
        "tags": ["medical", "clinical", "instruction-tuning", *["synthetic"] * rewritten],
        "configs": configs,
        "dataset_info": infos,
    }


def _config(name: str, splits: Iterable[str], folder: str) -> dict[str, Any]:
    files = [{"split": split, "path": f"data/{folder}/{split}-*.parquet"} for split in splits]
    return {"config_name": name, "data_files": files}


def _features(shard: Path | None) -> list[dict[str, Any]]:
    author = [{"name": name, "dtype": "string"} for name in ("name", "url", "role")]
    message = [{"name": name, "dtype": "string"} for name in ("role", "content")]
    lists: dict[str, Any] = {"authors": {"list": author}, "messages": {"list": message}}
    return [
        {"name": name} | lists.get(name, {"dtype": "string"})
        for name in (columns_in(shard) if shard is not None else COLUMNS)
    ]


def _dataset_info(
    config: str, splits: Mapping[str, tuple[Shard, ...]], locate: Locate
) -> dict[str, Any]:
    import pyarrow.parquet as pq

    first = next((shards[0] for shards in splits.values() if shards), None)
    described = []
    for split, shards in splits.items():
        metadata = [pq.read_metadata(locate(shard.path)) for shard in shards]
        described.append(
            {
                "name": split,
                "num_bytes": sum(
                    item.row_group(index).total_byte_size
                    for item in metadata
                    for index in range(item.num_row_groups)
                ),
                "num_examples": sum(item.num_rows for item in metadata),
            }
        )
    return {
        "config_name": config,
        "features": _features(locate(first.path) if first is not None else None),
        "splits": described,
        "download_size": sum(shard.bytes for shards in splits.values() for shard in shards),
        "dataset_size": sum(item["num_bytes"] for item in described),
    }


def _combined_info(infos: list[dict[str, Any]]) -> dict[str, Any]:
    totals: dict[str, Counter[str]] = {}
    for split in (split for info in infos for split in info["splits"]):
        sizes = {key: split[key] for key in ("num_bytes", "num_examples")}
        totals.setdefault(split["name"], Counter()).update(sizes)
    return {
        "config_name": ALL,
        "features": infos[0]["features"],
        "splits": [{"name": name, **sizes} for name, sizes in totals.items()],
        "download_size": sum(info["download_size"] for info in infos),
        "dataset_size": sum(info["dataset_size"] for info in infos),
    }


def columns_of(manifest: Manifest, locate: Locate) -> list[str]:
    """The columns of the shards, in their order."""
    first = next(iter(manifest.shards()), None)
    return columns_in(locate(first.path)) if first is not None else list(COLUMNS)


def columns_in(shard: Path) -> list[str]:
    """The columns of one shard: of a record, and those that a mix derives."""
    import pyarrow.parquet as pq

    there = pq.read_schema(shard).names
    return [*COLUMNS, *(name for name in DERIVED if name in there)]


def pretty_name(manifest: Manifest) -> str:
    """The title of a card."""
    if manifest.stage == "mix":
        return f"Medical Meadow: {', '.join(manifest.configs)}"
    return "Medical Meadow"


def license_counts(counted: list[SourceRows]) -> Counter[str]:
    """Licence -> rows."""
    return sum((source.licenses for source in counted), Counter())
