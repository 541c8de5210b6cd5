"""From raw rows to rows that may stand in a corpus: converted, checked against the rules, cleaned.

The unit is a batch: what is asked of every text (is there anything personal in it?) is asked of a
thousand at once, and a batch can be worked on anywhere, since it depends on nothing but its rows.
What comes of a row does not depend on its neighbours in the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any

from meadow.corpus.names import names_of
from meadow.licenses import LICENSES
from meadow.schema import (
    COLUMNS,
    Author,
    Fact,
    Raw,
    Reason,
    Record,
    Reject,
    arrow_schema,
    dump_meta,
    has_lone_surrogate,
    order_key,
)
from meadow.source import Options, OriginName
from meadow.sources import with_own
from meadow.text.clean import clean_records

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BATCH_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source's rows are held to; picklable, so that a batch can be sent anywhere.

    Args:
        source: The source's name; who works on a batch looks it up.
        origin: Which of its origins.
        options: What the conversion is asked for.
        exclude: Names taken down, as `meadow.corpus.names` spells them.
        errata: Faults that no row may have, as `meadow.exams.errata.row_faults` gives them.
        vouched: Who answers for a licence that is not stated, or disputed, as meadow.toml says it.
        own: What the source's TOML file says; empty for a source of the house.
    """

    source: str
    origin: OriginName
    options: Options
    exclude: frozenset[str]
    errata: frozenset[str] = frozenset()
    vouched: Mapping[str, str] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """What became of some raw rows.

    Args:
        rows: The records, in the columns of a shard and `_where`.
        keys: Per record its `id`, a digest of its three texts (`text`) and the key by which a
            corpus is sorted (`order`; null where upstream has no id), all as bytes, and its `rank`
            among the rows of its id (null where the source has no ranks).
        rejects: The rows that did not become records, in reading order.
        facts: (group, value) -> count.
        excluded: The ids of the records that were taken down.
    """

    rows: pa.RecordBatch
    keys: pl.DataFrame
    rejects: list[Reject]
    facts: Counter[tuple[str, str]]
    excluded: Sequence[str] = ()

    @property
    def candidates(self) -> int:
        """How many rows there were to decide on."""
        return int(self.rows.num_rows) + len(self.rejects)


def batches(items: Iterable[Any], size: int = 0) -> Iterator[list[Any]]:
    """What a reader gives, `size` (else `BATCH_ROWS`) at a time."""
    rest = iter(items)
    while held := list(islice(rest, size or BATCH_ROWS)):
        yield held


def transform_batch(
    raws: Sequence[Raw | Reject | Fact], rules: Rules, most: int | None = None
) -> Batch:
    """Convert some raw rows, check each record against the rules and clean it.

    Args:
        raws: As the source's reader gives them.
        rules: What they are held to.
        most: Stop after that many candidates; None for all.
    """
    source = with_own({rules.source: rules.own} if rules.own else {})[rules.source]
    origin = source.origin(rules.origin)
    facts: Counter[tuple[str, str]] = Counter()
    candidates: list[Record | Reject] = []
    origins: list[Raw] = []
    for raw in raws:
        if most is not None and len(candidates) >= most:
            break
        if isinstance(raw, Fact):
            facts[raw.group, raw.value] += raw.count
            continue
        if isinstance(raw, Reject):
            candidates.append(raw)
            origins.append({})
            continue
        where = str(raw["_where"])
        for item in origin.convert(raw, rules.options):
            if isinstance(item, Fact):
                facts[item.group, item.value] += item.count
            elif most is None or len(candidates) < most:
                candidates.append(_check(item, where, rules) if isinstance(item, Record) else item)
                origins.append(raw)
    records = [item for item in candidates if isinstance(item, Record)]
    cleaned = iter(clean_records(records, source, rules.options.style))
    kept: list[Record] = []
    places: list[str] = []
    ranks: list[int | None] = []
    rejects: list[Reject] = []
    for item, raw in zip(candidates, origins, strict=True):
        if isinstance(item, Reject):
            rejects.append(item)
        elif isinstance(outcome := next(cleaned), Reject):
            # a converter names the place itself, the cleaner knows the record only
            rejects.append(replace(outcome, where=str(raw["_where"])))
        else:
            kept.append(outcome)
            places.append(str(raw["_where"]))
            ranks.append(None if origin.rank is None else origin.rank(raw))
    excluded = [item.excerpt for item in rejects if item.reason is Reason.EXCLUDED]
    return Batch(to_arrow(kept, places), keys_of(kept, ranks), rejects, facts, excluded)


