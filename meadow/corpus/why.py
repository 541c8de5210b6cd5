"""What is known of one row: upstream, repairs, licence, duplicates, exams, and where it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from meadow.corpus.flags import FLAGS
from meadow.corpus.shards import read_rows
from meadow.errors import UsageError
from meadow.licenses import LICENSES

if TYPE_CHECKING:
    from meadow.corpus.folder import Corpus

MOST_LINES = 5
"""Raw files, duplicates and items of exams that the text names; the JSON has all."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: a folder, its config, its split, and how often (a mix may repeat it)."""

    folder: str
    config: str
    split: str
    times: int


@dataclass(frozen=True, slots=True)
class Twin:
    """A verified pair of duplicates in the ledger of a mix; the other row."""

    folder: str
    id: str
    source: str
    kind: str
    jaccard: float
    dropped: bool
    """Whether the other row went, and this one stands for it; else this one went."""


@dataclass(frozen=True, slots=True)
class Touch:
    """An item of an exam that the row was judged against, in the ledger of a mix."""

    folder: str
    exam: str
    item_id: str
    level: str
    score: float


@dataclass(frozen=True, slots=True)
class Why:
    """What is known of one row.

    Args:
        id: Its id.
        source: Its source; "" for a dropped row of which only a ledger knows.
        subset, source_id, url: Where upstream has it.
        license: The key of its licence, and its name.
        redistribute: yes, no or unknown.
        authors: Those whom the licence asks to name.
        inputs: The raw files that its source was read from, with their SHA-256; the row's own where
            its upstream id names it.
        rephrased_by: The model that rewrote it, or None.
        repairs: What was repaired in it.
        removed: The greetings and farewells that were removed, by form.
        flags: The quality flags that it raises.
        places: Where it stands.
        twins: The pairs of duplicates that it is in.
        exams: The items of exams that it touches.
    """

    id: str
    source: str
    subset: str | None
    source_id: str | None
    url: str | None
    license: str
    redistribute: str
    authors: tuple[str, ...]
    inputs: tuple[tuple[str, str], ...]
    rephrased_by: str | None
    repairs: tuple[str, ...]
    removed: dict[str, list[str]]
    flags: tuple[str, ...]
    places: tuple[Place, ...]
    twins: tuple[Twin, ...]
    exams: tuple[Touch, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.source} {self.id}".strip()]

        def tell(name: str, values: Sequence[str]) -> None:
            more = len(values) - MOST_LINES
            shown = [*values[:MOST_LINES], *([f"and {more:,} more"] if more > 0 else [])]
            lines.extend(f"{name if n == 0 else '':<12}{v}" for n, v in enumerate(shown))

        where = filter(None, (self.subset, self.source_id, self.url))
        unnamed = "it has neither id nor address there" if self.source else "only a ledger knows it"
        tell("upstream", [" · ".join(where) or unnamed])
        tell("raw files", [f"{path}  sha256 {sha256[:16]}…" for path, sha256 in self.inputs])
        if self.license:
            tell("licence", [f"{self.license} (redistribution: {self.redistribute})"])
        tell("authors", self.authors)
        tell("rewritten", [f"by {self.rephrased_by}"] if self.rephrased_by else [])
        tell("repairs", [", ".join(self.repairs)] if self.repairs else [])
        tell("removed", [f"{form}: {t}" for form, texts in self.removed.items() for t in texts])
        tell("flags", [", ".join(self.flags)] if self.flags else [])
        tell("stands in", [
            f"{place.folder}: {place.config}, {place.split}"
            + (f", {place.times} times" if place.times > 1 else "")
            for place in self.places
        ] or ["none of these folders"])  # fmt: skip
        tell("duplicates", [
            f"{'stands for' if twin.dropped else 'went for'} {twin.source} {twin.id} "
            f"({twin.kind}, Jaccard {twin.jaccard:.2f}) in {twin.folder}"
            for twin in self.twins
        ])  # fmt: skip
        tell("exams", [
            f"{touch.exam} {touch.item_id}: {touch.level} ({touch.score:.2f}) in {touch.folder}"
            for touch in self.exams
        ])  # fmt: skip
        return "\n".join(lines)


