"""The external sort: rows wait on disk until their order is known, so that memory stays small.

Whoever transforms a piece of a source writes a part: its rows as an Arrow file, the keys of each
row, the rejects, and what was counted. The folder gets its name when all of it is on disk. When all
parts are in, the keys alone say which rows are duplicates or in conflict and how the others are
ordered; whoever writes a shard takes its rows out of the mapped parts.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from meadow.atomic import TEMPORARY, fsync_file, fsync_folder, naming
from meadow.corpus.shards import SHARD_BYTES
from meadow.errors import UpstreamChangedError
from meadow.schema import COLUMNS, Reason, Reject

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

    from meadow.build.transform import Batch

    Numbers = np.ndarray[Any, np.dtype[np.int64]]

SLICE_ROWS = 4096
"""Rows that are taken at once."""
_MOST_HELD = 128 * 1024**2
"""Bytes of batches that are held as one: rows are taken of it for less than half the price."""
_ROWS, _KEYS, _REJECTS, _TALLY = "rows.arrow", "keys.arrow", "rejects.jsonl", "tally.json"
PROGRESS = "progress"
"""How many candidates of a part were read so far, for who waits at a terminal."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted on the way to a part.

    Args:
        rows_in: Rows there were to decide on.
        rejected: Reason -> count.
        facts: Group -> value -> count.
        excluded: The ids of the rows that were taken down.
    """

    rows_in: int
    rejected: dict[str, int]
    facts: dict[str, dict[str, int]]
    excluded: list[str]


class PartWriter:
    """The rows of one piece between transform and shards.

    Args:
        folder: The part: there when it is whole.
        lasting: Whether it has to be on disk by then, for another run that may find it.
    """

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        self._folder = folder
        self._lasting = lasting
        # another machine may still be at the same part
        self._temporary = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{TEMPORARY}")
        self._keys: list[pl.DataFrame] = []
        self._rows_in = 0
        self._rejected: Counter[str] = Counter()
        self._facts: dict[str, Counter[str]] = {}
        self._excluded: set[str] = set()

    def __enter__(self) -> Self:
        """Open the files."""
        import pyarrow as pa

        from meadow.build.transform import row_schema

        with self._writing():
            self._temporary.mkdir(parents=True)
            self._sink = pa.OSFile(str(self._temporary / _ROWS), "wb")
            self._writer = pa.ipc.new_file(self._sink, row_schema())
            rejects = self._temporary / _REJECTS
            self._rejects = rejects.open("w", encoding="utf-8", newline="\n")
        return self

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A fault, such as a full disk, says where it was, and nothing of the part stays."""
        try:
            with naming(self._temporary / _ROWS):
                yield
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch, and count what was seen on the way to it."""
        with self._writing():
            if batch.rows.num_rows:
                self._writer.write_batch(batch.rows)
                self._keys.append(batch.keys.with_columns(size=row_bytes(batch.rows)))
            for item in batch.rejects:
                self._rejected[item.reason.value] += 1
                self._rejects.write(item.to_json() + "\n")
            self._rows_in += batch.candidates
            (self._temporary / PROGRESS).write_text(str(self._rows_in), encoding="ascii")
        for (group, value), count in batch.facts.items():
            self._facts.setdefault(group, Counter())[value] += count
        self._excluded.update(batch.excluded)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the part its name, unless something went wrong."""
        import polars as pl

        from meadow.build.transform import keys_of

        if kind is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            with contextlib.suppress(Exception):  # a full disk, which has been told
                self._writer.close()
            with contextlib.suppress(Exception):
                self._rejects.close()
            self._sink.close()
            return
        with self._writing():
            self._writer.close()
            self._sink.close()
            self._rejects.close()
            none = keys_of([]).with_columns(size=pl.Series(dtype=pl.Int64))
            pl.concat(self._keys or [none]).write_ipc(self._temporary / _KEYS)
            counted = [self._rows_in, self._rejected, self._facts, sorted(self._excluded)]
            (self._temporary / _TALLY).write_text(json.dumps(counted), encoding="utf-8")
            if self._lasting:
                for name in (_ROWS, _KEYS, _REJECTS, _TALLY):
                    fsync_file(self._temporary / name)
            if self._folder.exists():  # another worker, which was taken for lost, has made it
                shutil.rmtree(self._temporary, ignore_errors=True)
                return
            self._temporary.rename(self._folder)
            if self._lasting:
                fsync_folder(self._folder.parent)


def row_bytes(rows: pa.RecordBatch) -> pl.Series:
    """How many bytes each row has in Arrow, without the bits that say what is null."""
    import numpy as np
    import polars as pl

    def offsets(column: pa.Array) -> Numbers:
        found = np.frombuffer(column.buffers()[1], np.int32).astype(np.int64)
        return found[column.offset : column.offset + len(column) + 1]

    total = np.full(rows.num_rows, 4 * len(COLUMNS), np.int64)
    for name in COLUMNS:
        column = rows.column(name)
        ends = offsets(column)
        if name == "authors":
            for text in column.values.flatten():
                total += np.diff(offsets(text)[ends] + 4 * ends)
        else:
            total += np.diff(ends)
    return pl.Series(total)


