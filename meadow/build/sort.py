"""Rows on disk until their order is known: what keeps a build's memory small.

Batches go to an Arrow file as they come; of each row only 32 bytes and the key of its place stay in
memory. When all rows are in, duplicates and conflicts are told apart and the survivors are read
back, slice by slice, in their final order. The file is mapped, and its pages are given back after
each slice, so that a large one does not count as memory.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import naming
from meadow.build.transform import Admission, spool_schema
from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Reason, Reject, arrow_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SLICE_ROWS = 4096
PART_BYTES = 64 * 1024 * 1024


class Spool:
    """The rows of one source between admission and shards.

    Args:
        path: The temporary Arrow file.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, spool_schema())
        self._identities = bytearray()
        self._digests = bytearray()
        self._order: list[pa.Array] = []

    def __len__(self) -> int:
        return len(self._identities) // 16

    def add(self, batch: Admission) -> None:
        """Take the rows of a batch."""
        import pyarrow as pa

        if not batch.rows.num_rows:
            return
        with self._writing():
            self._writer.write_batch(batch.rows)
        self._identities += batch.identities
        self._digests += batch.digests
        self._order.append(pa.array(batch.order, pa.binary()))

    def close(self) -> None:
        """Put everything in the file."""
        with self._writing():
            self._writer.close()
            self._sink.close()

    @contextlib.contextmanager
    def _writing(self, *more: Path) -> Iterator[None]:
        """On a full disk the files go: the next run begins them anew."""
        try:
            with naming(self._path):
                yield
        except FileError:
            for path in (self._path, *more):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise

    def resolve(self) -> tuple[NDArray[np.int64], dict[int, tuple[Reason, int]]]:
        """Tell apart what stays from duplicates and conflicts.

        A row whose published text is that of an earlier row is a duplicate. Two texts under one id
        are a conflict where upstream has no ids of its own (one sentence, two labels: every row of
        the group goes), and an error where it has.

        Returns:
            The rows that stay in their final order (natural order of the upstream id, then rows
            without one in upstream file order), and the others: row -> (reason, the row it meets).

        Raises:
            UpstreamChangedError: One upstream id with two contents.
        """
        import numpy as np
        import pyarrow as pa

        order = pa.concat_arrays([pa.array([], pa.binary()), *self._order])
        unnamed = order.is_null().to_numpy(zero_copy_only=False)
        digests = np.frombuffer(self._digests, np.dtype("V16"))
        identities = np.frombuffer(self._identities, np.dtype("V16"))
        first = _first(identities)
        differs = digests[first] != digests
        if (wrong := np.flatnonzero(differs & ~unnamed)).size:
            row = int(wrong[0])
            pair = [int(first[row]), row]
            upstream_id = self._taken("source_id", [row])[0]
            raise UpstreamChangedError(
                f"the upstream id {upstream_id!r} stands for two contents",
                where=" and ".join(self._taken("_where", pair)),
                fix="remove one of the two rows, or fetch the file again",
            )
        in_conflict = np.isin(first, first[differs])
        gone = {int(row): (Reason.CONFLICT, int(first[row])) for row in np.flatnonzero(in_conflict)}
        whole = np.flatnonzero(~in_conflict)
        earliest = whole[_first(digests[whole])]
        repeated = earliest != whole
        for row, met in zip(whole[repeated].tolist(), earliest[repeated].tolist(), strict=True):
            gone[row] = (Reason.DUPLICATE, met)
        kept = whole[~repeated]
        return _sorted(kept, order), gone

    def slices(self, rows: NDArray[np.int64]) -> Iterator[pa.Table]:
        """The given rows in the given order, a few thousand at a time.

        Rows in reading order are read as they lie. Others are first dealt out to files of at most
        `PART_BYTES`, each for a stretch of the final order, which are put in order one at a time:
        rows from all over a large file would bring all of it into memory for every slice.
        """
        import numpy as np

        if not len(rows):
            return
        parts = -(-self._path.stat().st_size // PART_BYTES)
        if parts == 1 or (np.diff(rows) > 0).all():
            mapped = _Mapped(self._path)
            for start in range(0, len(rows), SLICE_ROWS):
                yield mapped.take(rows[start : start + SLICE_ROWS]).drop_columns(["_where"])
                mapped.give_back()
            return
        per_part = -(-len(rows) // parts)
        paths = self._deal_out(rows, per_part)
        for start, path in zip(range(0, len(rows), per_part), paths, strict=True):
            mapped = _Mapped(path)
            lying = np.sort(rows[start : start + per_part])
            wanted = np.searchsorted(lying, rows[start : start + per_part])
            for offset in range(0, len(wanted), SLICE_ROWS):
                yield mapped.take(wanted[offset : offset + SLICE_ROWS])
                mapped.give_back()
            del mapped
            path.unlink()

    def _deal_out(self, rows: NDArray[np.int64], per_part: int) -> list[Path]:
        """Files for `per_part` rows of the final order each; within one, rows in reading order."""
        import numpy as np
        import pyarrow as pa

        part_of = np.full(len(self), -1, np.int64)
        part_of[rows] = np.arange(len(rows)) // per_part
        count = -(-len(rows) // per_part)
        paths = [
            self._path.with_name(f"{self._path.stem}-{part:05d}.arrow") for part in range(count)
        ]
        mapped = _Mapped(self._path, arrow_schema().names)
        with self._writing(*paths), contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
            writers = [stack.enter_context(pa.ipc.new_file(sink, arrow_schema())) for sink in sinks]
            for parts, batch in mapped.along(part_of):
                for part in np.unique(parts[parts >= 0]).tolist():
                    members = pa.array(np.flatnonzero(parts == part))
                    writers[part].write_batch(batch.take(members))
                mapped.give_back()
        return paths

    def rejects(self, gone: dict[int, tuple[Reason, int]]) -> Iterator[Reject]:
        """The duplicates and conflicts as rejects, in reading order."""
        import numpy as np

        if not gone:
            return
        mapped = _Mapped(self._path, ["_where", "input", "output"])
        rows = sorted(gone)
        for start in range(0, len(rows), SLICE_ROWS):
            part = rows[start : start + SLICE_ROWS]
            found = mapped.take(np.array(part)).to_pylist()
            met = np.array([gone[row][1] for row in part])
            places = mapped.take(met)["_where"].to_pylist()
            mapped.give_back()
            for row, item, place in zip(part, found, places, strict=True):
                reason, first = gone[row]
                if reason is Reason.DUPLICATE:
                    detail = f"the same text as {place}"
                elif row == first:
                    detail = "a later row has the same input and another output"
                else:
                    detail = f"the same input as {place} with another output"
                excerpt = f"{item['input']} -> {item['output']}"
                yield Reject(item["_where"], reason, detail, excerpt)

    def _taken(self, column: str, rows: Iterable[int]) -> list[str]:
        import numpy as np

        values: list[str] = _Mapped(self._path, [column]).take(np.array(list(rows)))[0].to_pylist()
        return values


class _Mapped:
    """The spooled batches, mapped: any rows of them, without the file in memory."""

    def __init__(self, path: Path, columns: list[str] | None = None) -> None:
        import numpy as np
        import pyarrow as pa

        with path.open("rb") as file:
            # unmapped with the last buffer that points into it
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.py_buffer(self._map))
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._batches = [batch.select(columns) if columns else batch for batch in batches]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Copies of the rows, in the order given.

        Batch by batch: pyarrow's own `take` on a table of many batches copies all of it first.
        """
        import numpy as np
        import pyarrow as pa

        owners = np.searchsorted(self._starts, rows, side="right") - 1
        by_owner = np.argsort(owners, kind="stable")
        parts = []
        for owner, members in _runs(owners[by_owner], by_owner):
            local = rows[members] - self._starts[owner]
            parts.append(self._batches[owner].take(pa.array(local)))
        table = pa.Table.from_batches(parts)
        if (by_owner[1:] < by_owner[:-1]).any():
            table = table.combine_chunks().take(pa.array(np.argsort(by_owner)))
        return table.combine_chunks()

    def along(self, values: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """The batches one after the other, each with the values of its rows."""
        for start, end, batch in zip(self._starts, self._starts[1:], self._batches, strict=False):
            yield values[start:end], batch

    def give_back(self) -> None:
        """Let the system have the pages again that were read so far."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _runs(
    owners: NDArray[np.int64], members: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Sorted owners with the members of each."""
    import numpy as np

    borders = np.flatnonzero(owners[1:] != owners[:-1]) + 1
    starts = [0, *borders.tolist()]
    for start, part in zip(starts, np.split(members, borders), strict=True):
        yield int(owners[start]), part


def _first(values: NDArray[np.void]) -> NDArray[np.int64]:
    """For each value the row at which an equal one first stands."""
    import numpy as np

    # half of a value tells almost all of them apart, and sorts ten times as fast as the whole
    heads = np.ascontiguousarray(values).view(np.uint64)[::2]
    order = np.argsort(heads, kind="stable")
    same = heads[order[1:]] == heads[order[:-1]]
    shared = np.zeros(len(values), np.bool_)
    shared[order[1:][same]] = True
    shared[order[:-1][same]] = True
    rows = np.flatnonzero(shared)
    first = np.arange(len(values))
    _, index, inverse = np.unique(values[rows], return_index=True, return_inverse=True)
    first[rows] = rows[index[inverse]]
    return first


def _sorted(rows: NDArray[np.int64], order: pa.Array) -> NDArray[np.int64]:
    """The rows by their keys; those without one behind the others, each as it came."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # stable, nulls last
    found: NDArray[np.int64] = rows[pc.sort_indices(order.take(pa.array(rows))).to_numpy()]
    return found
