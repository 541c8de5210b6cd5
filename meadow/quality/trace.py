"""Where a row went: corpora, mixes, splits, ledgers, runs, steps, checkpoints, exports, releases.

A row is asked for under any of its names (`meadow.corpus.names`). Every folder below the given ones
that has a manifest of a corpus or of a run is looked through. What a corpus says of a name, ledgers
and plans are then asked for by id: of a run the plan says in which steps a record was due, and so
which of its checkpoints and exports saw it. `meadow trace` says it, `meadow takedown` acts on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meadow.corpus.commit import STAGING
from meadow.corpus.folder import CONTAMINATION, DUPLICATES, PUBLISHED, REASONING_TRIES, Corpus
from meadow.corpus.manifest import NAME
from meadow.corpus.names import names_of
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, UsageError
from meadow.models.loading import RUN_MANIFEST
from meadow.quality.runs import Trained

SHORTEST_BEGINNING = 6
"""Characters of an id that are taken for the beginning of one."""
_ASKED = ("id", "source", "source_id", "url", "meta", "authors")
_LEDGERS = {
    DUPLICATES: ("kept_id", "dropped_id"),
    CONTAMINATION: ("row_id",),
    REASONING_TRIES: ("row_id",),
}


@dataclass(slots=True)
class Holding:
    """A folder that holds something of what was asked for.

    Args:
        folder: Where it lies.
        kind: corpus, mix, run, checkpoint or export.
        rows: Record id -> where it stands: shards and ledgers, or the steps that saw it. No steps:
            the row is in the mix that the model was trained on, and its run's plan is not here.
        splits: Of a corpus or mix: record id -> the configs and splits, as CONFIG/SPLIT.
        published: Of a corpus or mix: the releases that hold the row, as manifest and receipt say.
        progress: Of a run, whether it was finished.
    """

    folder: Path
    kind: str
    rows: dict[str, list[str | int]] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    progress: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a document, without what does not apply."""
        told = {"folder": str(self.folder), "kind": self.kind, "rows": self.rows}
        more = {"splits": self.splits, "published": self.published, "progress": self.progress}
        return told | {name: value for name, value in more.items() if value}


@dataclass(frozen=True, slots=True)
class Search:
    """What was found.

    Args:
        found: Name that was asked for -> the record ids that it stands for.
        missing: Names that no folder holds.
        held: The folders that hold something.
        looked: How many folders were looked through.
        unknown: Models of which nothing here says what they saw: their runs' plans lie elsewhere.
    """

    found: Mapping[str, Sequence[str]]
    missing: Sequence[str]
    held: Sequence[Holding]
    looked: int
    unknown: Sequence[Path]


def search(names: Sequence[str], across: Sequence[Path], *, beginnings: bool = False) -> Search:
    """Look for names in every corpus, mix, run and model below some folders.

    Args:
        names: As `normal_name` spells them.
        across: The folders; each is looked through to its ends.
        beginnings: Whether a name may be the beginning of a record id.

    Raises:
        FileError, CheckError: A folder is not there, or what it holds cannot be read.
        UsageError: A name is the beginning of several ids.
    """
    wanted = set(names)
    found: dict[str, dict[str, None]] = {name: {} for name in names}
    corpora, models = [], []
    for folder in across:
        if not folder.is_dir():
            raise FileError("there is no such folder", where=str(folder), fix="check the path")
        corpora += _below(folder, NAME)
        models += [Trained.read(place) for place in _below(folder, RUN_MANIFEST)]
    starts = tuple(name for name in names if beginnings and len(name) >= SHORTEST_BEGINNING)
    held: list[Holding] = []
    inside: dict[str, set[str]] = {}
    for folder in dict.fromkeys(corpora):
        corpus = Corpus.open(folder)
        holding = Holding(folder, "mix" if corpus.manifest.stage == "mix" else "corpus")
        places, holds = _places(corpus), {}
        for name, record_id, shard in _rows(corpus, list(places), wanted, starts):
            found[name][record_id] = None
            split, holds[shard] = places[shard]
            inside.setdefault(holds[shard], set()).add(record_id)
            if shard not in (shards := holding.rows.setdefault(record_id, [])):
                shards.append(shard)
            if split not in (splits := holding.splits.setdefault(record_id, [])):
                splits.append(split)
        holding.published = _releases(corpus, holds)
        held.append(holding)
    for name in starts:
        ids = {record_id for record_id in found[name] if record_id.startswith(name)}
        if len(ids) > 1 and name not in ids:
            raise UsageError(
                f"{name!r} is the beginning of {len(ids):,} record ids",
                where=", ".join(sorted(ids)[:5]),
                fix="give more of the id",
            )
    # what a corpus says of a name is what ledgers and plans, which know ids alone, are asked for
    ids = wanted | {record_id for known in found.values() for record_id in known}
    for holding in held:
        for ledger, columns in _LEDGERS.items():
            if (holding.folder / ledger).is_file():
                for record_id in _ids_in(holding.folder / ledger, columns, ids):
                    holding.rows.setdefault(record_id, []).append(ledger)
    runs = list({model.folder: model for model in models}.values())
    seen, unknown = _models(runs, ids, inside)
    held += seen
    for holding in held:
        for record_id in holding.rows.keys() & wanted:
            found[record_id][record_id] = None
    return Search(
        found={name: list(known) for name, known in found.items() if known},
        missing=[name for name in names if not found[name]],
        held=[holding for holding in held if holding.rows],
        looked=len(held) + len(unknown),
        unknown=unknown,
    )


