"""The external sort: rows wait on disk until their order is known, so that memory stays small.

Batches go to an Arrow file as they come; of each row only its keys stay in memory. When all rows
are in, the keys say which rows are duplicates or in conflict and how the others are ordered, and
these are taken out of the mapped file, slice by slice.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import naming
from meadow.build.transform import Batch, keys_of, row_schema
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Reason, Reject

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SLICE_ROWS = 4096


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

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch."""
        if batch.rows.num_rows:
            with self._writing():
                self._writer.write_batch(batch.rows)
            self._keys.append(batch.keys)

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

        A row whose published text is that of an earlier row is a duplicate. Two texts under one id
        are a conflict where upstream has no ids of its own (one sentence, two labels: every row of
        the group goes), and an error where it has.

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
        row, text = pl.col("row"), pl.col("text")
        keys = (
            pl.concat(self._keys or [keys_of([])])
            .with_row_index("row")
            .with_columns(met=row.first().over("id"), differs=text != text.first().over("id"))
            .with_columns(conflict=pl.col("differs").any().over("met"))
        )
        self._keys.clear()
        for found in (
            keys.filter("differs", pl.col("order").is_not_null()).head(1).iter_rows(named=True)
        ):
            one, other = self._rows.take([found["met"], found["row"]]).to_pylist()
            raise UpstreamChangedError(
                f"the upstream id {other['source_id']!r} stands for two contents",
                where=f"{one['_where']} and {other['_where']}",
                fix="remove one of the two rows, or fetch the file again",
            )
        # a text may stand under several ids: its first row stays
        whole = keys.filter(~pl.col("conflict")).with_columns(met=row.first().over("text"))
        first = row == pl.col("met")
        kept = whole.filter(first).sort("order", nulls_last=True, maintain_order=True)["row"]
        gone = pl.concat([keys.filter("conflict"), whole.filter(~first)]).sort("row")
        return self._slices(kept), self._rejects(gone.select("row", "met", "conflict"))

    def _slices(self, kept: pl.Series) -> Iterator[pa.Table]:
        for start in range(0, len(kept), SLICE_ROWS):
            rows = self._rows.take(kept.slice(start, SLICE_ROWS))
            yield rows.drop_columns(["_where"])
        self._path.unlink()

    def _rejects(self, gone: pl.DataFrame) -> Iterator[Reject]:
        for part in gone.iter_slices(SLICE_ROWS):
            rows, others = (
                self._rows.take(part[name]).select(["_where", "input", "output"]).to_pylist()
                for name in ("row", "met")
            )
            asked = zip(rows, others, part["conflict"], part["row"] == part["met"], strict=True)
            for item, other, conflict, first in asked:
                if not conflict:
                    detail = f"the same text as {other['_where']}"
                elif first:
                    detail = "a later row has the same input and another output"
                else:
                    detail = f"the same input as {other['_where']} with another output"
                yield Reject(
                    item["_where"],
                    Reason.CONFLICT if conflict else Reason.DUPLICATE,
                    detail,
                    f"{item['input']} -> {item['output']}",
                )


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
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def take(self, rows: Any) -> pa.Table:
        """Copies of the rows, in the order given.

        Batch by batch: pyarrow's own `take` on a table of many batches copies all of it first.
        """
        import numpy as np
        import polars as pl
        import pyarrow as pa

        rows = np.asarray(rows, np.int64)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        lying = np.argsort(owners, kind="stable")
        parts = [
            self._batches[owners[members[0]]].take(
                pl.Series(rows[members] - self._starts[owners[members[0]]]).to_arrow()
            )
            for members in np.split(lying, np.flatnonzero(np.diff(owners[lying])) + 1)
        ]
        table = (
            pa.Table.from_batches(parts)
            .combine_chunks()
            .take(pl.Series(np.argsort(lying)).to_arrow())
        )
        # the pages that were read are the system's again: a large file must not count as memory
        self._map.madvise(mmap.MADV_DONTNEED)
        return table
