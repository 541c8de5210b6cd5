"""What changed between two corpora, row by row: by id, by content, by source.

A row is *changed* when its id is in both and a column differs; *renamed* when its texts are in both
under different ids (an upstream that renumbered); *added* or *removed* otherwise. The columns of
a record are frozen: a corpus that lacks one, or has it with another type, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import COLUMNS, EXCERPT_LENGTH, arrow_schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

TEXTS = ("instruction", "input", "output")
KINDS = ("added", "removed", "changed", "renamed", "unchanged")
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """The outcome of a comparison.

    Args:
        sources: Source -> kind -> rows.
        columns: Column -> rows in which it changed.
        examples: Kind -> some rows: source, id, and the columns that differ, old and new.
        inputs: Source -> raw files that are new, gone or other than before (builds only).
        new_columns: Columns that are no part of a record, in either corpus.
    """

    sources: dict[str, dict[str, int]]
    columns: dict[str, int]
    examples: dict[str, list[dict[str, Any]]]
    inputs: dict[str, list[str]]
    new_columns: list[str]

    @property
    def total(self) -> dict[str, int]:
        """Kind -> rows."""
        return {kind: sum(counts[kind] for counts in self.sources.values()) for kind in KINDS}

    @property
    def identical(self) -> bool:
        """Whether every row is the same."""
        return all(not self.total[kind] for kind in KINDS if kind != "unchanged")

    def to_json(self) -> dict[str, Any]:
        """The document of `meadow diff --json`."""
        return {
            "total": self.total,
            "sources": self.sources,
            "columns": self.columns,
            "inputs": self.inputs,
            "new_columns": self.new_columns,
            "examples": self.examples,
        }


def diff_corpora(old: Corpus, new: Corpus, *, examples: int = EXAMPLES) -> Difference:
    """Compare two corpora or mixes.

    Args:
        old: The one before.
        new: The one after.
        examples: Rows that are shown per kind.

    Raises:
        UpstreamChangedError: A column of the record is missing or has another type.
    """
    import polars as pl

    extra = sorted({*_further_columns(old), *_further_columns(new)})
    left, right = _fingerprints(old), _fingerprints(new)
    both = left.join(right, on="id", how="full", suffix="_new", coalesce=True)
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_new")) for name in _COMPARED)
    kind = (
        pl.when(pl.col("source").is_null())
        .then(pl.lit("added"))
        .when(pl.col("source_new").is_null())
        .then(pl.lit("removed"))
        .when(same)
        .then(pl.lit("unchanged"))
        .otherwise(pl.lit("changed"))
    )
    both = both.with_columns(kind.alias("kind")).with_columns(
        pl.coalesce("source_new", "source").alias("name"),
        pl.coalesce("texts_new", "texts").alias("content"),
    )
    both = _pair_renamed(both)
    counts = both.group_by("name", "kind").len()
    sources: dict[str, dict[str, int]] = {}
    for name, found, rows in counts.sort("name").iter_rows():
        sources.setdefault(name, dict.fromkeys(KINDS, 0))[found] = rows
    changed = both.filter(pl.col("kind") == "changed")
    columns = {
        name: int(changed.select(pl.col(name).ne_missing(pl.col(f"{name}_new")).sum()).item())
        for name in _COMPARED
    }
    return Difference(
        sources=sources,
        columns={name: rows for name, rows in columns.items() if rows},
        examples=_examples(both, old, new, examples),
        inputs=changed_inputs(old.manifest, new.manifest),
        new_columns=extra,
    )


_COMPARED = (*(name for name in COLUMNS if name != "id"), "copies")


def _further_columns(corpus: Corpus) -> list[str]:
    """The columns beyond those of a record.

    Raises:
        UpstreamChangedError: A column of the record is missing or has another type.
    """
    import pyarrow.parquet as pq

    further: dict[str, None] = {}
    for path in corpus.files():
        try:
            schema = pq.read_schema(path)
        except (OSError, ValueError) as error:
            raise FileError(
                f"the shard cannot be read: {error}", where=str(path), fix="build or pull it again"
            ) from error
        if lines := schema_drift(schema):
            raise UpstreamChangedError(
                "the columns are not those of a record: " + "; ".join(lines),
                where=str(path),
                fix="build the corpus again with this version, or compare with the version that "
                "wrote it",
            )
        further |= dict.fromkeys(name for name in schema.names if name not in COLUMNS)
    return list(further)


def schema_drift(schema: pa.Schema) -> list[str]:
    """How a shard's columns differ from those that a record needs; new columns are no drift."""
    lines = []
    for field in arrow_schema():
        if field.name not in schema.names:
            lines.append(f"{field.name} is missing")
        elif schema.field(field.name).type != field.type:
            lines.append(f"{field.name} is {schema.field(field.name).type}, not {field.type}")
    return lines