def read_tally(part: Path) -> Tally:
    """What was counted on the way to a part."""
    return Tally(*json.loads((part / _TALLY).read_text(encoding="utf-8")))


def rejects_of(part: Path) -> Path:
    """The file of a part's rejects, in reading order."""
    return part / _REJECTS


class Order(NamedTuple):
    """What becomes of the rows of all parts, which are numbered through.

    Args:
        shards: The rows of each shard, in their order.
        gone: The rows that do not stay, in file order: `row`, `met` (the row that stays in its
            place) and `why`.
    """

    shards: list[Numbers]
    gone: pl.DataFrame


def resolve(parts: Sequence[Path], excluded: set[bytes]) -> Order:
    """Tell what stays from duplicates and conflicts, when all rows are in.

    Where rows have ranks, those of an id which are not the best are duplicates, and all go where
    one was taken down. A row whose published text is that of an earlier row is a duplicate. Two
    texts under one id are a conflict where upstream has no ids of its own (one sentence, two
    labels: every row of the group goes), and an error where it has.

    The rows that stay are ordered by the natural order of the upstream id, then those without one
    in file order.

    Args:
        parts: In the order of their rows in the raw files.
        excluded: The ids of the rows that were taken down.

    Raises:
        UpstreamChangedError: One upstream id with two contents.
    """
    import numpy as np
    import polars as pl

    row, text, rank, met = map(pl.col, ("row", "text", "rank", "met"))
    keys = pl.concat([pl.read_ipc(part / _KEYS) for part in parts]).with_row_index("row")
    # most ids and texts stand once, and are not grouped
    repeated = (
        keys.select("row", "id", "text", "rank")
        .filter(pl.col("id").is_duplicated())
        # the best of an id is met first; without ranks the first in the file
        .sort("rank", descending=True, nulls_last=True, maintain_order=True)
        .with_columns(
            met=row.first().over("id"),
            differs=rank.is_null() & (text != text.first().over("id")),
        )
        .select(
            *("row", "met", "differs"),
            why=pl.when(rank.is_not_null() & (row != met))
            .then(pl.lit("worse"))
            .when(pl.col("differs").any().over("id"))
            .then(pl.lit("conflict")),
        )
    )
    keys = keys.join(repeated, on="row", how="left", maintain_order="left").with_columns(
        met=pl.coalesce("met", "row"),
        why=pl.when(pl.col("id").is_in(excluded)).then(pl.lit("excluded")).otherwise("why"),
    )
    for found in (
        keys.filter("differs", pl.col("order").is_not_null()).head(1).iter_rows(named=True)
    ):
        pair = np.array([found["met"], found["row"]], np.int64)
        one, other = PartRows(parts, pair).take(pair, _TOLD).to_pylist()
        raise UpstreamChangedError(
            f"the upstream id {other['source_id']!r} stands for two contents",
            where=f"{one['_where']} and {other['_where']}",
            fix="remove one of the two rows, or fetch the file again; of a source of your own "
            "row.id may name the wrong column",
        )
    # a text may stand under several ids: its first row stays
    whole = keys.filter(pl.col("why").is_null())
    again = whole.filter(text.is_duplicated()).select("row", met=row.first().over("text"))
    whole = whole.drop("met").join(again, on="row", how="left", maintain_order="left")
    whole = whole.with_columns(met=pl.coalesce("met", "row"))
    kept = whole.select("row", "met", "size", "order").filter(row == met)
    gone = pl.concat(
        each.select("row", "met", "why")
        for each in (keys.filter(pl.col("why").is_not_null()), whole.filter(row != met))
    )
    ordered = kept.sort("order", nulls_last=True, maintain_order=True)
    return Order(_cut(ordered), gone.sort("row"))


