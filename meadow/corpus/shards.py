"""Parquet shards: whole or absent, byte-identical for the same rows, kind to the Hub.

Rows stand in the natural order of their upstream id, so that an upstream addition changes few
content-defined chunks; each shard is one row group of at most about 100 MB, with a page index (a
browser fetches 50 rows without the rest) and page checksums (a flipped bit is seen on reading).
Measured choices: docs/adr/004-atomic-shards.md.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from meadow.atomic import replacing
from meadow.corpus.manifest import Shard
from meadow.errors import CheckError, FileError
from meadow.schema import COLUMNS, arrow_schema

if TYPE_CHECKING:
    import polars as pl

SHARD_BYTES = 100_000_000
"""Arrow bytes after which a new shard begins."""
COMPRESSION_LEVEL = 3
CHUNKS = {"min_chunk_size": 96 * 1024, "max_chunk_size": 384 * 1024, "norm_level": 0}
"""Sizes of the content-defined pages. With pyarrow's own (256 to 1024 KiB), 500 rows inserted into
24,000 change 37 % of a shard's bytes; with these 8 %, and real text takes 7 % more room."""


def shard_path(config: str, index: int, count: int, split: str = "train") -> str:
    """The path of a shard below its folder, as the Hub expects it."""
    return f"data/{config}/{split}-{index:05d}-of-{count:05d}.parquet"


UNIQUE = frozenset({"id", "input", "output", "url", "source_id"})
"""Columns whose values hardly repeat. A dictionary of them is given up half-way, and a reader of 50
rows has to fetch it all the same: without one a shard is 3 % smaller and 50 rows cost half."""


