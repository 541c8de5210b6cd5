"""CORD-19's metadata.csv as columns: what `cord19` makes of it, a block of rows at a time.

What is said of a row in `cord19` is said of columns here and in `cord19_records`. Where that cannot
be exactly the same, the rows concerned go through `cord19.convert` and are put back in their
places.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from meadow.build.transform import to_arrow
from meadow.schema import Block, Raw, Record, Reject
from meadow.source import Input, Options
from meadow.sources import cord19
from meadow.sources.cord19_records import FACTS, each, make_records, must_be_converted
from meadow.sources.delimited_columns import BLOCK_BYTES, Columns, read_columns
from meadow.sources.waiting import WaitingRows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

WANTED = ("cord_uid", "title", "abstract", "license", "authors", "url", *FACTS)
STRIPPED = tuple(name for name in WANTED if name not in {"authors", "url"})
"""The columns of which `cord19` uses nothing but `column.strip()`, save in what it says of
duplicates."""
SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""Every character that `str.strip` takes for white space."""
_SHORT = 128
"""Bytes; no placeholder is longer, whatever letters it is written with."""


def read(
    inputs: Sequence[Input], options: Options, block_bytes: int = BLOCK_BYTES
) -> Iterator[Block | Raw | Reject]:
    """The rows of `cord19.read`, converted where they were read as columns.

    Which row of a paper is the best is known when all are read. Until then the columns wait in a
    temporary file, about as large as the (unpacked) input; 16 bytes a row stay in memory.
    """
    identities, ranks = array("Q"), array("q")
    with WaitingRows() as waiting:
        for item in inputs:
            for found in read_columns(item, WANTED, cord19.REQUIRED, block_bytes):
                if isinstance(found, Columns):
                    found = strip_columns(found)
                    for known, more in zip((identities, ranks), rank_columns(found), strict=True):
                        known.frombytes(more.tobytes())
                elif not isinstance(found, Reject):
                    identities.append(cord19.identity(found["cord_uid"]))
                    ranks.append(cord19.rank(found))
                waiting.put(item.label, found)
        keep = cord19.best_rows(identities, ranks)
        del identities, ranks
        position = 0
        for label, found in waiting.take():
            if isinstance(found, Columns):
                size = len(found.lines)
                yield convert_columns(found, keep[position : position + size], label, options)
                position += size
            elif isinstance(found, Reject):
                yield found
            else:
                yield cord19.unless_duplicate(found, best=bool(keep[position]))
                position += 1


def strip_columns(columns: Columns) -> Columns:
    """The rows with `str.strip` applied; `cord_uid` and `title` as they were in `raw_*`."""
    import polars as pl
    import pyarrow as pa

    table = columns.table
    for index, name in enumerate(table.column_names):
        if name in STRIPPED and any(map(_may_have_edges, table[name].chunks)):
            stripped = pl.Series(table[name]).str.strip_chars(SPACES)
            if name in {"cord_uid", "title"}:
                table = table.append_column(f"raw_{name}", table[name])
            table = table.set_column(index, name, stripped.to_arrow().cast(pa.string()))
    return replace(columns, table=table)


def _may_have_edges(texts: pa.StringArray) -> bool:
    """Whether white space may stand at an end of some text: by their first and last bytes."""
    import numpy as np

    _, offsets, data = texts.buffers()
    if data is None or not data.size:
        return False
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    values = np.frombuffer(data, np.uint8)
    some = ends[1:] > ends[:-1]
    first, last = _edges()
    return bool(first[values[ends[:-1][some]]].any() or last[values[ends[1:][some] - 1]].any())