def _cut(kept: pl.DataFrame) -> list[Numbers]:
    """The rows of each shard: one, or an even number of at most about `SHARD_BYTES` each.

    All are about as large, since two workers that write one each should end together. Of no rows,
    one empty shard.
    """
    import numpy as np

    rows = kept["row"].to_numpy().astype(np.int64)
    if not len(rows):
        return [rows]
    ends = kept["size"].cum_sum().to_numpy()
    shards = 2 * -(-int(ends[-1]) // (2 * SHARD_BYTES)) if ends[-1] > SHARD_BYTES else 1
    cuts = np.unique(np.searchsorted(ends, ends[-1] / shards * np.arange(1, shards)) + 1)
    return np.split(rows, cuts[cuts < len(rows)])


_TOLD = ("id", "source_id", "input", "output", "_where")
"""The columns that a reject is made of."""
REASONS = {
    "excluded": Reason.EXCLUDED,
    "conflict": Reason.CONFLICT,
    "worse": Reason.DUPLICATE,
    None: Reason.DUPLICATE,
}
"""Why a row does not stay -> the reason that its reject gives."""


def rejects(parts: Sequence[Path], gone: pl.DataFrame) -> Iterator[Reject]:
    """The rows that do not stay, in file order."""
    import numpy as np

    named = np.concatenate([gone[name].to_numpy() for name in ("row", "met")])
    rows = PartRows(parts, named) if gone.height else None
    for part in gone.iter_slices(SLICE_ROWS):
        assert rows
        found, others = (rows.take(part[name], _TOLD).to_pylist() for name in ("row", "met"))
        for item, other, why in zip(found, others, part["why"], strict=True):
            yield _reject(item, other, why)


def _reject(item: dict[str, str], other: dict[str, str], why: str | None) -> Reject:
    """A row that the sort turned away, with the row that it met."""
    where, texts = item["_where"], f"{item['input']} -> {item['output']}"
    reason = REASONS[why]
    if why == "excluded":
        return Reject(where, reason, "a row of its id was taken down", item["id"])
    if why == "worse":
        detail = f"another row of {item['source_id']} is better"
        return Reject(where, reason, detail, item["output"])
    if why is None:
        return Reject(where, reason, f"the same text as {other['_where']}", texts)
    detail = (
        "a later row has the same input and another output"
        if other["_where"] == where
        else f"the same input as {other['_where']} with another output"
    )
    return Reject(where, reason, detail, texts)


def slices(parts: Sequence[Path], rows: Numbers, size: int = 4 * SLICE_ROWS) -> Iterator[pa.Table]:
    """Copies of rows in the order given, some at a time."""
    import numpy as np

    found = PartRows(parts, rows)
    for part in np.split(rows, range(size, len(rows), size)):
        if len(part):
            yield found.take(part, COLUMNS)


class PartRows:
    """Any rows of some parts, without the files in memory.

    Args:
        parts: In the order of their rows.
        rows: Those that will be asked for; the batches that hold none of them are left alone.
    """

    def __init__(self, parts: Sequence[Path], rows: Numbers) -> None:
        import numpy as np
        import pyarrow as pa

        self._batches: list[pa.RecordBatch] = []
        self._maps: list[mmap.mmap] = []
        """Of each batch the file that it lies in."""
        sizes: list[int] = []  # reckoned from the files: a batch that is asked reads pages of it
        for part in parts:
            with (part / _ROWS).open("rb") as file:
                # unmapped with the last buffer that points into it
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            reader = pa.ipc.open_file(pa.py_buffer(mapped))
            count = reader.num_record_batches
            self._batches += map(reader.get_batch, range(count))
            self._maps += [mapped] * count
            sizes += [len(mapped) // max(1, count)] * count
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self._held: pa.RecordBatch | None = None
        touched = np.unique(self._owners(rows))
        if len(touched) and sum(sizes[n] for n in touched) <= _MOST_HELD:
            found = [self._batches[n] for n in touched]
            (self._held,) = pa.Table.from_batches(found).combine_chunks().to_batches()
            ends = np.cumsum([batch.num_rows for batch in found])
            self._moved = np.zeros(len(self._batches), np.int64)
            self._moved[touched] = ends - [batch.num_rows for batch in found]
            self._moved -= self._starts[:-1]
            self._batches.clear()
            self._maps.clear()

    def _owners(self, rows: Numbers) -> Numbers:
        """The batch of each row."""
        import numpy as np

        return np.searchsorted(self._starts, rows, side="right") - 1

    def take(self, rows: Any, columns: Sequence[str]) -> pa.Table:
        """Copies of the rows' columns, in the order given.

        Batch by batch: pyarrow's own `take` on a table of many batches copies all of it first.
        """
        import numpy as np
        import polars as pl
        import pyarrow as pa

        rows = np.asarray(rows, np.int64)
        owners = self._owners(rows)
        if self._held is not None:
            places = pl.Series(rows + self._moved[owners]).to_arrow()
            return pa.Table.from_batches([self._held.select(columns).take(places)])
        lying = np.argsort(owners, kind="stable")
        found = []
        for members in np.split(lying, np.flatnonzero(np.diff(owners[lying])) + 1):
            owner = owners[members[0]]
            places = pl.Series(rows[members] - self._starts[owner]).to_arrow()
            found.append(self._batches[owner].select(columns).take(places))
            # pages that were read are the system's again: large files must not count as memory
            self._maps[owner].madvise(mmap.MADV_DONTNEED)
        table = pa.Table.from_batches(found)
        if len(found) > 1:
            table = table.combine_chunks().take(pl.Series(np.argsort(lying)).to_arrow())
        return table