def _below(folder: Path, name: str) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(name) if path.parent.name != STAGING)


def _places(corpus: Corpus) -> dict[str, tuple[str, str]]:
    """Shard -> config and split, and SHA-256; sidecars included."""
    found = {
        shard.path: (f"{config}/{split}", shard.sha256)
        for config, splits in corpus.manifest.splits().items()
        for split, shards in splits.items()
        for shard in shards
    }
    for config, splits in corpus.manifest.details.get("sidecars", {}).items():
        for split, shards in splits.items():
            found |= {shard["path"]: (f"{config}/{split}", shard["sha256"]) for shard in shards}
    return found


def _rows(
    corpus: Corpus, shards: Sequence[str], wanted: set[str], starts: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    """(name, record id, shard) of every row that has a wanted name."""
    for path in shards:
        table = read_parquet(corpus.folder / path, list(_ASKED))
        for *own, authors in zip(*(table[name].to_pylist() for name in _ASKED), strict=True):
            record_id, source, source_id, url, meta = own
            addresses = [author["url"] for author in authors or ()]
            names = wanted & names_of(record_id, source, source_id, url, meta, addresses)
            if starts and record_id.startswith(starts):
                names |= {start for start in starts if record_id.startswith(start)}
            for name in sorted(names):
                yield name, record_id, path


def _releases(corpus: Corpus, shards: Mapping[str, str]) -> list[str]:
    """The releases that hold one of these shards (path -> SHA-256), by manifest and receipts."""
    published = corpus.manifest.published
    found = [published.address] if published and shards else []
    path = corpus.folder / PUBLISHED
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for release in (told, *told.get("earlier", [])):
            files = release.get("files", {})
            if any(files.get(name, {}).get("sha256") == shards[name] for name in shards):
                found.append(f"{release['repository']}@{release['tag'] or release['commit']}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"the receipt cannot be read: {error}", where=str(path)) from error
    return list(dict.fromkeys(found))


def _ids_in(path: Path, columns: Sequence[str], ids: set[str]) -> list[str]:
    table = read_parquet(path)
    there = [name for name in columns if name in table.column_names]
    return sorted(ids & {each for name in there for each in table[name].unique().to_pylist()})


def _models(
    models: Sequence[Trained], ids: set[str], inside: Mapping[str, set[str]]
) -> tuple[list[Holding], list[Path]]:
    """What each run, checkpoint and export saw of the records; those of which nothing is known.

    `inside` is SHA-256 of a shard -> the records that it holds.
    """
    plans = {model.run: plan for model in models if model.run and (plan := model.plan())}
    held, unknown = [], []
    for model in models:
        holding = Holding(model.folder, model.kind, progress=model.status)
        if plan := model.plan() or plans.get(model.run):
            holding.rows |= {key: list(steps) for key, steps in model.steps(ids, plan).items()}
        else:
            shards = model.shards().items()
            trained = (sha256 for path, sha256 in shards if Path(path).name.startswith("train-"))
            in_its_mix = {record_id for each in trained for record_id in inside.get(each, ())}
            holding.rows |= {key: [] for key in sorted(in_its_mix)}
            if not in_its_mix:
                unknown.append(model.folder)
                continue
        held.append(holding)
    return held, unknown