def _check(record: Record, where: str, rules: Rules) -> Record | Reject:
    """The record, unless it cannot be written, was taken down or holds a known error."""
    texts = (record.instruction, record.input, record.output)
    if any(map(has_lone_surrogate, texts)):
        return Reject(where, Reason.LONE_SURROGATE, "not encodable as UTF-8", " ".join(texts))
    if rules.exclude and not rules.exclude.isdisjoint(
        names_of(
            *(record.id, record.source, record.source_id, record.url, record.meta),
            authors=(author.url for author in record.authors),
        )
    ):
        return Reject(where, Reason.EXCLUDED, "named in exclude_ids.txt", record.id)
    if rules.errata:
        from meadow.exams.errata import row_fault

        if fault := row_fault(record.input or record.instruction, record.output, rules.errata):
            return Reject(where, Reason.ERRATUM, f"a known error: {fault}", record.id)
    return _vouched(record, rules.vouched) if rules.vouched else record


def _vouched(record: Record, vouched: Mapping[str, str]) -> Record:
    """The record under the licence that somebody answers for, and who that is, in its `meta`."""
    license = LICENSES[vouched["licence"]]
    authors, url = record.authors, record.url
    if license.attribution:  # decks name nobody: who answers for them is whom readers ask
        authors = authors or (Author(vouched["who"], vouched["url"]),)
        url = url or vouched["url"]
    meta = dump_meta({**json.loads(record.meta), "vouched": dict(vouched)})
    return record._replace(license=license.key, authors=authors, url=url, meta=meta)


def to_arrow(records: Sequence[Record], places: Sequence[str]) -> pa.RecordBatch:
    """Records as Arrow columns, with their places in the raw files as `_where` behind them."""
    import polars as pl
    import pyarrow as pa

    schema = row_schema()
    kind = schema.field("authors").type
    cells = list(zip(*records, strict=True)) or [()] * len(COLUMNS)
    texts: dict[str, Sequence[Any]] = {**dict(zip(COLUMNS, cells, strict=True)), "_where": places}
    # as one struct of columns: a list of dictionaries takes either library far longer
    lists = texts.pop("authors")
    offsets = pl.Series([0, *accumulate(map(len, lists))], dtype=pl.Int32).to_arrow()
    authors = list(chain.from_iterable(lists))
    fields = list(kind.value_type)
    parts = list(zip(*authors, strict=True)) or [()] * len(fields)
    values = dict(zip(Author._fields, parts, strict=True))
    struct = pa.StructArray.from_arrays(_text_columns(values), fields=fields)
    columns = dict(zip(texts, _text_columns(texts), strict=True))
    columns["authors"] = pa.ListArray.from_arrays(offsets, struct, type=kind)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _text_columns(columns: Mapping[str, Sequence[str | None]]) -> list[pa.Array]:
    """Texts as Arrow arrays; by way of polars, since `pa.array` would import all of pandas."""
    import polars as pl
    import pyarrow as pa

    oldest = pl.CompatLevel.oldest()
    cells = (pl.Series(values, dtype=pl.String) for values in columns.values())
    return [column.to_arrow(compat_level=oldest).cast(pa.string()) for column in cells]


def keys_of(records: Sequence[Record], ranks: Sequence[int | None] = ()) -> pl.DataFrame:
    """What the external sort keeps in memory of each record: see `Batch`."""
    import polars as pl

    # encoded one by one: a text that is not ASCII keeps its bytes from when it was screened
    texts = (
        b"\x1f".join((each.instruction.encode(), each.input.encode(), each.output.encode()))
        for each in records
    )
    names = (each.source_id for each in records)
    columns = {
        "id": [bytes.fromhex(each.id) for each in records],
        "text": [hashlib.blake2b(text, digest_size=16).digest() for text in texts],
        "order": [None if name is None else order_key(name) for name in names],
    }
    frame = pl.DataFrame(columns, dict.fromkeys(columns, pl.Binary))
    return frame.with_columns(rank=pl.Series(ranks or [None] * len(records), dtype=pl.Int64))


def row_schema() -> pa.Schema:
    """The columns of a shard, and the place in the raw file for the quarantine."""
    import pyarrow as pa

    return arrow_schema().append(pa.field("_where", pa.string()))
