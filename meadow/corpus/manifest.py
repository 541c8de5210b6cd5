"""MANIFEST.json: the commit of a folder. A file that it does not name does not exist.

A build's manifest gives each source's rows in, out and rejected by reason, its inputs and shards; a
mix's gives the same per step. It is written last, after everything that it names is on disk.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from meadow.atomic import sha256_file, write_json
from meadow.corpus.manifest_shape import check_shape
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import SCHEMA_VERSION

NAME = "MANIFEST.json"
REPLACED = "replaced.json"
"""In a staging folder: files that stood in the folder before."""
_SAFE_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*")
LIBRARIES = (
    *("medical-meadow", "pyarrow", "polars"),
    # what the readers and the cleaner parse, unpack and decide with
    *("turbohtml", "lxml", "beautifulsoup4", "py7zr", "py3langid"),
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file: path relative to the folder, rows, bytes, SHA-256."""

    path: str
    rows: int
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "path": self.path,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


@dataclass(frozen=True, slots=True)
class NamedFile:
    """Another file of the folder, or a raw input: path, bytes, SHA-256."""

    path: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.bytes}

    @classmethod
    def of(cls, path: Path, name: str) -> NamedFile:
        """Measure a file."""
        return cls(name, path.stat().st_size, sha256_file(path))


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """What a build says of one source. Conservation: rows_in == rows_out + sum of rejected.

    Args:
        rows_in: Candidate rows, in the unit that the source's card states.
        rows_out: Records written.
        rejected: Count by reason.
        repaired: Count of records by kind of repair.
        inputs: The raw files read.
        shards: The Parquet files, in order.
        quarantine: The file that holds the rejects.
        key: Hash of everything that the bytes depend on; the same key is not built again.
        facts: Further counts (licenses, subsets, tasks, scrubbed, attribution gaps), each
            name -> {value: n}.
    """

    rows_in: int
    rows_out: int
    rejected: dict[str, int]
    repaired: dict[str, int]
    inputs: tuple[NamedFile, ...]
    shards: tuple[Shard, ...]
    quarantine: NamedFile
    key: str
    origin: str
    facts: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": dict(sorted(self.rejected.items())),
            "repaired": dict(sorted(self.repaired.items())),
            "origin": self.origin,
            "inputs": [item.to_json() for item in self.inputs],
            "shards": [shard.to_json() for shard in self.shards],
            "quarantine": self.quarantine.to_json(),
            "facts": {name: dict(sorted(value.items())) for name, value in self.facts.items()},
            "key": self.key,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceEntry:
        """As read back."""
        return cls(
            rows_in=value["rows_in"],
            rows_out=value["rows_out"],
            rejected=dict(value["rejected"]),
            repaired=dict(value["repaired"]),
            inputs=tuple(NamedFile(**item) for item in value["inputs"]),
            shards=tuple(Shard(**item) for item in value["shards"]),
            quarantine=NamedFile(**value["quarantine"]),
            key=value["key"],
            origin=value["origin"],
            facts={name: dict(counts) for name, counts in value["facts"].items()},
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a mix: rows before and after, and why the others went."""

    name: str
    rows_in: int
    rows_out: int
    rejected: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "name": self.name,
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": dict(sorted(self.rejected.items())),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds.

    Args:
        stage: "build" or "mix".
        config_hash: Hash of the settings; another hash in the same folder is a usage error.
        settings: The settings themselves, as JSON.
        sources: Name -> entry (build).
        configs: Config -> split -> shards (mix; for a build it follows from `sources`).
        steps: The steps of a mix, in order.
        files: Every other file of the folder.
        details: Stage-specific facts (a mix's quotas, expectations, contamination verdicts).
        versions: Library -> version.
    """

    stage: str
    config_hash: str
    settings: dict[str, Any]
    sources: dict[str, SourceEntry] = field(default_factory=dict)
    configs: dict[str, dict[str, tuple[Shard, ...]]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    files: tuple[NamedFile, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def splits(self) -> dict[str, dict[str, tuple[Shard, ...]]]:
        """Config -> split -> shards, for builds and mixes alike."""
        if self.configs:
            return self.configs
        return {name: {"train": entry.shards} for name, entry in self.sources.items()}

    def shards(self) -> Iterator[Shard]:
        """Every shard, config by config."""
        for splits in self.splits().values():
            for shards in splits.values():
                yield from shards

    def named(self) -> dict[str, tuple[int, str]]:
        """Every file that exists: path -> (bytes, sha256)."""
        found = {shard.path: (shard.bytes, shard.sha256) for shard in self.shards()}
        found |= {item.path: (item.bytes, item.sha256) for item in self.files}
        for entry in self.sources.values():
            if self.stage == "build":
                item = entry.quarantine
                found[item.path] = (item.bytes, item.sha256)
        return found

    def to_json(self) -> dict[str, Any]:
        """The document."""
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "stage": self.stage,
            "config_hash": self.config_hash,
            "settings": self.settings,
            "sources": {name: self.sources[name].to_json() for name in sorted(self.sources)},
        }
        if self.configs:
            document["configs"] = {
                config: {split: [s.to_json() for s in shards] for split, shards in splits.items()}
                for config, splits in sorted(self.configs.items())
            }
        if self.steps:
            document["steps"] = [step.to_json() for step in self.steps]
        document["details"] = self.details
        document["files"] = [item.to_json() for item in sorted(self.files, key=lambda f: f.path)]
        document["versions"] = self.versions
        return document

    def write(self, folder: Path) -> None:
        """Make the folder be what this manifest says: the last write of a stage."""
        write_json(folder / NAME, self.to_json())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        FileError: There is none, or it cannot be read.
        UpstreamChangedError: It was written by a newer schema.
    """
    path = folder / NAME
    fix = "build it again; a folder without a whole manifest holds nothing"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileError("no MANIFEST.json: not a finished folder", where=str(folder), fix=fix) \
            from error  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"MANIFEST.json cannot be read: {error}", where=str(path), fix=fix) \
            from error  # fmt: skip
    try:
        if document["schema_version"] > SCHEMA_VERSION:
            raise UpstreamChangedError(
                f"schema version {document['schema_version']} is newer than {SCHEMA_VERSION}",
                where=str(path),
                fix="upgrade medical-meadow",
            )
        check_shape(document)
        manifest = Manifest(
            stage=document["stage"],
            config_hash=document["config_hash"],
            settings=document["settings"],
            sources={n: SourceEntry.from_json(e) for n, e in document["sources"].items()},
            configs={
                config: {
                    split: tuple(Shard(**item) for item in shards)
                    for split, shards in splits.items()
                }
                for config, splits in document.get("configs", {}).items()
            },
            steps=tuple(Step(**step) for step in document.get("steps", ())),
            files=tuple(NamedFile(**item) for item in document["files"]),
            details=document["details"],
            versions=document["versions"],
        )
        unsafe = [name for name in manifest.named() if not is_safe_path(name)]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"MANIFEST.json is not a manifest: {type(error).__name__} {error}",
            where=str(path),
            fix=fix,
        ) from error
    if unsafe:
        raise FileError(
            "MANIFEST.json names a path outside the folder", where=repr(unsafe[0]), fix=fix
        )
    return manifest


def note_replaced(staging: Path, names: Iterable[str]) -> set[str]:
    """Write down which files a folder may hold that its next manifest will not name.

    To be called before the folder loses its manifest: a run that is killed then leaves no other
    list of them. Names that an earlier, killed run wrote down are kept.

    Args:
        staging: The staging folder, which lives until the new manifest is written.
        names: Paths relative to the corpus folder.

    Returns:
        All names, also the earlier ones.
    """
    path = staging / REPLACED
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = []
    found = {*names, *(name for name in earlier if is_safe_path(name))}
    write_json(path, sorted(found))
    return found


def is_safe_path(name: object) -> bool:
    """Whether a relative path stays inside its folder."""
    return (
        isinstance(name, str)
        and _SAFE_PATH.fullmatch(name) is not None
        and all(part.strip(".") for part in name.split("/"))
    )


def hash_json(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """The versions that the bytes of a folder can depend on.

    Python is one of them: its Unicode tables and its own parsers (csv, expat, json).
    """
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in LIBRARIES
    }
