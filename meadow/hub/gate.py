"""What a corpus has to be before anything of it is sent: whole, checked and allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from meadow.corpus.manifest import Manifest
from meadow.corpus.shards import read_parquet
from meadow.errors import CheckError, RefusedError
from meadow.licenses import LICENSES

CARD = "README.md"
LICENSE_FOLDER = "LICENSES/"
MAX_NAMED = 5


def check_publishable(folder: Path, manifest: Manifest) -> None:
    """Raise where a folder must not be published.

    Raises:
        RefusedError: A row's licence does not allow it.
        CheckError: `meadow check` has a finding, the card says something else than the files, or
            the licence texts are missing.
    """
    from meadow.quality.check import check_corpus

    # Licences come first: they are the gate that no repair of the folder opens.
    check_licenses(folder, manifest)
    findings = [f"{found.kind}: {found.where}: {found.detail}" for found in check_corpus(folder)]
    if not any(name.startswith(LICENSE_FOLDER) for name in manifest.named()):
        findings.append(f"missing_file: {LICENSE_FOLDER}: no licence texts")
    card = folder / CARD
    if card.is_file():
        findings += card_findings(card.read_text(encoding="utf-8"), manifest)
    if findings:
        shown = "; ".join(findings[:MAX_NAMED])
        raise CheckError(
            f"{len(findings)} findings, so nothing is published: {shown}",
            where=str(folder),
            fix=f"see all of them with `meadow check {folder}`, and build or render again",
        )


def check_licenses(folder: Path, manifest: Manifest) -> None:
    """Read the licence of every row; a single one that does not allow publishing stops it.

    Raises:
        RefusedError: Rows whose licence forbids publishing, does not say, or is missing.
    """
    refused: Counter[tuple[str, str]] = Counter()
    for shard in manifest.shards():
        path = folder / shard.path
        if not path.is_file():
            continue  # a finding of the check
        table = read_parquet(path, ["license", "source"])
        counts = table.group_by(["license", "source"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            known = LICENSES.get(row["license"])
            if known is None or known.redistribute != "yes":
                refused[str(row["source"]), row["license"] or "none stated"] += row["count_all"]
    if refused:
        listed = "; ".join(
            f"{source}: {count:,} rows under {name}"
            for (source, name), count in sorted(refused.items())
        )
        raise RefusedError(
            f"{sum(refused.values()):,} rows may not be published: {listed}",
            where=str(folder),
            fix="build a corpus without these sources; others rebuild them with the same recipe",
        )


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the head of a card.

    Raises:
        ValueError: There is none, or it is not a YAML mapping.
    """
    import yaml

    _, opened, rest = text.partition("---\n")
    block, closed, _ = rest.partition("\n---")
    try:
        value = yaml.safe_load(block) if opened and closed else None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("no YAML block at its head")
    return value


def card_findings(text: str, manifest: Manifest) -> list[str]:
    """Where a card promises other rows than the manifest: `load_dataset` would refuse to load.

    Each config's globs are resolved against the manifest's shards, and the number of examples in
    dataset_info is held to the rows of those shards.
    """
    try:
        values = front_matter(text)
    except ValueError as error:
        return [f"card: {CARD}: its YAML cannot be read: {error}"]
    findings = []
    rows = config_rows(values, manifest)
    shards = {shard.path for shard in manifest.shards()}
    covered = {
        path
        for config in _listed(values.get("configs"))
        for entry in _listed(config.get("data_files"))
        for path in shards
        if _matches(path, entry)
    }
    findings += [f"card: {CARD}: no config has {path}" for path in sorted(shards - covered)]
    for info in _listed(values.get("dataset_info")):
        name = info.get("config_name", "default")
        stated = {split["name"]: split["num_examples"] for split in _listed(info.get("splits"))}
        if stated != rows.get(name):
            findings.append(f"card: {CARD}: {name} has {rows.get(name)} rows, not {stated}")
    return findings


def config_rows(values: Mapping[str, Any], manifest: Manifest) -> dict[str, dict[str, int]]:
    """Config -> split -> rows: what the card's globs give with the manifest's shards."""
    found: dict[str, dict[str, int]] = {}
    for config in _listed(values.get("configs")):
        splits: dict[str, int] = {}
        for entry in _listed(config.get("data_files")):
            matching = [s.rows for s in manifest.shards() if _matches(s.path, entry)]
            splits[str(entry.get("split", "train"))] = sum(matching)
        found[str(config.get("config_name", "default"))] = splits
    return found


def default_config(values: Mapping[str, Any]) -> str | None:
    """The config that `load_dataset` takes when none is named."""
    for config in _listed(values.get("configs")):
        if config.get("default"):
            return str(config["config_name"])
    return None


def _listed(value: object) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def _matches(path: str, entry: Mapping[str, Any]) -> bool:
    """Whether a glob of the card names the shard; `*` stays within one folder."""
    globs = entry.get("path", ())
    parts = path.split("/")
    for glob in [globs] if isinstance(globs, str) else globs:
        patterns = str(glob).split("/")
        if len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns)):
            return True
    return False