@cache
def _edges() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Per byte whether some white space begins with it, and whether some ends with it."""
    import numpy as np

    tables = np.zeros((2, 256), np.bool_)
    for space in SPACES:
        tables[0, space.encode()[0]] = tables[1, space.encode()[-1]] = True
    return tables[0], tables[1]


def rank_columns(columns: Columns) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Per row what `cord19.identity` and `cord19.rank` say; the columns are stripped."""
    import numpy as np
    import polars as pl

    frame = pl.DataFrame(columns.table.select(cord19.REQUIRED))
    uids = frame["cord_uid"]
    if bool((uids.str.len_bytes() == 8).all()):
        data = columns.table["cord_uid"].combine_chunks().buffers()[2]
        identities = np.frombuffer(data, ">u8", len(uids)).astype(np.uint64)
    else:
        identities = np.array([cord19.identity(uid) for uid in uids.to_list()], np.uint64)
    publishable = each(
        frame["license"], lambda text: text.lower() in cord19.PUBLISHABLE, pl.Boolean
    )
    complete = (frame["title"] != "") & (frame["abstract"] != "")
    ranks = complete.to_numpy().astype(np.int64) << 41
    ranks |= publishable.to_numpy().astype(np.int64) << 40
    return identities, ranks | frame["abstract"].str.len_chars().to_numpy().astype(np.int64)


def convert_columns(
    columns: Columns, keep: NDArray[np.bool_], label: str, options: Options
) -> Block:
    """What `cord19.convert` makes of the rows, duplicates rejected.

    Args:
        columns: Rows of one file, stripped.
        keep: Per row whether it is the best of its paper.
        label: How the file is named.
        options: As for `convert`.
    """
    import numpy as np
    import polars as pl
    import pyarrow as pa

    absent = set(WANTED) - set(columns.table.column_names)
    frame = pl.DataFrame(columns.table).with_columns(
        *(pl.lit("").alias(name) for name in absent), line=pl.Series(columns.lines)
    )
    identified = frame["cord_uid"] != ""
    rejected = (
        ~(pl.Series(keep) & identified)
        | (frame["abstract"] == "")
        | (frame["title"] == "")
        | _is_placeholder(frame["abstract"])
    )
    odd = must_be_converted(frame) & ~rejected
    taken = rejected.to_numpy()
    rejects = list(_rejects(frame.filter(rejected), keep[taken], label, options))
    places = np.cumsum(~taken)[taken].tolist()
    rows = make_records(frame.filter(~(rejected | odd)), label, options)
    if odd.any():
        converted = list(_raws(frame.filter(odd), WANTED, label))
        made = [item for raw in converted for item in cord19.convert(raw, options)]
        others = to_arrow(
            [item for item in made if isinstance(item, Record)],
            [str(raw["_where"]) for raw in converted],
        )
        order = np.argsort(np.argsort(odd.filter(~rejected).to_numpy(), kind="stable"))
        table = pa.Table.from_batches([rows, others]).take(order)
        (rows,) = table.combine_chunks().to_batches()
    return Block(rows, rejects, places)


def _rejects(
    frame: pl.DataFrame, keep: NDArray[np.bool_], label: str, options: Options
) -> Iterator[Reject]:
    """Why each of these rows is no record, by what `cord19` says of rows."""
    for name in ("cord_uid", "title"):
        if f"raw_{name}" in frame.columns:
            frame = frame.with_columns(frame[f"raw_{name}"].alias(name))
    raws = _raws(frame, ("cord_uid", "title", "abstract"), label)
    for raw, best in zip(raws, keep.tolist(), strict=True):
        found = cord19.unless_duplicate(raw, best=best)
        outcomes = (found,) if isinstance(found, Reject) else cord19.convert(found, options)
        yield from (item for item in outcomes if isinstance(item, Reject))


def _raws(frame: pl.DataFrame, names: Sequence[str], label: str) -> Iterator[Raw]:
    """The rows as the strict reader gives them."""
    columns = [frame[name].to_list() for name in names]
    for line, *texts in zip(frame["line"].to_list(), *columns, strict=True):
        yield {**dict(zip(names, texts, strict=True)), "_where": f"{label}:{line}"}


def _is_placeholder(abstracts: pl.Series) -> pl.Series:
    """`cord19.is_placeholder`."""
    short = abstracts.str.strip_chars_end(".").str.len_bytes() <= _SHORT
    found = [cord19.is_placeholder(text) for text in abstracts.filter(short).to_list()]
    return (short & False).scatter(short.arg_true(), found) if found else short
