"""Verify a published corpus from outside: manifest, hashes, counts and card of one commit.

And load it as its users do, which is what a publication is held to before it gets its tag.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file
from meadow.cards.card import CARD, split_card
from meadow.cards.rows import refused_rows
from meadow.corpus.manifest import Manifest, Shard
from meadow.errors import CheckError, MeadowError
from meadow.hub.attest import FOLDER as ATTESTATIONS
from meadow.hub.attest import attested
from meadow.hub.files import (
    QUARANTINE,
    Commit,
    fetch_to,
    find_commit,
    published_files,
    read_commit,
    read_remote_manifest,
    read_remote_text,
)
from meadow.hub.plan import DATA
from meadow.net.hub import HubClient, Reference, network_cause
from meadow.net.redaction import redact
from meadow.quality.check import Finding
from meadow.source import Source
from meadow.sources import with_own

Rows = dict[str, dict[str, int]]
"""Config -> split -> rows."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong.

    Rows are those of the manifest, files those whose hash was compared. `keys` are of those who
    signed that they got these bytes; `unclear` counts statements that are of other bytes, or whose
    signature is not valid.
    """

    commit: str
    files: int
    rows: int
    findings: tuple[Finding, ...]
    manifest: Manifest
    keys: tuple[str, ...] = ()
    unclear: int = 0


def verify(
    reference: Reference, *, client: HubClient | None = None, content: bool = False
) -> Verification:
    """Compare a published corpus with its own manifest.

    With `content` every shard is downloaded and hashed, instead of trusting the Hub's stated
    hashes.

    Raises:
        NetworkError: No such data set or revision, or the Hub does not answer as it should.
        FileError: There is no readable manifest.
    """
    client = client or HubClient()
    commit = read_commit(client, reference.repository, reference.revision)
    manifest = read_remote_manifest(client, commit)
    files = published_files(manifest)
    findings = list(_hashes(client, commit, files, content=content))
    findings += [
        Finding("unnamed_file", name, "the manifest does not name it")
        for name in sorted(commit.files.keys() - files.keys())
        if name.startswith((DATA, QUARANTINE))
    ]
    findings += _card(client, commit, manifest)
    known = with_own(manifest.own_sources)
    for shard in manifest.shards():
        if shard.path in commit.files:
            findings += _shard(client, commit, shard, known)
    rows = sum(shard.rows for shard in manifest.shards())
    keys, unclear = attested(_envelopes(client, commit), manifest)
    return Verification(
        commit.id, len(files), rows, tuple(findings), manifest, tuple(sorted(keys)), unclear
    )


def _envelopes(client: HubClient, commit: Commit) -> Iterator[bytes]:
    """The statements of a data set: of the commit, and those that came after it."""
    commits = [commit, find_commit(client, commit.repository)]
    found = {name: at for at in commits if at is not None for name in at.files}
    for name, at in sorted(found.items(), key=lambda item: item[0]):
        if name.startswith(ATTESTATIONS):
            yield read_remote_text(client, at, name).encode()


def _hashes(
    client: HubClient, commit: Commit, files: dict[str, tuple[int, str]], *, content: bool
) -> Iterator[Finding]:
    for name, (size, sha256) in files.items():
        remote = commit.files.get(name)
        if remote is None:
            yield Finding("missing_file", name, "the manifest names it, and it is not there")
        elif remote.size != size:
            yield Finding("changed_file", name, f"{remote.size:,} bytes, not {size:,}")
        else:
            found = remote.sha256
            if content or found is None:  # the Hub states the SHA-256 of large files only
                with tempfile.TemporaryDirectory() as folder:
                    file = commit.reference(name)
                    found = sha256_file(fetch_to(client, file, size, Path(folder), cap=size))
            if found != sha256:
                yield Finding("changed_file", name, "its bytes are not what the manifest says")


def _shard(
    client: HubClient, commit: Commit, shard: Shard, known: Mapping[str, Source]
) -> Iterator[Finding]:
    """Rows and licences of a shard, read by ranges: its footer and a few columns."""
    import pyarrow.parquet as pq
    from huggingface_hub import HfFileSystem

    path = f"datasets/{commit.reference(shard.path)}"

    def read() -> tuple[int, Counter[tuple[str, str]]]:
        with HfFileSystem().open(path, "rb") as file, pq.ParquetFile(file) as parquet:
            refused = refused_rows(lambda columns: parquet.read(columns=columns), known)
            return parquet.metadata.num_rows, refused

    try:
        rows, refused = client.call(str(commit.reference()), read)
    except MeadowError:
        raise
    except (OSError, ValueError, KeyError) as error:
        yield Finding("unreadable_shard", shard.path, " ".join(str(error).split())[:200])
        return
    if rows != shard.rows:
        yield Finding("wrong_count", shard.path, f"{rows:,} rows, not {shard.rows:,}")
    for (source, why), count in refused.items():
        yield Finding("license", shard.path, f"{source}: {count:,} rows under {why}")


def _card(client: HubClient, commit: Commit, manifest: Manifest) -> Iterator[Finding]:
    """Where the card promises other rows than the manifest: `load_dataset` would refuse to load.

    Each config's globs are resolved against the manifest's shards, and the number of examples in
    dataset_info is held to the rows of those shards.
    """
    if CARD not in commit.files:
        yield Finding("no_card", CARD, "there is none")
        return
    try:
        values = front_matter(read_remote_text(client, commit, CARD))
    except ValueError as error:
        yield Finding("card", CARD, f"its YAML cannot be read: {error}")
        return
    shards = shard_rows(manifest)
    covered = {
        path
        for config in _listed(values.get("configs"))
        for entry in _listed(config.get("data_files"))
        for path in shards
        if _matches(path, entry)
    }
    for path in sorted(shards.keys() - covered):
        yield Finding("card", CARD, f"no config has {path}")
    rows = config_rows(values, shards)
    for info in _listed(values.get("dataset_info")):
        name = info.get("config_name", "default")
        stated = {split["name"]: split["num_examples"] for split in _listed(info.get("splits"))}
        if stated != rows.get(name):
            yield Finding("card", CARD, f"{name} has {rows.get(name)} rows, not {stated}")


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the head of a card.

    Raises:
        ValueError: There is none, or it is not a YAML mapping.
    """
    import yaml

    try:
        value = yaml.safe_load(split_card(text)[0])
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("no YAML block at its head")
    return value


