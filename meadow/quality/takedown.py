"""Who holds what is to be taken down: corpora, mixes, ledgers, and the steps of training runs.

A row is asked for under any of its names (`meadow.corpus.names`). Every folder below the given ones
that has a manifest of a corpus or of a run is looked through; of a run the plan says in which steps
a record was due. What was asked for is then written into the list that keeps it out of builds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meadow.atomic import write_text
from meadow.config import listed_ids
from meadow.corpus.commit import STAGING
from meadow.corpus.folder import CONTAMINATION, DUPLICATES, Corpus
from meadow.corpus.manifest import NAME
from meadow.corpus.names import names_of, normal_name
from meadow.corpus.shards import read_parquet
from meadow.errors import FileError, UsageError
from meadow.models.loading import RUN_MANIFEST

PLAN = "plan.parquet"
_ASKED = ("id", "source", "source_id", "url", "meta", "authors")
_LEDGERS = {
    DUPLICATES: ("kept_id", "dropped_id"),
    CONTAMINATION: ("row_id",),
}
_DOI_COLUMNS = ("originalpaperdoi", "doi")
_PUBMED_COLUMNS = ("originalpaperpubmedid", "pubmedid", "pubmed_id", "pmid")


@dataclass(slots=True)
class Holding:
    """A folder that holds something of what was asked for.

    Args:
        folder: Where it lies.
        kind: corpus, mix or run.
        rows: Record id -> where it stands: shards, ledgers, or the steps of a run.
        progress: Of a run, whether it was finished.
    """

    folder: Path
    kind: str
    rows: dict[str, list[str | int]] = field(default_factory=dict)
    progress: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        told = {"folder": str(self.folder), "kind": self.kind, "rows": self.rows}
        return told | ({"progress": self.progress} if self.progress else {})


@dataclass(frozen=True, slots=True)
class Search:
    """What was found.

    Args:
        found: Name that was asked for -> the record ids that it stands for.
        missing: Names that no folder holds.
        held: The folders that hold something.
        looked: How many folders were looked through.
    """

    found: Mapping[str, Sequence[str]]
    missing: Sequence[str]
    held: Sequence[Holding]
    looked: int


def asked_names(given: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names that were given one by one, and those of the lists among them.

    A list is a file: a CSV (such as Retraction Watch's) with columns of DOIs or PubMed numbers, of
    which only retractions count where it says what each line is; or one name a line.

    Raises:
        FileError: A file cannot be read.
        UsageError: A CSV has no such column.
    """
    single: list[str] = []
    listed: list[str] = []
    for one in given:
        path = Path(one)
        if not path.is_file():
            single.append(normal_name(one))
            continue
        try:
            names = _retracted(path) if path.suffix.lower() == ".csv" else listed_ids(path)
            listed += map(normal_name, names)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"the list cannot be read: {error}", where=str(path)) from error
    return list(dict.fromkeys(filter(None, single))), list(dict.fromkeys(filter(None, listed)))


