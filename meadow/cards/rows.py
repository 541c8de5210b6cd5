"""What the rows of a folder are, by source: counted and measured, never stated by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.corpus.manifest import Manifest, Shard
from meadow.corpus.shards import many_rows, read_rows
from meadow.licenses import LICENSES
from meadow.source import Apply, Provenance, Source, apply_here
from meadow.text.language import languages_of, looked_at

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Locate = Callable[[str], Path]
"""Where a file of a manifest lies (it may still be staged)."""
PAIRS = "raw_pairs"
FORMS = {"turns": '"turns":', "reason": '"reason":{'}
"""What `meta` holds where a row is a conversation of several turns, or was reasoned about."""
SCRUBBED = "scrubbed_"
LANGUAGES = "languages"
"""Of a source's facts: who builds it counts the languages of the rows that it writes."""
_CODE = re.compile("[a-z]{2,3}")
_OF_THE_SOURCE = ("title", "homepage", "citation", "license_note", "provenance")


@dataclass(slots=True)
class SourceRows:
    """One source as the folder holds it.

    Args:
        name: Of the source, as what follows to `provenance`.
        known: The source; None where neither the house nor the folder says what it is.
        rows: How many.
        licenses: Licence key -> rows.
        tasks: Task -> rows.
        rewritten: Model -> rows that it rewrote.
        forms: "turns" and "reason" -> rows that are conversations of several turns, and rows that
            a teacher reasoned about.
        repairs: Repair -> rows whose `meta` names it.
        vouched: (licence, who, when) -> rows for whose licence somebody answers.
        languages: Language -> rows, of those that were looked at and long enough to tell.
    """

    name: str
    title: str
    homepage: str = ""
    citation: str = ""
    license_note: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    known: Source | None = None
    rows: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    vouched: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    @property
    def scrubbed(self) -> dict[str, int]:
        """Kind of personal data -> rows in which a placeholder stands for it."""
        return {
            name.removeprefix(SCRUBBED): rows
            for name, rows in sorted(self.repairs.items())
            if name.startswith(SCRUBBED)
        }


Told = Counter[tuple[str, str, Any]]
"""(source, field of `SourceRows`, value) -> rows."""


@many_rows()
def _told(task: tuple[Path, bool]) -> Told:
    """What the rows of a shard say of themselves; their languages may be counted already."""
    import polars as pl

    shard, measured = task
    frame = read_rows(shard, ["source", "license", "task", "rephrased_by", "meta"])
    named = pl.col("meta").str.extract(r'"repairs":\[([^\]]*)\]').str.extract_all(r"\w+")
    noted = frame.select("source", repairs=named).explode("repairs")
    told: Told = Counter()
    for field_name, column, rows in (
        ("licenses", "license", frame),
        ("tasks", "task", frame),
        ("rewritten", "rephrased_by", frame),
        ("repairs", "repairs", noted),
    ):
        counted = rows.select("source", column).drop_nulls().group_by("source", column).len()
        for source, value, count in sorted(counted.iter_rows()):
            told[source, field_name, value] += count
    for form, mark in FORMS.items():
        marked = frame.filter(pl.col("meta").str.contains(mark, literal=True))
        for source, count in marked.group_by("source").len().iter_rows():
            told[source, "forms", form] += count
    for (source, vouch), count in _vouched(frame).items():
        told[source, "vouched", vouch] += count
    if not measured:
        for (source, language), count in _languages(shard, frame.height).items():
            told[source, LANGUAGES, language] += count
    return told


def training_shards(manifest: Manifest) -> Iterator[Shard]:
    """Every shard but those of the originals of rewritten rows."""
    for config, splits in manifest.splits().items():
        if config != PAIRS:
            yield from chain.from_iterable(splits.values())


