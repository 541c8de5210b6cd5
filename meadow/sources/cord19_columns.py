"""CORD-19's metadata.csv as columns: what `cord19.convert` makes of it, a block at a time.

Each expression here says for a column what `cord19` says for a row. Where it cannot say exactly the
same, the rows concerned go through `cord19.convert` and are put back in their places.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meadow.admission import spool_schema, to_arrow
from meadow.licenses import LICENSES, License
from meadow.readers.delimited_columns import BLOCK_BYTES, Columns, read_columns
from meadow.schema import Raw, Record, Reject, Style, Task
from meadow.source import Input, Options
from meadow.sources import cord19

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

FACTS = ("arxiv_id", "doi", "journal", "pmcid", "publish_time", "pubmed_id", "source_x")
"""What `meta` holds beside the licence, in the order of its keys."""
WANTED = ("cord_uid", "title", "abstract", "license", "authors", "url", *FACTS)
SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""Every character that `str.strip` and `str.split` take for white space."""
_ODD_SPACES = "".join(rf"\x{{{ord(space):x}}}" for space in SPACES if space != " ")
_ODD_AUTHORS = rf"  |[{_ODD_SPACES}]"
"""Names with more between their words than a space."""
_ODD_META = r'["\\\x00-\x1f]'
"""What JSON escapes."""
_SHORT = 128
"""Bytes; no placeholder is longer, whatever letters and marks it is written with."""


@dataclass(frozen=True, slots=True)
class Block:
    """What became of some rows.

    Args:
        rows: The records, in the columns of a shard and `_where`.
        rejects: The other rows, in reading order.
        places: Per reject how many records of the block stand before it.
    """

    rows: pa.RecordBatch
    rejects: list[Reject]
    places: list[int]


def read(
    inputs: Sequence[Input], options: Options, block_bytes: int = BLOCK_BYTES
) -> Iterator[Block | Raw | Reject]:
    """The rows of `cord19.read`, converted where they were read as columns.

    The files are read twice: first to rank, then to give; between the two, 16 bytes a row are kept.
    """
    identities, ranks = array("Q"), array("q")
    for item in inputs:
        for found in read_columns(item, cord19.REQUIRED, cord19.REQUIRED, block_bytes):
            if isinstance(found, Columns):
                identity, rank = rank_columns(found)
                identities.frombytes(identity.tobytes())
                ranks.frombytes(rank.tobytes())
            elif not isinstance(found, Reject):
                identities.append(cord19.identity(found["cord_uid"]))
                ranks.append(cord19.rank(found))
    keep = cord19.best_rows(identities, ranks)
    del identities, ranks
    position = 0
    for item in inputs:
        for found in read_columns(item, WANTED, cord19.REQUIRED, block_bytes):
            if isinstance(found, Columns):
                size = len(found.lines)
                yield convert_columns(found, keep[position : position + size], item.label, options)
                position += size
            elif isinstance(found, Reject):
                yield found
            else:
                yield cord19.unless_duplicate(found, best=bool(keep[position]))
                position += 1