def _retracted(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        columns = {str(name).strip().lower(): str(name) for name in rows.fieldnames or ()}
        doi = next((columns[name] for name in _DOI_COLUMNS if name in columns), None)
        number = next((columns[name] for name in _PUBMED_COLUMNS if name in columns), None)
        nature = columns.get("retractionnature")
        if doi is None and number is None:
            raise UsageError(
                "the list has no column of DOIs or PubMed numbers",
                where=str(path),
                fix=f"name one of its columns {', '.join((*_DOI_COLUMNS, *_PUBMED_COLUMNS))}",
            )
        for row in rows:
            if nature is not None and (row[nature] or "").strip().lower() != "retraction":
                continue
            if doi is not None and (row[doi] or "").strip().startswith("10."):
                yield f"doi:{row[doi].strip()}"
            if number is not None and (row[number] or "").strip().strip("0").isdigit():
                yield f"pmid:{row[number].strip()}"


def search(names: Sequence[str], across: Sequence[Path]) -> Search:
    """Look for names in every corpus, mix and run below some folders.

    Args:
        names: As `normal_name` spells them.
        across: The folders; each is looked through to its ends.

    Raises:
        FileError, CheckError: A folder is not there, or what it holds cannot be read.
    """
    wanted = set(names)
    found: dict[str, dict[str, None]] = {name: {} for name in names}
    corpora, runs = [], []
    for folder in across:
        if not folder.is_dir():
            raise FileError("there is no such folder", where=str(folder), fix="check the path")
        corpora += _below(folder, NAME)
        runs += _below(folder, RUN_MANIFEST)
    held = []
    for folder in dict.fromkeys(corpora):
        corpus = Corpus.open(folder)
        holding = Holding(folder, "mix" if corpus.manifest.stage == "mix" else "corpus")
        for name, record_id, shard in _rows(corpus, wanted):
            found[name][record_id] = None
            places = holding.rows.setdefault(record_id, [])
            if shard not in places:
                places.append(shard)
        held.append(holding)
    # what a corpus says of a name is what ledgers and plans, which know ids alone, are asked for
    ids = wanted | {record_id for known in found.values() for record_id in known}
    for holding in held:
        for ledger, columns in _LEDGERS.items():
            if (holding.folder / ledger).is_file():
                for record_id in _ids_in(holding.folder / ledger, columns, ids):
                    holding.rows.setdefault(record_id, []).append(ledger)
    held += [_run(folder, ids) for folder in dict.fromkeys(runs)]
    for holding in held:
        for record_id in holding.rows.keys() & wanted:
            found[record_id][record_id] = None
    return Search(
        found={name: list(known) for name, known in found.items() if known},
        missing=[name for name in names if not found[name]],
        held=[holding for holding in held if holding.rows],
        looked=len(held),
    )


def _below(folder: Path, name: str) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(name) if path.parent.name != STAGING)


def _rows(corpus: Corpus, wanted: set[str]) -> Iterator[tuple[str, str, str]]:
    """(name, record id, shard) of every row that has a wanted name, sidecars included."""
    shards = [shard.path for shard in corpus.manifest.shards()]
    for splits in corpus.manifest.details.get("sidecars", {}).values():
        shards += [shard["path"] for part in splits.values() for shard in part]
    for path in shards:
        table = read_parquet(corpus.folder / path, list(_ASKED))
        for *own, authors in zip(*(table[name].to_pylist() for name in _ASKED), strict=True):
            record_id, source, source_id, url, meta = own
            addresses = [author["url"] for author in authors or ()]
            for name in sorted(
                wanted & names_of(record_id, source, source_id, url, meta, addresses)
            ):
                yield name, record_id, path


def _ids_in(path: Path, columns: Sequence[str], ids: set[str]) -> list[str]:
    table = read_parquet(path)
    there = [name for name in columns if name in table.column_names]
    return sorted(ids & {each for name in there for each in table[name].unique().to_pylist()})


def _run(folder: Path, ids: set[str]) -> Holding:
    try:
        document = json.loads((folder / RUN_MANIFEST).read_text(encoding="utf-8"))
        status = str(document.get("status", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise FileError(f"{RUN_MANIFEST} cannot be read: {error}", where=str(folder)) from error
    holding = Holding(folder, "run", progress=status)
    if not (folder / PLAN).is_file():
        return holding  # a checkpoint or an export: the run's own folder has the plan
    table = read_parquet(folder / PLAN, ["record_id", "step"])
    for record_id, step in zip(*(table[n].to_pylist() for n in table.column_names), strict=True):
        if record_id in ids:
            holding.rows.setdefault(record_id, []).append(step)
    return holding


def exclude(path: Path, names: Iterable[str], why: str = "") -> list[str]:
    """Add names to a list of ids that are taken down; those that it has are not added again.

    Args:
        path: The list; it need not be there.
        names: As `normal_name` spells them.
        why: A comment that stands above them.

    Returns:
        The names that were added.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    known = {normal_name(name) for name in listed_ids(path)} if text else set()
    added = [name for name in dict.fromkeys(names) if name not in known]
    if added:
        comment = [f"# {' '.join(why.split())}"] if why else []
        before = text if not text or text.endswith("\n") else f"{text}\n"
        write_text(path, before + "\n".join([*comment, *added]) + "\n")
    return added
