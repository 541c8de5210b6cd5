"""CORD-19's rows as columns of records: `cord19.convert` said of columns.

Exact for every row that `must_be_converted` passes over; tests hold the two to each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meadow.build.transform import spool_schema
from meadow.licenses import LICENSES, License
from meadow.schema import Style, Task
from meadow.source import Options
from meadow.sources import cord19

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa
    from numpy.typing import NDArray

FACTS = ("arxiv_id", "doi", "journal", "pmcid", "publish_time", "pubmed_id", "source_x")
"""What `meta` holds beside the licence and the repairs, in the order of its keys."""
_SPACED = (
    r"  |[\t-\r\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
)
"""Names with more between their words than a space, by what `str.split` takes for white space."""
_ESCAPED = r'["\\\x00-\x1f]'
"""What JSON escapes."""


def make_records(frame: pl.DataFrame, label: str, options: Options) -> pa.RecordBatch:
    """Rows as records, in the columns of a shard and `_where`.

    Args:
        frame: Stripped columns and `line`; no row is a reject or one that `must_be_converted`.
        label: How the file is named.
        options: As for `cord19.convert`.
    """
    import polars as pl
    import pyarrow as pa

    size = len(frame)
    old = options.style is Style.PUBLISHED_2023
    texts, repaired = (frame["abstract"], None) if old else _without_headings(frame["abstract"])
    urls = _addresses(frame)
    authors, named = _authors(_text(frame["authors"]), _text(urls))
    stated = each(frame["license"], lambda text: text.lower(), pl.String)
    free = each(stated, lambda key: not _license(key).attribution, pl.Boolean)
    licenses = pl.select(
        pl.when(free | (urls.is_not_null() & pl.Series(named)))
        .then(each(stated, lambda key: _license(key).key, pl.String))
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


def each(values: pl.Series, function: Callable[[str], Any], kind: Any) -> pl.Series:
    """A function of each text, asked once for each different one."""
    import polars as pl

    different = values.unique()
    found = [function(value) for value in different.to_list()]
    if not found:
        return pl.Series(values.name, [], kind)  # polars would keep the old type
    return values.replace_strict(different, found, return_dtype=kind)


def _replaced(values: pl.Series, mask: pl.Series, others: list[Any]) -> pl.Series:
    """The values with others where the mask is set."""
    return values.scatter(mask.arg_true(), others) if others else values


def must_be_converted(frame: pl.DataFrame) -> pl.Series:
    """Which rows only `cord19.convert` gets exactly right."""
    import polars as pl

    return frame.select(
        pl.concat_str(FACTS, separator=" ").str.contains(_ESCAPED)
        | pl.col("authors").str.contains(_SPACED)
        | pl.col("cord_uid").str.contains(r"[^\x21-\x7e]")
    ).to_series()


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
    names = pc.ascii_trim(split.values, " ")
    texts = pl.Series(names)
    mixed = texts.hash() + pl.Series(rows, dtype=pl.UInt64) * 0x9E3779B97F4A7C15
    if mixed.n_unique() < len(texts) or bool((texts == "").any()):
        frame = pl.DataFrame({"row": rows, "name": texts}).filter(pl.col("name") != "")
        frame = frame.unique(["row", "name"], keep="first", maintain_order=True)
        rows, names = frame["row"].to_numpy(), _text(frame["name"])
    counts = np.bincount(rows, minlength=len(column))
    values = pa.StructArray.from_arrays(
        [names, urls.take(pa.array(rows)), pa.repeat("author", len(rows))],
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

    license = each(stated, lambda text: json.dumps(text, ensure_ascii=False), pl.String)
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