def explain(folders: Sequence[Corpus], record_id: str, row: dict[str, Any] | None = None) -> Why:
    """What these folders know of a row; see `Corpus.why`.

    Args:
        folders: The folders.
        record_id: The row's id, or the beginning of it.
        row: The row, where it is at hand; else it is looked for.
    """
    twins = [twin for corpus in folders for twin in _twins(corpus, record_id)]
    if row is None:
        row = next(filter(None, (corpus.find(record_id) for corpus in folders)), None)
    if row is None and not twins:
        raise UsageError(
            f"no row whose id begins with {record_id!r}, in a shard or in a ledger of duplicates",
            where=", ".join(str(corpus.folder) for corpus in folders),
            fix="`meadow show DIR` shows some ids",
        )
    row = row or {}  # only a ledger knows it
    row_id = row["id"] if row else twins[0][0]
    told = json.loads(row.get("meta", "{}"))
    license = LICENSES.get(row.get("license", ""))
    return Why(
        id=row_id,
        source=row.get("source", ""),
        subset=row.get("subset"),
        source_id=row.get("source_id"),
        url=row.get("url"),
        license=row.get("license", ""),
        redistribute=str(license.redistribute) if license else "unknown",
        authors=tuple(
            f"{each['role']}: {each['name']} {each['url'] or ''}".rstrip()
            for each in row.get("authors") or ()
        ),
        inputs=next(filter(None, (_inputs(c, row) for c in folders)), ()),
        rephrased_by=row.get("rephrased_by"),
        repairs=tuple(told.get("repairs", ())),
        removed=told.get("removed", {}),
        flags=_flags(row),
        places=tuple(place for corpus in folders for place in _places(corpus, row_id)),
        twins=tuple(twin for mine, twin in twins if mine == row_id),
        exams=tuple(touch for corpus in folders for touch in _touches(corpus, row_id)),
    )


def _inputs(corpus: Corpus, row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The raw files of a row's source; the one alone that its upstream id names, where one does."""
    entry = corpus.manifest.sources.get(row.get("source", ""))
    files = [(item.path, item.sha256) for item in entry.inputs] if entry else []
    name = (row.get("source_id") or "").partition("#")[0]
    return tuple(file for file in files if name and file[0].endswith(f"/{name}")) or tuple(files)


def _flags(row: dict[str, Any]) -> tuple[str, ...]:

    from meadow.schema import arrow_schema

    if not row:
        return ()
    schema = arrow_schema()
    frame = pl.DataFrame(pa.Table.from_pylist([{n: row[n] for n in schema.names}], schema))
    return tuple(flag.name for flag in FLAGS if frame.select(flag.raised()).item())


def _places(corpus: Corpus, row_id: str) -> list[Place]:
    found = []
    for config, splits in corpus.manifest.splits().items():
        for split in splits:
            files = corpus.files(config, split)
            times = sum(int((read_rows(path, ["id"])["id"] == row_id).sum()) for path in files)
            if times:
                found.append(Place(str(corpus.folder), config, split, times))
    return found


def _twins(corpus: Corpus, record_id: str) -> list[tuple[str, Twin]]:
    """(this row's id, the pair) of each pair with a row whose id begins so."""
    from meadow.corpus.folder import DUPLICATES

    if DUPLICATES not in corpus.manifest.named():
        return []
    pairs = corpus.duplicates()
    found = []
    for mine, other in (("kept", "dropped"), ("dropped", "kept")):
        asked = pairs.filter(pl.col(f"{mine}_id").str.starts_with(record_id))
        for pair in asked.iter_rows(named=True):
            twin = Twin(str(corpus.folder), pair[f"{other}_id"], pair[f"{other}_source"],
                        pair["kind"], pair["jaccard"], other == "dropped")  # fmt: skip
            found.append((pair[f"{mine}_id"], twin))
    return found


def _touches(corpus: Corpus, row_id: str) -> list[Touch]:

    from meadow.corpus.folder import CONTAMINATION

    if CONTAMINATION not in corpus.manifest.named():
        return []
    found = corpus.contamination().filter(pl.col("row_id") == row_id, pl.col("level") != "none")
    names = ("exam", "item_id", "level", "score")
    return [Touch(str(corpus.folder), *each) for each in found.select(names).iter_rows()]
