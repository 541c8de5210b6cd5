"""From raw rows to rows that may stand in a corpus: converted, held to the rules, cleaned.

The unit is a batch: what is asked of every text (is there anything personal in it?) is asked of a
thousand at once, and a batch can be worked on anywhere, since it depends on nothing but its rows.
What comes of a row does not depend on its neighbours in the batch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from meadow.schema import (
    Author,
    Fact,
    Raw,
    Reason,
    Record,
    Reject,
    arrow_schema,
    has_lone_surrogate,
    order_key,
)
from meadow.source import Options, OriginName
from meadow.text.clean import clean_records

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source's rows are held to; picklable, so that a batch can be sent anywhere.

    Args:
        source: The source's name; who works on a batch looks it up.
        origin: Which of its origins.
        options: What the conversion is asked for.
        exclude: Ids taken down: record ids, upstream ids or URLs.
    """

    source: str
    origin: OriginName
    options: Options
    exclude: frozenset[str]


@dataclass(slots=True)
class Admission:
    """What became of a batch.

    Args:
        rows: The rows admitted, in the columns of a shard and `_where`.
        identities: 16 bytes a row: its id.
        digests: 16 bytes a row: a digest of its three texts.
        order: Per row the key by which a corpus is sorted; None where upstream has no id.
        rejects: The rows that were not, in reading order.
        facts: (group, value) -> count.
    """

    rows: pa.RecordBatch
    identities: bytes
    digests: bytes
    order: list[bytes | None]
    rejects: list[Reject]
    facts: Counter[tuple[str, str]]

    @classmethod
    def of(
        cls,
        rows: pa.RecordBatch,
        *,
        rejects: list[Reject],
        facts: Counter[tuple[str, str]],
        ids: Iterable[str],
        texts: Iterable[tuple[str, str, str]],
        upstream_ids: Iterable[str | None],
    ) -> Admission:
        """From the rows, and the columns of them that the spool goes by."""
        digests = (
            hashlib.blake2b("\x1f".join(three).encode(), digest_size=16).digest() for three in texts
        )
        return cls(
            rows,
            bytes.fromhex("".join(ids)),
            b"".join(digests),
            [None if name is None else order_key(name) for name in upstream_ids],
            rejects,
            facts,
        )

    @property
    def candidates(self) -> int:
        """How many rows there were to decide on."""
        return int(self.rows.num_rows) + len(self.rejects)


def batches(items: Iterable[Any], size: int = 0) -> Iterator[list[Any]]:
    """What a reader gives, `size` (else `BATCH_ROWS`) at a time."""
    size = size or BATCH_ROWS
    held: list[Any] = []
    for item in items:
        held.append(item)
        if len(held) >= size:
            yield held
            held = []
    if held:
        yield held


def admit(raws: Sequence[Raw | Reject | Fact], rules: Rules, most: int | None = None) -> Admission:
    """Convert a batch of raw rows and decide on each of them.

    Args:
        raws: As the source's reader gives them.
        rules: What they are held to.
        most: Stop after that many candidates; None for all.
    """
    from meadow.sources import SOURCES

    convert = SOURCES[rules.source].origin(rules.origin).convert
    facts: Counter[tuple[str, str]] = Counter()
    found: list[Record | Reject] = []
    places: list[str] = []
    for raw in raws:
        if most is not None and len(found) >= most:
            break
        if isinstance(raw, Reject):
            found.append(raw)
            places.append(raw.where)
        elif isinstance(raw, Fact):
            facts[raw.group, raw.value] += raw.count
        else:
            where = str(raw["_where"])
            for item in convert(raw, rules.options):
                if isinstance(item, Fact):
                    facts[item.group, item.value] += item.count
                elif most is None or len(found) < most:
                    found.append(item)
                    places.append(where)
    outcomes = decide(found, places, rules)
    kept = [index for index, item in enumerate(outcomes) if isinstance(item, Record)]
    records = [item for item in outcomes if isinstance(item, Record)]
    return Admission.of(
        to_arrow(records, [places[index] for index in kept]),
        rejects=[item for item in outcomes if isinstance(item, Reject)],
        facts=facts,
        ids=[record.id for record in records],
        texts=[(record.instruction, record.input, record.output) for record in records],
        upstream_ids=[record.source_id for record in records],
    )


def decide(
    found: Sequence[Record | Reject], places: Sequence[str], rules: Rules
) -> list[Record | Reject]:
    """What becomes of each candidate: rejects stay, records are held to the rules and cleaned.

    Args:
        found: What the converter made.
        places: Per candidate where it stands in the raw files.
        rules: What they are held to.
    """
    from meadow.sources import SOURCES

    held = [
        _hold(item, where, rules) if isinstance(item, Record) else item
        for item, where in zip(found, places, strict=True)
    ]
    records = [item for item in held if isinstance(item, Record)]
    cleaned = iter(clean_records(records, SOURCES[rules.source], rules.options.style))
    outcomes: list[Record | Reject] = []
    for item, where in zip(held, places, strict=True):
        outcome = item if isinstance(item, Reject) else next(cleaned)
        if isinstance(outcome, Reject) and outcome is not item:
            # a converter names the place itself, the cleaner knows the row only
            outcome = replace(outcome, where=where)
        outcomes.append(outcome)
    return outcomes


def _hold(record: Record, where: str, rules: Rules) -> Record | Reject:
    """The record, unless it cannot be written or was taken down."""
    texts = (record.instruction, record.input, record.output)
    if any(map(has_lone_surrogate, texts)):
        return Reject(where, Reason.LONE_SURROGATE, "not encodable as UTF-8", " ".join(texts))
    if rules.exclude and not rules.exclude.isdisjoint(
        {record.id, record.source_id, record.url, f"{record.source}:{record.source_id}"}
    ):
        return Reject(where, Reason.EXCLUDED, "named in exclude_ids.txt", record.id)
    return record


def to_arrow(records: Sequence[Record], places: Sequence[str]) -> pa.RecordBatch:
    """Records as Arrow columns, with `_where` behind them."""
    import pyarrow as pa

    schema = spool_schema()
    columns: list[pa.Array] = []
    for column in schema:
        if column.name == "authors":
            columns.append(_authors([record.authors for record in records], column.type))
        elif column.name == "_where":
            columns.append(pa.array(places, pa.string()))
        else:
            values = [getattr(record, column.name) for record in records]
            columns.append(pa.array(values, pa.string()))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def spool_schema() -> pa.Schema:
    """The columns of a shard, and the place in the raw file for the quarantine."""
    import pyarrow as pa

    return arrow_schema().append(pa.field("_where", pa.string()))


def _authors(lists: Sequence[Sequence[Author]], kind: pa.ListType) -> pa.ListArray:
    """Lists of authors as one array; pyarrow takes far longer over lists of dictionaries."""
    import pyarrow as pa

    authors = [author for names in lists for author in names]
    offsets = [0]
    for names in lists:
        offsets.append(offsets[-1] + len(names))
    fields = list(kind.value_type)
    columns = [
        pa.array([getattr(author, each.name) for author in authors], pa.string()) for each in fields
    ]
    values = pa.StructArray.from_arrays(columns, fields=fields)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind)