def _repeating(schema: pa.Schema) -> list[str]:
    """The leaf columns that are worth a dictionary."""

    def leaves(path: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                field = kind.field(index)
                yield from leaves(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            yield from leaves(f"{path}.list.element", kind.value_type)
        else:
            yield path

    found = (leaf for field in schema for leaf in leaves(field.name, field.type))
    return [leaf for leaf in found if leaf not in UNIQUE]


@contextlib.contextmanager
def many_rows() -> Iterator[None]:
    """Memory as many short-lived rows want it."""
    usual, pool = gc.get_threshold(), pa.default_memory_pool()
    # the collector seldom looks: rows are many objects and hardly ever a circle of them
    gc.freeze()
    gc.set_threshold(500_000, 20, 50)
    # Arrow's own pool gives pages back to the system between two batches, and gets them again
    # one fault at a time; its first use costs 0.07 s
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
        gc.set_threshold(*usual)
        gc.unfreeze()


# a process that has read rows looks for no circles among them when it ends: a tenth of a second
atexit.register(gc.freeze)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table of any schema as one row group, atomically."""
    with replacing(path) as temporary:
        pq.write_table(
            table.combine_chunks(),
            temporary,
            row_group_size=max(1, table.num_rows),
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=_repeating(table.schema),
            use_content_defined_chunking=CHUNKS,
            write_page_index=True,
            write_page_checksum=True,
            store_schema=True,
        )


def read_parquet(
    path: Path, columns: list[str] | None = None, *, first: int | None = None, every: int = 1
) -> pa.Table:
    """Read a shard with its page checksums verified.

    Args:
        path: The shard.
        columns: Their names; None for all.
        first: Only so many rows from its beginning, and no more pages than they need.
        every: Only each so-manieth row, the first among them.

    Raises:
        FileError: It cannot be read; pyarrow's message says where.
    """
    try:
        # of a few rows the pages are read one by one: else all of the file would be, first
        few: dict[str, Any] = {} if first is None else {"pre_buffer": False, "buffer_size": 1 << 16}
        with pq.ParquetFile(path, page_checksum_verification=True, **few) as file:
            if every > 1 and file.metadata.num_rows:
                # fresh memory for all rows costs several times what unpacking them does
                parts, at = [], 0
                for part in file.iter_batches(batch_size=2048, columns=columns):
                    parts.append(part.take(pa.arange(-at % every, len(part), every)))
                    at += len(part)
                return pa.Table.from_batches(parts)
            if first is None:
                return file.read(columns=columns)
            part = next(file.iter_batches(batch_size=first, columns=columns), None)
            return file.read(columns=columns) if part is None else pa.Table.from_batches([part])
    except (OSError, pa.ArrowException, ValueError) as error:
        raise FileError(
            f"the shard cannot be read: {error}",
            where=str(path),
            fix="build or pull it again",
        ) from error


def read_rows(path: Path, columns: list[str] | None = None, *, every: int = 1) -> pl.DataFrame:
    """The rows of a shard as polars' frame: read, checksums and schema verified.

    Args:
        path: The shard.
        columns: Their names; None for all.
        every: As `read_parquet`.

    Raises:
        FileError: It cannot be read.
        CheckError: Its rows are not those of a corpus.
    """
    import polars as pl

    table = read_parquet(path, columns, every=every)
    check_rows(table, path, columns)
    return pl.DataFrame(table)


def cut_shards(tables: Iterable[pa.Table], shard_bytes: int = SHARD_BYTES) -> Iterator[pa.Table]:
    """Gather row slices into tables of at most about `shard_bytes`; never an empty one."""
    held: list[pa.Table] = []
    for table in tables:
        if held and sum(each.nbytes for each in held) + table.nbytes > shard_bytes:
            yield _joined(held)
        held.append(table)
    if held:
        yield _joined(held)


def _joined(held: list[pa.Table]) -> pa.Table:
    """Slices in one piece; they are let go, so that they are free before the shard is written."""
    whole = pa.concat_tables(held).combine_chunks()
    held.clear()
    return whole


def write_shard(
    tables: Iterable[pa.Table], folder: Path, config: str, index: int, count: int
) -> Shard:
    """Write shard `index` of `count` of a training split, whose rows were cut to its size."""
    held = list(tables)
    whole = _joined(held) if held else arrow_schema().empty_table()
    name = shard_path(config, index, count)
    write_parquet(whole.cast(arrow_schema()), folder / name)
    return Shard.of(folder, name, whole.num_rows)


def write_shards(
    tables: Iterable[pa.Table],
    folder: Path,
    config: str,
    split: str = "train",
    schema: pa.Schema | None = None,
) -> tuple[Shard, ...]:
    """Write row slices as the shards of one config and split.

    The number of shards is part of their names and known only at the end, so they are written under
    a working name and renamed; nothing names them until the manifest does. Without a row there is
    one empty shard. Slices come in their final order, each far smaller than a shard; `schema` has
    the columns, where they are more than those of a record.
    """
    schema = schema or arrow_schema()
    written: list[tuple[Path, int]] = []

    def write(table: pa.Table) -> None:
        path = folder / "data" / config / f"{split}-{len(written):05d}.working"
        write_parquet(table.cast(schema), path)
        written.append((path, table.num_rows))

    for table in cut_shards(tables):
        write(table)
        del table  # two shards are never held at once
    if not written:
        write(schema.empty_table())
    shards = []
    for index, (path, rows) in enumerate(written):
        name = shard_path(config, index, len(written), split)
        path.replace(folder / name)
        shards.append(Shard.of(folder, name, rows))
    return tuple(shards)


# What the rows of a shard must be before anything reads them: a corpus can come from anybody.


NEVER_NULL = ("id", "instruction", "input", "output", "source", "task", "license", "meta")


def check_rows(table: pa.Table, path: Path, columns: list[str] | None = None) -> None:
    """Hold the columns that were read to the schema: there, of their type, text that is UTF-8.

    Args:
        table: What was read.
        path: The shard, for the message.
        columns: What was asked for; None: everything.

    Raises:
        CheckError: They are something else.
    """
    schema = arrow_schema()
    found = table.schema
    for name in COLUMNS if columns is None else [name for name in columns if name in COLUMNS]:
        if found.get_all_field_indices(name) != [found.get_field_index(name)]:
            raise _other_rows(path, f"column {name} is missing, or there twice")
        if found.field(name).type != schema.field(name).type:
            raise _other_rows(path, f"column {name} is {found.field(name).type}")
        if name in NEVER_NULL and table[name].null_count:
            raise _other_rows(
                path, f"column {name} has no value in {table[name].null_count:,} rows"
            )
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise _other_rows(path, str(error)[:300]) from error


def _other_rows(path: Path, detail: str) -> CheckError:
    return CheckError(
        f"the rows of a shard are not those of a corpus: {detail}",
        where=str(path),
        fix="do not use this folder; build or pull it again",
    )