def _fingerprints(corpus: Corpus) -> pl.DataFrame:
    """Per id a hash of every column: what is compared without holding the texts."""
    import polars as pl

    parts = []
    for table in corpus.iter_tables(columns=list(COLUMNS)):
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        authors = pl.col("authors").list.eval(pl.element().struct.json_encode()).list.join("\x1f")
        frame = frame.with_columns(authors.alias("authors"))
        hashed = [pl.col(name).hash(7) for name in COLUMNS if name not in {"id", "source"}]
        texts = pl.concat_str([pl.col(name).fill_null("") for name in TEXTS], separator="\x1f")
        parts.append(frame.select("id", "source", *hashed, texts.hash(7).alias("texts")))
    if not parts:
        hashes = dict.fromkeys([*(c for c in COLUMNS if c not in {"id", "source"}), "texts"])
        schema = {"id": pl.String, "source": pl.String} | dict.fromkeys(hashes, pl.UInt64)
        parts.append(pl.DataFrame(schema=schema))
    rows = pl.concat(parts)
    copies = rows.group_by("id").agg(pl.len().alias("copies"))
    return rows.unique("id", keep="first", maintain_order=True).join(copies, on="id", how="left")


def _pair_renamed(both: pl.DataFrame) -> pl.DataFrame:
    """A removed and an added row of one source with the same texts are one row, renamed."""
    import polars as pl

    key = ["name", "content"]
    order = pl.int_range(pl.len()).over("name", "content")
    added = both.filter(pl.col("kind") == "added").sort("id").with_columns(order.alias("nth"))
    removed = both.filter(pl.col("kind") == "removed").sort("id").with_columns(order.alias("nth"))
    pairs = added.select(*key, "nth", "id").join(
        removed.select(*key, "nth", pl.col("id").alias("old_id")), on=[*key, "nth"]
    )
    names = pairs.select("id", "old_id")
    return (
        both.join(names, on="id", how="left")
        .filter(~pl.col("id").is_in(names["old_id"].implode()))
        .with_columns(
            pl.when(pl.col("old_id").is_not_null())
            .then(pl.lit("renamed"))
            .otherwise("kind")
            .alias("kind")
        )
    )


def _examples(
    both: pl.DataFrame, old: Corpus, new: Corpus, count: int
) -> dict[str, list[dict[str, Any]]]:
    import polars as pl

    chosen = (
        both.filter(pl.col("kind") != "unchanged")
        .sort("name", "id")
        .group_by("kind", maintain_order=True)
        .head(count)
    )
    rows = chosen.select("kind", "name", "id", "old_id").to_dicts()
    before = _rows(old, [row["old_id"] or row["id"] for row in rows])
    after = _rows(new, [row["id"] for row in rows])
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        one = before.get(row["old_id"] or row["id"], {})
        other = after.get(row["id"], {})
        example = {"source": row["name"], "id": row["id"]}
        if row["old_id"]:
            example["old_id"] = row["old_id"]
        for name in COLUMNS if row["kind"] == "changed" else ("input", "output"):
            if one.get(name) != other.get(name) or row["kind"] == "renamed":
                example[name] = {"old": _excerpt(one.get(name)), "new": _excerpt(other.get(name))}
        found.setdefault(row["kind"], []).append(example)
    return found


def _rows(corpus: Corpus, ids: list[str]) -> dict[str, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, dict[str, Any]] = {}
    for table in corpus.iter_tables():
        hits = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))
        found |= {row["id"]: row for row in hits.to_pylist()}
    return found


def _excerpt(value: Any) -> Any:
    return value[:EXCERPT_LENGTH] if isinstance(value, str) else value


def changed_inputs(old: Manifest, new: Manifest) -> dict[str, list[str]]:
    """Per source of both manifests the raw files that are new, gone or other than before."""
    changes: dict[str, list[str]] = {}
    for name in sorted(old.sources.keys() & new.sources.keys()):
        before, after = (
            {item.path: item.sha256 for item in manifest.sources[name].inputs}
            for manifest in (old, new)
        )
        lines = [f"{path}: gone" for path in sorted(before.keys() - after.keys())]
        lines += [f"{path}: new" for path in sorted(after.keys() - before.keys())]
        lines += [
            f"{path}: other content"
            for path in sorted(before.keys() & after.keys())
            if before[path] != after[path]
        ]
        if lines:
            changes[name] = lines
    return changes