def shard_rows(manifest: Manifest) -> dict[str, int]:
    """Path -> rows of every shard that a config can have, those beside the configs too."""
    found = {shard.path: shard.rows for shard in manifest.shards()}
    for splits in manifest.details.get("sidecars", {}).values():
        for shards in splits.values():
            found |= {shard["path"]: shard["rows"] for shard in shards}
    return found


def config_rows(values: Mapping[str, Any], shards: Mapping[str, int]) -> Rows:
    """Config -> split -> rows: what the card's globs give with the shards of a manifest."""
    found: Rows = {}
    for config in _listed(values.get("configs")):
        splits: dict[str, int] = {}
        for entry in _listed(config.get("data_files")):
            matching = [rows for path, rows in shards.items() if _matches(path, entry)]
            splits[str(entry.get("split", "train"))] = sum(matching)
        found[str(config.get("config_name", "default"))] = splits
    return found


def _listed(value: object) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def _matches(path: str, entry: Mapping[str, Any]) -> bool:
    """Whether a glob of the card names the shard; `*` stays within one folder."""
    globs = entry.get("path", ())
    parts = path.split("/")
    listed = [globs] if isinstance(globs, str) else globs
    patterns = [str(glob).split("/") for glob in listed]
    return any(len(p) == len(parts) and all(map(fnmatchcase, parts, p)) for p in patterns)


def load_counts(client: HubClient, repository: str, commit: str, configs: list[str]) -> Rows:
    """Load every config with `datasets`, as users do, and count; the tables are thrown away.

    Raises:
        CheckError: A config does not load.
        NetworkError: The Hub does not answer as it should.
    """
    import datasets

    datasets.disable_progress_bars()
    where = f"{repository}@{commit}"
    found: Rows = {}
    with tempfile.TemporaryDirectory(prefix="meadow-load-") as cache:
        for config in configs:

            def load(config: str = config) -> dict[str, int]:
                try:
                    loaded = datasets.load_dataset(
                        repository, config, revision=commit, cache_dir=cache
                    )
                    return {str(split): len(rows) for split, rows in loaded.items()}
                except Exception as error:
                    # `datasets` says "file not found" for any request that failed.
                    failed = network_cause(error) or error
                raise failed

            try:
                found[config] = client.call(where, load)
            except MeadowError:
                raise
            except Exception as error:
                text = redact(" ".join(f"{type(error).__name__}: {error}".split()))
                raise CheckError(
                    f"the config {config} does not load: {text[:400]}",
                    where=where,
                    fix="build the corpus again; nothing was tagged",
                ) from error
    return found
