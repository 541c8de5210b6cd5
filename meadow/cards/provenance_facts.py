"""What a folder holds of each source, measured from its shards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from meadow.cards.header import Locate
from meadow.corpus.manifest import Manifest

PAIRS = "raw_pairs"


@dataclass(slots=True)
class SourceRows:
    """One source as the folder holds it.

    Args:
        name: The source's name.
        title: For people.
        homepage: Where it comes from.
        citation: Whom to cite.
        license_note: What the licence key cannot say.
        rows: How many.
        licenses: Licence key -> rows.
        tasks: Task -> rows.
        rewritten: Model -> rows that it rewrote.
    """

    name: str
    title: str
    homepage: str = ""
    citation: str = ""
    license_note: str = ""
    rows: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)


def rows_by_source(manifest: Manifest, locate: Locate) -> list[SourceRows]:
    """Every source that has rows in the folder, by name.

    Args:
        manifest: What the folder holds.
        locate: Where a file of the manifest lies.
    """
    import pyarrow.parquet as pq

    from meadow.sources import SOURCES

    columns = ["source", "license", "task", "rephrased_by"]
    counts: Counter[tuple[str, str, str, str | None]] = Counter()
    for config, splits in manifest.splits().items():
        if config == PAIRS:
            continue
        for shards in splits.values():
            for shard in shards:
                table = pq.read_table(locate(shard.path), columns=columns)
                grouped = table.group_by(columns).aggregate([([], "count_all")])
                for row in grouped.to_pylist():
                    key = (row["source"], row["license"], row["task"], row["rephrased_by"])
                    counts[key] += row["count_all"]
    found: dict[str, SourceRows] = {}
    for (name, license, task, model), rows in sorted(counts.items(), key=lambda p: str(p[0])):
        if name not in found:
            known = SOURCES.get(name)
            found[name] = (
                SourceRows(name, known.title, known.homepage, known.citation, known.license_note)
                if known
                else SourceRows(name, name)
            )
        entry = found[name]
        entry.rows += rows
        entry.licenses[license] += rows
        entry.tasks[task] += rows
        if model is not None:
            entry.rewritten[model] += rows
    return [found[name] for name in sorted(found)]
