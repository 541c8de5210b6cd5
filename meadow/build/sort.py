"""The external sort: rows wait on disk until their order is known, so that memory stays small.

Batches go to an Arrow file as they come; of each row only its keys stay in memory. When all rows
are in, the keys say which rows are duplicates or in conflict and how the others are ordered, and
these are taken out of the mapped file, slice by slice.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import naming
from meadow.build.transform import Batch, keys_of, row_schema
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import COLUMNS, Reason, Reject

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SLICE_ROWS = 4096
_MOST_HELD = 128 * 1024**2
"""Bytes of a file that is held as one batch: rows are taken of it for less than half the price."""


class ExternalSort:
    """The rows of one source between transform and shards.

    Args:
        path: The temporary Arrow file; it is gone after the last slice, or when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, row_schema())
        self._keys: list[pl.DataFrame] = []
        self._excluded: set[bytes] = set()

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        if batch.rows.num_rows:
            with self._writing():
                self._writer.write_batch(batch.rows)
            self._keys.append(batch.keys)
        self._excluded.update(map(bytes.fromhex, batch.excluded))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """On a full disk the file goes: the next run begins it anew."""
        try:
            with naming(self._path):
                yield
        except FileError:
            self._path.unlink(missing_ok=True)
            raise

    def sort(self) -> tuple[Iterator[pa.Table], Iterator[Reject]]:
        """Tell what stays from duplicates and conflicts, when all rows are in.

        Where rows have ranks, those of an id which are not the best are duplicates, and all go
        where one was taken down. A row whose published text is that of an earlier row is a
        duplicate. Two texts under one id are a conflict where upstream has no ids of its own (one
        sentence, two labels: every row of the group goes), and an error where it has.

        Returns:
            The rows that stay, in slices: by the natural order of the upstream id, then those
            without one in file order; and the others as rejects, in file order. The slices come
            last: with them the file goes.

        Raises:
            UpstreamChangedError: One upstream id with two contents.
        """
        import polars as pl

        with self._writing():
            self._writer.close()
            self._sink.close()
        self._rows = _MappedRows(self._path)
        row, text, rank, met = map(pl.col, ("row", "text", "rank", "met"))
        keys = (
            pl.concat(self._keys or [keys_of([])])
            .with_row_index("row")
            # the best of an id is met first; without ranks the first in the file
            .sort("rank", descending=True, nulls_last=True, maintain_order=True)
            .with_columns(
                met=row.first().over("id"),
                differs=rank.is_null() & (text != text.first().over("id")),
            )
            .with_columns(
                why=pl.when(pl.col("id").is_in(self._excluded))
                .then(pl.lit("excluded"))
                .when(rank.is_not_null() & (row != met))
                .then(pl.lit("worse"))
                .when(pl.col("differs").any().over("id"))
                .then(pl.lit("conflict"))
            )
            .sort("row")
        )
        for found in (
            keys.filter("differs", pl.col("order").is_not_null()).head(1).iter_rows(named=True)
        ):
            one, other = self._rows.take([found["met"], found["row"]], _TOLD).to_pylist()
            raise UpstreamChangedError(
                f"the upstream id {other['source_id']!r} stands for two contents",
                where=f"{one['_where']} and {other['_where']}",
                fix="remove one of the two rows, or fetch the file again",
            )
        # a text may stand under several ids: its first row stays
        whole = keys.filter(pl.col("why").is_null()).with_columns(met=row.first().over("text"))
        kept = whole.filter(row == met).sort("order", nulls_last=True, maintain_order=True)["row"]
        gone = pl.concat([keys.filter(pl.col("why").is_not_null()), whole.filter(row != met)])
        return self._slices(kept), self._rejects(gone.sort("row").select("row", "met", "why"))

    def _slices(self, kept: pl.Series) -> Iterator[pa.Table]:
        for part in kept.to_frame().iter_slices(SLICE_ROWS):
            yield self._rows.take(part["row"], COLUMNS)
        self._path.unlink()

    def _rejects(self, gone: pl.DataFrame) -> Iterator[Reject]:
        for part in gone.iter_slices(SLICE_ROWS):
            rows, others = (
                self._rows.take(part[name], _TOLD).to_pylist() for name in ("row", "met")
            )
            for item, other, why in zip(rows, others, part["why"], strict=True):
                yield _reject(item, other, why)


_TOLD = ("id", "source_id", "input", "output", "_where")
"""The columns that a reject is made of."""


def _reject(item: dict[str, str], other: dict[str, str], why: str | None) -> Reject:
    """A row that the sort turned away, with the row that it met."""
    where, texts = item["_where"], f"{item['input']} -> {item['output']}"
    if why == "excluded":
        return Reject(where, Reason.EXCLUDED, "a row of its id was taken down", item["id"])
    if why == "worse":
        detail = f"another row of {item['source_id']} is better"
        return Reject(where, Reason.DUPLICATE, detail, item["output"])
    if why is None:
        return Reject(where, Reason.DUPLICATE, f"the same text as {other['_where']}", texts)
    detail = (
        "a later row has the same input and another output"
        if other["_where"] == where
        else f"the same input as {other['_where']} with another output"
    )
    return Reject(where, Reason.CONFLICT, detail, texts)


class _MappedRows:
    """Any rows of an Arrow file, without the file in memory."""

    def __init__(self, path: Path) -> None:
        import numpy as np
        import pyarrow as pa

        with path.open("rb") as file:
            # unmapped with the last buffer that points into it
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.py_buffer(self._map))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        if len(self._map) <= _MOST_HELD and self._batches:
            self._batches = pa.Table.from_batches(self._batches).combine_chunks().to_batches()
            self._map.madvise(mmap.MADV_DONTNEED)
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def take(self, rows: Any, columns: Sequence[str]) -> pa.Table:
        """Copies of the rows' columns, in the order given.

        Batch by batch: pyarrow's own `take` on a table of many batches copies all of it first.
        """
        import numpy as np
        import polars as pl
        import pyarrow as pa

        rows = np.asarray(rows, np.int64)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        lying = np.argsort(owners, kind="stable")
        parts = [
            self._batches[owners[members[0]]]
            .select(columns)
            .take(pl.Series(rows[members] - self._starts[owners[members[0]]]).to_arrow())
            for members in np.split(lying, np.flatnonzero(np.diff(owners[lying])) + 1)
        ]
        table = pa.Table.from_batches(parts)
        if len(parts) > 1:
            table = table.combine_chunks().take(pl.Series(np.argsort(lying)).to_arrow())
        # the pages that were read are the system's again: a large file must not count as memory
        self._map.madvise(mmap.MADV_DONTNEED)
        return table
