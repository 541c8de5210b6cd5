"""Rows of a foreign Parquet file: checked columns, plain values, damage as one error.

Only Arrow types are read: metadata that other libraries keep in a file (pandas' among them) is
never looked at. Page checksums are verified where a file has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from meadow.errors import FileError, UpstreamChangedError
from meadow.schema import Raw, Reason, Reject
from meadow.source import Input

MAGIC = b"PAR1"
BATCH_ROWS = 512
MAX_ROW_GROUP = 4 * 1024**3
"""Bytes of one row group, uncompressed: what a reader has to hold at most."""


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


class Groups(NamedTuple):
    """Some consecutive row groups of a file, and how many rows stand before them."""

    first: int
    last: int
    rows_before: int


def row_groups(item: Input, size: int) -> Iterator[Groups]:
    """The row groups of a file, together as soon as they have `size` bytes.

    Raises:
        FileError: The file is damaged or no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(item.path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(error, item) from error
    first = held = rows = before = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        held, rows = held + group.total_byte_size, rows + group.num_rows
        if held >= size or index + 1 == metadata.num_row_groups:
            yield Groups(first, index + 1, before)
            first, held, before = index + 1, 0, rows


def read_rows(
    item: Input,
    required: Sequence[str],
    optional: Sequence[str] = (),
    groups: Groups | None = None,
) -> Iterator[Raw | Reject]:
    """Yield the rows of one file in order; `_where` is `label:row`, counted from 1.

    Args:
        item: The file.
        required: The columns that must be there.
        optional: Further columns that are read where they are there; None elsewhere.
        groups: Only these row groups.

    Raises:
        FileError: The file is damaged, no Parquet, or a row group is larger than the cap.
        UpstreamChangedError: A required column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = groups.rows_before if groups else 0
    wanted = list(range(groups.first, groups.last)) if groups else None
    try:
        # without it a flipped bit in a page is read as another value
        with pq.ParquetFile(item.path, page_checksum_verification=True) as file:
            _check(file, item, required)
            names = [*required, *(name for name in optional if name in file.schema_arrow.names)]
            absent = {name: None for name in optional if name not in names}
            for batch in file.iter_batches(BATCH_ROWS, wanted, names):
                for position in range(batch.num_rows):
                    number += 1
                    where = f"{item.label}:{number}"
                    try:
                        # value by value: bad bytes in one text cost one row, and not a whole batch
                        row = {name: batch.column(name)[position].as_py() for name in names}
                    except UnicodeDecodeError as error:
                        yield Reject(where, Reason.BAD_ENCODING, str(error)[:300])
                        continue
                    yield {**row, **absent, "_where": where}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # UnicodeDecodeError: a name in the footer
        raise _unreadable(error, item) from error


def columns_of(item: Input) -> list[str]:
    """The names of the columns of a file.

    Raises:
        FileError: The file is damaged or no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(item.path).names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(error, item) from error


def _unreadable(error: Exception, item: Input) -> FileError:
    return FileError(
        f"the Parquet file cannot be read: {' '.join(str(error).split())[:300]}",
        where=item.label,
        fix="fetch it again and compare its checksum",
    )


def _check(file: Any, item: Input, required: Sequence[str]) -> None:
    found = file.schema_arrow.names
    if missing := [name for name in required if name not in found]:
        raise UpstreamChangedError(
            f"needed columns are gone: {', '.join(missing)}",
            where=item.label,
            fix=f"found {', '.join(found[:50])}; expected {', '.join(required)}",
        )
    metadata = file.metadata
    for index in range(metadata.num_row_groups):
        size = metadata.row_group(index).total_byte_size
        if size > MAX_ROW_GROUP:
            raise FileError(
                f"row group {index} holds {size:,} bytes, over the cap of {MAX_ROW_GROUP:,}",
                where=item.label,
            )
