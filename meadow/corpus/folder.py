"""A corpus folder, opened: its shards, its rows as tables and frames, its ledgers."""

from __future__ import annotations

import hashlib
import heapq
import html
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl
import pyarrow as pa

from meadow.atomic import sha256_file
from meadow.corpus.commit import holds
from meadow.corpus.manifest import NAME, Manifest, Shard, read_manifest
from meadow.corpus.shards import check_rows, read_parquet, read_rows
from meadow.errors import CheckError, UsageError

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from meadow.corpus.why import Why

Names = str | Sequence[str] | None
"""One value or several of a column; None: any."""
REJECTS = ("source", "where", "reason", "detail", "excerpt")
"""The columns of the frame of rejects: the source, and the fields of a `Reject`."""
DUPLICATES = "duplicates.parquet"
"""The ledger of a mix that says which rows were dropped, and for which."""
CONTAMINATION = "contamination.parquet"
"""The ledger of a mix that says which rows touch which item of an exam."""
REASONING_TRIES = "reasoning_tries.parquet"
"""The sidecar of a build with every answer of a teacher that reasoned about its questions."""
PUBLISHED = "publish.json"
"""The receipt of a publication, in the folder that was published: what went where."""


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus on disk; tables are read when they are asked for.

    >>> corpus = meadow.open_corpus("corpus")
    >>> len(corpus) == corpus.rows() == corpus.to_arrow(columns=["id"]).num_rows
    True
    >>> corpus[0] == next(iter(corpus))
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

    def __len__(self) -> int:
        return self.rows()

    def __bool__(self) -> bool:
        return True  # an empty corpus is one

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every row as a dict, in the order of the shards."""
        for table in self.iter_tables():
            for batch in table.to_batches(max_chunksize=1024):
                yield from batch.to_pylist()

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> pl.DataFrame: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | pl.DataFrame:
        """One row as a dict, or a frame of several; only the shards that hold them are read."""
        if isinstance(index, slice):
            numbers = range(len(self))[index]
            ascending = numbers if numbers.step > 0 else numbers[::-1]
            found = self.rows_at(ascending)
            return found if numbers.step > 0 else found.reverse()
        return self.rows_at([range(len(self))[index]]).row(0, named=True)

    def rows_at(self, numbers: Sequence[int]) -> pl.DataFrame:
        """The rows with these numbers, ascending; only the shards that hold them are read."""
        parts, begin = [pl.DataFrame(self._empty())], 0
        for shard in self.shards():
            inside = [number - begin for number in numbers if 0 <= number - begin < shard.rows]
            if inside:
                parts.append(read_rows(self.folder / shard.path)[inside])
            begin += shard.rows
        return pl.concat(parts, how="diagonal")

    def head(self, rows: int = 5) -> pl.DataFrame:
        """The first rows."""
        return self[:rows]

    def sample(self, rows: int = 5, *, seed: int = 0, source: Names = None) -> pl.DataFrame:
        """Rows drawn by a hash of seed and id: the same ones each time.

        >>> meadow.open_corpus("corpus").sample(2).height
        2

        Args:
            rows: How many.
            seed: Another draw.
            source: Only of these sources.

        Raises:
            UsageError: There is no such source.
        """
        sources = None if source is None else _names(source)

        def order(row_id: str) -> bytes:
            return hashlib.sha256(f"{seed}:{row_id}".encode()).digest()

        chosen: list[str] = []
        seen: set[str] = set()
        for table in self.iter_tables(columns=["id", "source"]):
            pairs = list(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
            seen |= {name for _, name in pairs}
            ids = [row_id for row_id, name in pairs if sources is None or name in sources]
            chosen = heapq.nsmallest(rows, {*chosen, *ids}, key=order)
        for name in sources or ():
            self._check_known("source", name, sorted(seen))
        return self.rows_of(chosen)

    def rows_of(self, ids: Sequence[str]) -> pl.DataFrame:
        """The rows with these ids, in that order; only the shards that hold them are read whole."""
        parts = [pl.DataFrame(self._empty())]
        for path in self.files():
            found = read_rows(path, ["id"])["id"].is_in(list(ids))
            if found.any():
                parts.append(read_rows(path).filter(found))
        rows = pl.concat(parts, how="diagonal").unique("id", keep="first")
        wanted = pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})
        return wanted.join(rows, on="id", maintain_order="left").select(rows.columns)

    def filter(
        self,
        *,
        source: Names = None,
        subset: Names = None,
        task: Names = None,
        licence: Names = None,
        flag: Names = None,
        columns: list[str] | None = None,
    ) -> pl.DataFrame:
        """The rows for which everything holds that is asked for.

        >>> corpus = meadow.open_corpus("corpus")
        >>> corpus.filter(source="medqa", columns=["source"])["source"].unique().to_list()
        ['medqa']

        Args:
            source: This value of the column, or one of these.
            subset: Likewise.
            task: Likewise.
            licence: The key of the licence, in the column `license`.
            flag: A quality flag that is raised (`meadow.corpus.flags`), or one of several.
            columns: Only these.

        Raises:
            UsageError: There is no such flag or column.
        """
        from meadow.corpus.flags import FLAGS

        known = {each.name: each for each in FLAGS}
        flags = _names(flag or ())
        for name in flags:
            self._check_known("flag", name, known)
        asked = {"source": source, "subset": subset, "task": task, "license": licence}
        tests = [
            pl.col(name).is_in(_names(value)) for name, value in asked.items() if value is not None
        ]
        if flags:
            tests.append(pl.any_horizontal(known[name].raised() for name in flags))
        # shard by shard: what does not pass is never held beside the rest
        parts = [pl.DataFrame(table).filter(*tests) for table in self.iter_tables()]
        rows = pl.concat(parts or [pl.DataFrame(self._empty())], how="diagonal")
        for name in columns or ():
            self._check_known("column", name, rows.columns)
        return rows if columns is None else rows.select(columns)

    def facts(self) -> dict[str, Any]:
        """Which rows exactly, for the record of whoever uses them: the hashes of its files."""
        return {
            "folder": str(self.folder),
            "stage": self.manifest.stage,
            "config_hash": self.manifest.config_hash,
            "manifest_sha256": sha256_file(self.folder / NAME),
            "shards": [
                {"path": shard.path, "rows": shard.rows, "sha256": shard.sha256}
                for shard in self.manifest.shards()
            ],
        }

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
        if tables := list(self.iter_tables(config, split, columns)):
            return pa.concat_tables(tables)
        return self._empty() if columns is None else self._empty().select(columns)

    @staticmethod
    def _empty() -> pa.Table:

        from meadow.schema import arrow_schema

        # an `empty_table` is made of Python lists, for which pyarrow imports pandas
        return pa.Table.from_batches([], arrow_schema())

    def scan(self, config: str | None = None, split: str | None = None) -> pl.LazyFrame:
        """All rows as a lazy polars frame, which reads what a query needs and no more.

        >>> corpus = meadow.open_corpus("corpus")
        >>> corpus.scan().group_by("source").len().collect().height == len(corpus.configs)
        True

        The hashes of the pages are not compared on this way; `verify` compares the files'.
        """
        files = self.files(config, split)
        return pl.scan_parquet(files) if files else pl.DataFrame(self._empty()).lazy()

    def to_polars(
        self,
        config: str | None = None,
        split: str | None = None,
        columns: list[str] | None = None,
    ) -> pl.DataFrame:
        """All rows as a polars frame."""
        return pl.DataFrame(self.to_arrow(config, split, columns))

    def to_pandas(self, config: str | None = None, split: str | None = None) -> pd.DataFrame:
        """All rows as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow(config, split).to_pandas()
        return frame

    @overload
    def to_datasets(
        self, config: str | None = None, split: None = None, *, streaming: Literal[False] = False
    ) -> datasets.DatasetDict: ...
    @overload
    def to_datasets(
        self, config: str | None = None, split: None = None, *, streaming: Literal[True]
    ) -> datasets.IterableDatasetDict: ...
    @overload
    def to_datasets(
        self, config: str | None, split: str, *, streaming: Literal[False] = False
    ) -> datasets.Dataset: ...
    @overload
    def to_datasets(
        self, config: str | None, split: str, *, streaming: Literal[True]
    ) -> datasets.IterableDataset: ...

    def to_datasets(
        self, config: str | None = None, split: str | None = None, *, streaming: bool = False
    ) -> Any:
        """The splits (or one) as Hugging Face datasets, memory-mapped, or read as they stream.

        Args:
            config: None: all.
            split: None: a dict of all.
            streaming: Iterable data sets, which copy nothing into the cache.

        Raises:
            UsageError: There is no such config or split.
        """
        import datasets

        self.shards(config, split)  # says which there are
        splits = self.manifest.splits()
        names = dict.fromkeys(
            name for key, item in splits.items() if config in (None, key) for name in item
        )
        files = {
            name: [str(path) for path in self.files(config, name)]
            for name in names
            if split in (None, name)
        }
        return datasets.load_dataset("parquet", data_files=files, split=split, streaming=streaming)

    def to_jsonl(
        self, path: Path | str, config: str | None = None, split: str | None = None
    ) -> int:
        """Write the rows as JSON lines; how many. `meadow.convert` has the other forms.

        Every column of a row; `meta` as the object that it is.

        Raises:
            UsageError: There are no such rows, or the file is there and holds something else.
        """
        from meadow.corpus.lines import write_lines

        write_lines(self, "rows", Path(path), split, config)
        return self.rows(config, split)

    def rejects(self, source: Names = None) -> pl.DataFrame:
        """The candidates of which no row was made: source, where, reason, detail, excerpt.

        >>> rejects = meadow.open_corpus("corpus").rejects("medqa")
        >>> rejects.row(0)[:3]
        ('medqa', 'medqa/train.jsonl:23', 'answer_not_in_options')

        A mix has none: its steps are counted in the manifest, its dropped rows in the ledgers.
        """
        rows = []
        for name, entry in self.manifest.sources.items():
            wanted = source is None or name in _names(source)
            if wanted and self.manifest.stage == "build":
                text = (self.folder / entry.quarantine.path).read_text(encoding="utf-8")
                for line in text.splitlines():
                    told = json.loads(line)
                    rows.append((name, *(told.get(column, "") for column in REJECTS[1:])))
        return pl.DataFrame(rows, schema=dict.fromkeys(REJECTS, pl.String), orient="row")

    def duplicates(self) -> pl.DataFrame:
        """The rows that a mix dropped as duplicates, each beside the row that it kept.

        Raises:
            UsageError: This is no mix.
        """
        return self._ledger(DUPLICATES)

    def contamination(self) -> pl.DataFrame:
        """Which rows of a mix touch which item of an exam, at what level; what was removed, too.

        Raises:
            UsageError: This is no mix.
        """
        return self._ledger(CONTAMINATION)

    def _ledger(self, name: str) -> pl.DataFrame:

        if name not in self.manifest.named():
            raise UsageError(
                f"a {self.manifest.stage} has no ledger of {name.removesuffix('.parquet')}",
                where=str(self.folder),
                fix="open a mix: `meadow mix` writes it",
            )
        return pl.DataFrame(read_parquet(self.folder / name))

    def why(self, record_id: str, *, mixes: Sequence[Corpus] = ()) -> Why:
        """What is known of one row: where it comes from, what was done to it, and where it went.

        >>> corpus = meadow.open_corpus("corpus")
        >>> why = corpus.why(corpus[0]["id"], mixes=[meadow.open_corpus("mix")])
        >>> why.source, why.places[0].config
        ('medqa', 'medqa')

        Args:
            record_id: Its id, or the beginning of it; a row that a ledger calls dropped will do.
            mixes: Mixes of this corpus (and other folders) to look into.

        Raises:
            UsageError: No folder knows the id.
        """
        from meadow.corpus.why import explain

        return explain([self, *mixes], record_id)

    def find(self, record_id: str) -> dict[str, Any] | None:
        """The row with that id (a prefix will do), or None."""
        for path in self.files():
            found = read_rows(path, ["id"])["id"].str.starts_with(record_id)
            if found.any():
                row: dict[str, Any] = read_rows(path).filter(found).row(0, named=True)
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
                count = f"{sum(shard.rows for shard in shards):,}"
                size = f"{sum(shard.bytes for shard in shards) / 1e6:,.1f}"
                cells = (config, split, count, rejected, size)
                rows.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
        head = "".join(f"<th>{name}</th>" for name in ("config", "split", "rows", "rejected", "MB"))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<div><strong>{html.escape(repr(self))}</strong>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
