"""A corpus folder, opened: its shards, its rows as tables, and whether it is whole."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.corpus.commit import holds
from meadow.corpus.manifest import Manifest, Shard, read_manifest
from meadow.corpus.shards import check_rows, read_parquet
from meadow.errors import CheckError, UsageError

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus on disk; tables are read when they are asked for.

    >>> corpus = meadow.open_corpus("corpus")
    >>> corpus.rows() == corpus.to_arrow(columns=["id"]).num_rows
    True

    Args:
        folder: Where it lies.
        manifest: What it holds.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> Corpus:
        """Open a folder of this machine; `meadow.open_corpus` takes addresses too.

        Args:
            folder: One with a MANIFEST.json.
            verify: Hold every shard to its hash first.

        Raises:
            FileError: The folder holds no finished corpus.
            CheckError: A shard is not what the manifest says.
        """
        corpus = cls(folder, read_manifest(folder))
        if verify:
            corpus.verify()
        return corpus

    @property
    def configs(self) -> list[str]:
        """The configs: one per source for a build, one per mix for a mix."""
        return list(self.manifest.splits())

    def shards(self, config: str | None = None, split: str | None = None) -> list[Shard]:
        """The shards of a config (all configs) and a split (all splits), in order.

        Raises:
            UsageError: There is no such config or split.
        """
        splits = self.manifest.splits()
        self._check_known("config", config, splits)
        chosen = [splits[config]] if config is not None else list(splits.values())
        self._check_known("split", split, dict.fromkeys(name for item in chosen for name in item))
        return [
            shard
            for item in chosen
            for name, shards in item.items()
            if split in (None, name)
            for shard in shards
        ]

    def _check_known(self, what: str, name: str | None, known: Collection[str]) -> None:
        if name is not None and name not in known:
            raise UsageError(
                f"no {what} {name!r} in this corpus",
                where=str(self.folder),
                fix=f"one of {', '.join(known) or 'none: it is empty'}",
            )

    def files(self, config: str | None = None, split: str | None = None) -> list[Path]:
        """The shards' paths."""
        return [self.folder / shard.path for shard in self.shards(config, split)]

    def rows(self, config: str | None = None, split: str | None = None) -> int:
        """How many rows there are, from the manifest."""
        return sum(shard.rows for shard in self.shards(config, split))

    def verify(self) -> None:
        """Hold every shard to its hash.

        Raises:
            CheckError: A shard is missing or differs.
        """
        for shard in self.shards():
            path = self.folder / shard.path
            if not holds(path, shard.sha256):
                raise CheckError(
                    "a shard is missing or not what the manifest says",
                    where=str(path),
                    fix="build or pull it again",
                )

    def iter_tables(
        self,
        config: str | None = None,
        split: str | None = None,
        columns: list[str] | None = None,
    ) -> Iterator[pa.Table]:
        """One Arrow table per shard, page checksums verified, its columns held to the schema.

        Raises:
            FileError: A shard cannot be read.
            CheckError: Its rows are not those of a corpus.
        """
        for path in self.files(config, split):
            table = read_parquet(path, columns)
            check_rows(table, path, columns)
            yield table

    def to_arrow(
        self,
        config: str | None = None,
        split: str | None = None,
        columns: list[str] | None = None,
    ) -> pa.Table:
        """All rows as one Arrow table."""
        import pyarrow as pa

        from meadow.schema import arrow_schema

        tables = list(self.iter_tables(config, split, columns))
        if not tables:
            schema = arrow_schema()
            return schema.empty_table() if columns is None else schema.empty_table().select(columns)
        return pa.concat_tables(tables)

    def to_polars(
        self,
        config: str | None = None,
        split: str | None = None,
        columns: list[str] | None = None,
    ) -> pl.DataFrame:
        """All rows as a polars frame."""
        import polars as pl

        return pl.DataFrame(self.to_arrow(config, split, columns))

    def to_pandas(self, config: str | None = None, split: str | None = None) -> pd.DataFrame:
        """All rows as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow(config, split).to_pandas()
        return frame

    def to_datasets(self, config: str | None = None) -> datasets.DatasetDict:
        """The splits as a `datasets.DatasetDict`, memory-mapped by datasets."""
        import datasets

        splits = self.manifest.splits()
        names = dict.fromkeys(
            name for key, item in splits.items() if config in (None, key) for name in item
        )
        files = {name: [str(path) for path in self.files(config, name)] for name in names}
        loaded: Any = datasets.load_dataset("parquet", data_files=files)
        return loaded

    def find(self, record_id: str) -> dict[str, Any] | None:
        """The row with that id (a unique prefix will do), or None."""
        import pyarrow.compute as pc

        for table in self.iter_tables():
            hits = table.filter(pc.starts_with(table["id"], record_id))
            if hits.num_rows:
                row: dict[str, Any] = hits.slice(0, 1).to_pylist()[0]
                return row
        return None

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}, {self.rows():,} rows, {len(self.configs)} configs)"

    def _repr_html_(self) -> str:
        """A table of configs for notebooks; every text escaped."""
        rows = []
        for config, splits in self.manifest.splits().items():
            for split, shards in splits.items():
                entry = self.manifest.sources.get(config)
                rejected = f"{sum(entry.rejected.values()):,}" if entry else ""
                cells = [
                    config,
                    split,
                    f"{sum(shard.rows for shard in shards):,}",
                    rejected,
                    f"{sum(shard.bytes for shard in shards) / 1e6:,.1f}",
                ]
                rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
        head = "".join(f"<th>{name}</th>" for name in ("config", "split", "rows", "rejected", "MB"))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<div><strong>{html.escape(repr(self))}</strong>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