def rank_columns(columns: Columns) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Per row what `cord19.identity` and `cord19.rank` say."""
    import numpy as np
    import polars as pl

    frame = pl.DataFrame(columns.table).select(
        uid=_strip("cord_uid"),
        complete=(_strip("title") != "") & (_strip("abstract") != ""),
        stated=_strip("license"),
        length=_strip("abstract").str.len_chars(),
    )
    uids = frame["uid"]
    if bool((uids.str.len_bytes() == 8).all()):
        data = uids.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
        identities = np.frombuffer(data, ">u8", len(uids)).astype(np.uint64)
    else:
        identities = np.array([cord19.identity(uid) for uid in uids.to_list()], np.uint64)
    publishable = _mapped(frame["stated"], lambda text: text in cord19.PUBLISHABLE, pl.Boolean)
    complete = frame["complete"].to_numpy().astype(np.int64)
    ranks = complete << 41 | publishable.to_numpy().astype(np.int64) << 40
    return identities, ranks | frame["length"].to_numpy().astype(np.int64)


def convert_columns(
    columns: Columns, keep: NDArray[np.bool_], label: str, options: Options
) -> Block:
    """What `cord19.convert` makes of the rows, duplicates rejected.

    Args:
        columns: Rows of one file.
        keep: Per row whether it is the best of its paper.
        label: How the file is named.
        options: As for `convert`.
    """
    import numpy as np
    import polars as pl
    import pyarrow as pa

    absent = [name for name in WANTED if name not in columns.table.column_names]
    raw = pl.DataFrame(columns.table).with_columns(pl.lit("").alias(name) for name in absent)
    stripped = raw.select(_strip(name) for name in WANTED if name not in {"authors", "url"})
    frame = stripped.with_columns(
        raw["authors"], raw["url"], line=pl.Series(columns.lines), keep=pl.Series(keep)
    )
    rejected = frame.select(
        ~(pl.col("keep") | (pl.col("cord_uid") == ""))
        | (pl.col("cord_uid") == "")
        | (pl.col("abstract") == "")
        | (pl.col("title") == "")
        | _is_placeholder(frame["abstract"])
    ).to_series()
    odd = frame.select(_odd() & ~rejected).to_series()

    def raws(mask: pl.Series) -> Iterator[Raw]:
        lines = columns.lines[mask.to_numpy()].tolist()
        for row, line in zip(raw.filter(mask).iter_rows(named=True), lines, strict=True):
            yield {**row, "_where": f"{label}:{line}"}

    rejects: list[Reject] = []
    for row, best in zip(raws(rejected), keep[rejected.to_numpy()].tolist(), strict=True):
        found = cord19.unless_duplicate(row, best=best)
        outcomes = [found] if isinstance(found, Reject) else cord19.convert(found, options)
        rejects.extend(item for item in outcomes if isinstance(item, Reject))
    places = np.cumsum(~rejected.to_numpy())[rejected.to_numpy()].tolist()
    rows = _records(frame.filter(~(rejected | odd)), label, options)
    if odd.any():
        where = [str(raw["_where"]) for raw in raws(odd)]
        made = [item for raw in raws(odd) for item in cord19.convert(raw, options)]
        others = to_arrow([item for item in made if isinstance(item, Record)], where)
        order = np.argsort(np.argsort(odd.filter(~rejected).to_numpy(), kind="stable"))
        rows = pa.Table.from_batches([rows, others]).take(order).combine_chunks().to_batches()[0]
    return Block(rows, rejects, places)


def _records(frame: pl.DataFrame, label: str, options: Options) -> pa.RecordBatch:
    """Rows of which nothing is odd as records."""
    import hashlib

    import polars as pl
    import pyarrow as pa

    size = len(frame)
    old = options.style is Style.PUBLISHED_2023
    texts, repaired = (frame["abstract"], None) if old else _without_headings(frame["abstract"])
    urls = _addresses(frame)
    authors, named = _authors(_text(frame["authors"]), _text(urls))
    stated = _mapped(frame["license"], lambda text: text.lower(), pl.String)
    free = _mapped(stated, lambda key: not _license(key).attribution, pl.Boolean)
    licenses = pl.select(
        pl.when(free | (urls.is_not_null() & pl.Series(named)))
        .then(_mapped(stated, lambda key: _license(key).key, pl.String))
        .otherwise(pl.lit(cord19.LOCAL_ONLY))
    ).to_series()
    prefix = hashlib.sha256(f"{cord19.NAME}\x1fid\x1f".encode())
    columns = {
        "id": pa.array([_digest(prefix, uid) for uid in frame["cord_uid"].to_list()], pa.string()),
        "instruction": pa.repeat(cord19.INSTRUCTION_2023 if old else cord19.INSTRUCTION, size),
        "input": _text(texts),
        "output": _text(frame["title"]),
        "source": pa.repeat(cord19.NAME, size),
        "task": pa.repeat(Task.SUMMARIZATION.value, size),
        "license": _text(licenses),
        "url": _text(urls),
        "authors": authors,
        "source_id": _text(frame["cord_uid"]),
        "meta": _text(_meta(frame, stated, repaired)),
        "_where": _text(
            frame.select(pl.concat_str(pl.lit(f"{label}:"), pl.col("line"))).to_series()
        ),
    }
    schema = spool_schema()
    nothing = pa.nulls(size, pa.string())
    return pa.RecordBatch.from_arrays(
        [columns.get(name, nothing) for name in schema.names], schema=schema
    )


def _digest(prefix: Any, uid: str) -> str:
    """`record_id` of an id that is one run of ASCII."""
    whole = prefix.copy()
    whole.update(uid.encode())
    digest: str = whole.hexdigest()
    return digest[:32]


def _license(stated: str) -> License:
    return LICENSES[cord19.PUBLISHABLE.get(stated, cord19.LOCAL_ONLY)]


def _strip(name: str) -> pl.Expr:
    """`str.strip`."""
    import polars as pl

    return pl.col(name).str.strip_chars(SPACES)


def _mapped(values: pl.Series, function: Callable[[str], Any], kind: Any) -> pl.Series:
    """A function of each text, asked once for each different one."""
    different = values.unique()
    found = [function(value) for value in different.to_list()]
    return values.replace_strict(different, found, return_dtype=kind)


def _is_placeholder(abstracts: pl.Series) -> pl.Series:
    short = abstracts.str.strip_chars_end(".").str.len_bytes() <= _SHORT
    return _replaced(
        short & False, short, [cord19.is_placeholder(text) for text in abstracts.filter(short)]
    )


def _replaced(values: pl.Series, mask: pl.Series, others: list[Any]) -> pl.Series:
    """The values with others where the mask is set."""
    return values.scatter(mask.arg_true(), others) if others else values


def _odd() -> pl.Expr:
    """Which rows only `cord19.convert` gets exactly right."""
    import polars as pl

    return (
        pl.concat_str(FACTS, separator=" ").str.contains(_ODD_META)
        | pl.col("authors").str.contains(_ODD_AUTHORS)
        | pl.col("cord_uid").str.contains(r"[^\x21-\x7e]")
    )


def _without_headings(abstracts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """`strip_heading`: the texts, and which of them were repaired."""
    headed = abstracts.str.contains(r"\A(?:ABSTRACT|Abstract|abstract)")
    found = [cord19.strip_heading(text) for text in abstracts.filter(headed).to_list()]
    return (
        _replaced(abstracts.clone(), headed, [text for text, _ in found]),
        _replaced(headed & False, headed, [bool(repairs) for _, repairs in found]),
    )


def _addresses(frame: pl.DataFrame) -> pl.Series:
    """`address`."""
    import polars as pl

    def at(name: str, before: str, behind: str = "") -> pl.Expr:
        return pl.concat_str(pl.lit(before), pl.col(name), pl.lit(behind))

    doi = pl.col("doi")
    found = frame.select(
        pl.when(doi.str.starts_with("http")).then(doi)
        .when(doi != "").then(at("doi", "https://doi.org/"))
        .when(pl.col("pmcid") != "")
        .then(at("pmcid", "https://www.ncbi.nlm.nih.gov/pmc/articles/", "/"))
        .when(pl.col("pubmed_id") != "")
        .then(at("pubmed_id", "https://pubmed.ncbi.nlm.nih.gov/", "/"))
        .when(pl.col("arxiv_id") != "").then(at("arxiv_id", "https://arxiv.org/abs/"))
    ).to_series()  # fmt: skip
    none = found.is_null()
    return _replaced(
        found, none, [cord19.address({"url": url}) for url in frame["url"].filter(none).to_list()]
    )


def _authors(column: pa.Array, urls: pa.Array) -> tuple[pa.ListArray, NDArray[np.bool_]]:
    """`authors_of`, and which rows have any."""
    import numpy as np
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = spool_schema().field("authors").type
    split = pc.split_pattern(column, ";")
    rows = np.repeat(np.arange(len(column)), np.diff(split.offsets.to_numpy()))
    names = pl.Series(pc.utf8_trim(split.values, " "))
    frame = pl.DataFrame({"row": rows, "name": names}).filter(pl.col("name") != "")
    mixed = frame["name"].hash() + frame["row"].cast(pl.UInt64) * 0x9E3779B97F4A7C15
    if mixed.n_unique() < len(frame):
        frame = frame.unique(["row", "name"], keep="first", maintain_order=True)
    rows = frame["row"].to_numpy()
    counts = np.bincount(rows, minlength=len(column))
    values = pa.StructArray.from_arrays(
        [_text(frame["name"]), urls.take(pa.array(rows)), pa.repeat("author", len(rows))],
        fields=list(kind.value_type),
    )
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind), counts > 0


def _meta(frame: pl.DataFrame, stated: pl.Series, repaired: pl.Series | None) -> pl.Series:
    """The facts as JSON with sorted keys; what JSON escapes is in none but the licence."""
    import polars as pl

    def fact(name: str, form: str) -> pl.Expr:
        before, behind = form.format(f'"{name}":"').split("|")
        some = pl.concat_str(pl.lit(before), pl.col(name), pl.lit(behind))
        return pl.when(pl.col(name) != "").then(some).otherwise(pl.lit(""))

    license = _mapped(stated, lambda text: json.dumps(text, ensure_ascii=False), pl.String)
    noted = pl.lit("")
    if repaired is not None:
        noted = pl.when(repaired).then(pl.lit(',"repairs":["abstract_heading"]')).otherwise(noted)
    return frame.select(
        pl.concat_str(
            pl.lit("{"),
            *(fact(name, '{}|",') for name in FACTS if name < "license"),
            pl.lit('"license":') + pl.lit(license),
            *(fact(name, ',{}|"') for name in FACTS if "license" < name < "repairs"),
            noted,
            *(fact(name, ',{}|"') for name in FACTS if name > "repairs"),
            pl.lit("}"),
        )
    ).to_series()


def _text(values: pl.Series) -> pa.Array:
    """As the schema's string type."""
    import polars as pl
    import pyarrow as pa

    return values.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