def rows_by_source(
    manifest: Manifest, locate: Locate, apply: Apply = apply_here
) -> list[SourceRows]:
    """Every source that has rows in the folder, by name; `apply` looks at the shards."""
    from meadow.sources import with_own

    sources = with_own(manifest.own_sources)
    told: Told = Counter()
    counted: set[str] = set()
    if manifest.stage == "build":
        for name, entry in manifest.sources.items():
            spoken = sorted(entry.facts.get(LANGUAGES, {}).items())
            if spoken and all(_CODE.fullmatch(code) for code, _ in spoken):
                told.update({(name, LANGUAGES, code): rows for code, rows in spoken})
                counted.update(shard.path for shard in entry.shards)
    shards = [(locate(each.path), each.path in counted) for each in training_shards(manifest)]
    for counts in apply(_told, shards):
        told.update(counts)
    found: dict[str, SourceRows] = {}
    for (name, field_name, value), rows in told.items():
        if name not in found:
            found[name] = SourceRows(name, name)
            if known := sources.get(name):
                told_of = {field: getattr(known, field) for field in _OF_THE_SOURCE}
                found[name] = SourceRows(name, **told_of, known=known)
        getattr(found[name], field_name)[value] += rows
        if field_name == "licenses":  # which every row has
            found[name].rows += rows
    return [found[name] for name in sorted(found)]


def _vouched(frame: pl.DataFrame) -> Counter[tuple[str, tuple[str, str, str]]]:
    """(source, (licence, who, when)) -> rows for whose licence somebody answers."""
    import polars as pl

    counts: Counter[tuple[str, tuple[str, str, str]]] = Counter()
    # one text of `meta` for each answer: they are the same in thousands of rows
    told = pl.col("meta").str.extract(r'("vouched":\{.*?\})')
    frame = frame.filter(pl.col("meta").str.contains('"vouched":', literal=True))
    for source, text, rows in frame.group_by("source", told).len().iter_rows():
        try:
            vouch = json.loads(f"{{{text}}}")["vouched"]
            key = (str(vouch["licence"]), str(vouch["who"]), str(vouch["when"]))
        except (ValueError, KeyError, TypeError):
            continue  # a corpus can come from anybody: `meadow check` says what is wrong
        counts[source, key] += rows
    return counts


def refused_rows(
    read: Callable[[list[str]], pa.Table], sources: Mapping[str, Source]
) -> Counter[tuple[str, str]]:
    """(source, licence or why) -> rows of a shard that may not be published.

    Args:
        read: Gives columns of the shard; `meta` is asked for only where a licence is disputed.
        sources: The sources that are known: `with_own` of the manifest's.
    """
    import polars as pl

    columns = ["source", "license"]
    refused: Counter[tuple[str, str]] = Counter()
    for source, license, rows in pl.DataFrame(read(columns)).group_by(columns).len().iter_rows():
        known = LICENSES.get(license)
        if known is None or known.redistribute != "yes":
            refused[str(source), license or "none stated"] += rows
        elif source in sources and sources[source].disputed:
            own = (pl.col("source") == source) & (pl.col("license") == license)
            silent = ~pl.col("meta").str.contains('"vouched":', literal=True)
            if count := pl.DataFrame(read([*columns, "meta"])).filter(own & silent).height:
                why = f"{license}, which is disputed: {sources[source].disputed}"
                refused[source, why] += count
    return refused


def _languages(shard: Path, height: int) -> Counter[tuple[str, str]]:
    """(source, language) -> rows, of some rows that stand evenly in a shard."""
    rows = read_rows(shard, ["source", "input", "output"], every=looked_at(height))
    counts: Counter[tuple[str, str]] = Counter()
    for (source,), own in rows.group_by("source", maintain_order=True):
        for language, found in languages_of(own.select("input", "output").iter_rows()).items():
            counts[str(source), language] = found
    return counts


def languages(sources: Iterable[SourceRows]) -> list[str]:
    """The languages of a folder, the most frequent first: those of one row in fifty and more."""
    counts: Counter[str] = sum((source.languages for source in sources), Counter())
    least = 0.02 * counts.total()
    return [name for name, rows in counts.most_common() if rows >= least]
