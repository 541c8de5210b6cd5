"""What changed between two corpora, row by row: by id, by content, by source.

A row is *changed* when its id is in both and a column differs; *renamed* when its texts are in both
under different ids (an upstream that renumbered); *added* or *removed* otherwise. The columns of
a record are frozen: a corpus that lacks one, or has it with another type, is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from meadow.corpus.flags import TEXTS
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import COLUMNS, EXCERPT_LENGTH, arrow_schema

KINDS = ("added", "removed", "changed", "renamed", "unchanged")
EXAMPLES = 3
_HASHED = [name for name in COLUMNS if name not in {"id", "source"}]
_COMPARED = (*(name for name in COLUMNS if name != "id"), "copies")


@dataclass(frozen=True, slots=True)
class Difference:
    """The outcome of a comparison.

    Args:
        sources: Source -> kind -> rows.
        columns: Column -> rows in which it changed.
        inputs: Source -> raw files that are new, gone or other than before (builds only).
        new_columns: Columns that are no part of a record, in either corpus.
        examples: Kind -> some rows: source, id, and the columns that differ, old and new.
    """

    sources: dict[str, dict[str, int]]
    columns: dict[str, int]
    inputs: dict[str, list[str]]
    new_columns: list[str]
    examples: dict[str, list[dict[str, Any]]]

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
        return {"total": self.total, **asdict(self)}


def diff_corpora(old: Corpus, new: Corpus, *, examples: int = EXAMPLES) -> Difference:
    """Compare two corpora or mixes, and show some rows per kind.

    Raises:
        UpstreamChangedError: A column of the record is missing or has another type.
    """
    extra = sorted({*_further_columns(old), *_further_columns(new)})
    both = _fingerprints(old).join(
        _fingerprints(new), on="id", how="full", suffix="_new", coalesce=True
    )
    differs = {name: pl.col(name).ne_missing(pl.col(f"{name}_new")) for name in _COMPARED}
    kind = (
        pl.when(pl.col("source").is_null())
        .then(pl.lit("added"))
        .when(pl.col("source_new").is_null())
        .then(pl.lit("removed"))
        .when(pl.any_horizontal(*differs.values()))
        .then(pl.lit("changed"))
        .otherwise(pl.lit("unchanged"))
    )
    both = _pair_renamed(
        both.with_columns(
            kind.alias("kind"),
            pl.coalesce("source_new", "source").alias("name"),
            pl.coalesce("texts_new", "texts").alias("content"),
        )
    )
    sources: dict[str, dict[str, int]] = {}
    for name, found, rows in both.group_by("name", "kind").len().sort("name").iter_rows():
        sources.setdefault(name, dict.fromkeys(KINDS, 0))[found] = rows
    changed = both.filter(pl.col("kind") == "changed").select(
        test.sum().alias(name) for name, test in differs.items()
    )
    return Difference(
        sources=sources,
        columns={name: rows for name, rows in changed.row(0, named=True).items() if rows},
        inputs=changed_inputs(old.manifest, new.manifest),
        new_columns=extra,
        examples=_examples(both, old, new, examples),
    )


def _further_columns(corpus: Corpus) -> list[str]:
    """The columns beyond those of a record.

    Raises:
        UpstreamChangedError: A column of the record is missing or has another type.
    """
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
    types = dict(zip(schema.names, schema.types, strict=True))
    return [
        f"{field.name} is {types[field.name]}, not {field.type}"
        if field.name in types
        else f"{field.name} is missing"
        for field in arrow_schema()
        if types.get(field.name) != field.type
    ]


def _fingerprints(corpus: Corpus) -> pl.DataFrame:
    """Per id a hash of every column: what is compared without holding the texts."""
    parts = [
        pl.DataFrame(
            schema={"id": pl.String, "source": pl.String}
            | dict.fromkeys([*_HASHED, "texts"], pl.UInt64)
        )
    ]
    texts = pl.concat_str(pl.col(TEXTS).fill_null(""), separator="\x1f")
    authors = pl.col("authors").list.eval(pl.element().struct.json_encode()).list.join("\x1f")
    for table in corpus.iter_tables(columns=list(COLUMNS)):
        frame = pl.DataFrame(table).with_columns(authors)
        parts.append(frame.select("id", "source", pl.col(_HASHED).hash(7), texts=texts.hash(7)))
    rows = pl.concat(parts)
    copies = rows.group_by("id").agg(pl.len().alias("copies"))
    return rows.unique("id", keep="first", maintain_order=True).join(copies, on="id", how="left")


def _pair_renamed(both: pl.DataFrame) -> pl.DataFrame:
    """A removed and an added row of one source with the same texts are one row, renamed."""
    key = ["name", "content"]
    nth = pl.int_range(pl.len()).over(key)  # two rows of the same texts are two renamed rows
    added = both.filter(pl.col("kind") == "added").sort("id")
    removed = both.filter(pl.col("kind") == "removed").sort("id")
    names = added.select(*key, "id", nth.alias("nth")).join(
        removed.select(*key, pl.col("id").alias("old_id"), nth.alias("nth")), on=[*key, "nth"]
    )
    renamed = pl.when(pl.col("old_id").is_not_null()).then(pl.lit("renamed"))
    return (
        both.join(names.select("id", "old_id"), on="id", how="left")
        .filter(~pl.col("id").is_in(names["old_id"].implode()))
        .with_columns(renamed.otherwise("kind").alias("kind"))
    )


def _examples(
    both: pl.DataFrame, old: Corpus, new: Corpus, count: int
) -> dict[str, list[dict[str, Any]]]:
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
    wanted = pl.col("id").is_in(ids)
    tables = (pl.DataFrame(table).filter(wanted) for table in corpus.iter_tables())
    return {row["id"]: row for frame in tables for row in frame.iter_rows(named=True)}


def _excerpt(value: Any) -> Any:
    return value[:EXCERPT_LENGTH] if isinstance(value, str) else value


def changed_inputs(old: Manifest, new: Manifest) -> dict[str, list[str]]:
    """Per source of both manifests the raw files that are new, gone or other than before."""
    changes = {}
    for name in sorted(old.sources.keys() & new.sources.keys()):
        before, after = (
            {item.path: item.sha256 for item in manifest.sources[name].inputs}
            for manifest in (old, new)
        )
        both = {path for path in before.keys() & after.keys() if before[path] != after[path]}
        found = {
            "gone": before.keys() - after.keys(),
            "new": after.keys() - before.keys(),
            "other content": both,
        }
        changes[name] = [f"{path}: {how}" for how, paths in found.items() for path in sorted(paths)]
    return {name: lines for name, lines in changes.items() if lines}
