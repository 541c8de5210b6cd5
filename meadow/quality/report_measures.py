"""What the report measures of the rows themselves: lengths, kinds, duplicates, personal data.

Everything here takes polars frames of records and gives plain values for report.json. Lengths are
characters (code points).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meadow.licenses import LICENSES
from meadow.quality.flags import FLAGS, TEXTS
from meadow.text.privacy_rules import Kind

if TYPE_CHECKING:
    import polars as pl

EDGES = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 1_000_000_000)
"""Bins that double; the last one is open."""
EXAMPLES = 5
EXCERPT = 160
NEAR_ROWS = 200_000
"""Up to so many rows near duplicates are looked for too; above, equal texts only."""


def counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    """Value -> rows, the commonest first."""
    tally = frame[column].drop_nulls().value_counts(sort=True)
    pairs = zip(tally[column].to_list(), tally["count"].to_list(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def licenses(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """One entry per licence with its terms; a key that is not known has none."""
    found = []
    for key, rows in counts(frame, "license").items():
        license = LICENSES.get(key)
        found.append(
            {
                "key": key,
                "rows": rows,
                "name": license.name if license else key,
                "url": license.url if license else "",
                "redistribute": license.redistribute if license else "unknown",
                "share_alike": bool(license and license.share_alike),
                "attribution": bool(license and license.attribution),
                "non_commercial": bool(license and license.non_commercial),
            }
        )
    return found


def lengths(frame: pl.DataFrame) -> dict[str, Any]:
    """Histograms per field and quantiles per source."""
    import polars as pl

    sizes = frame.select("source", *(pl.col(name).str.len_chars() for name in TEXTS)).with_columns(
        (pl.col("instruction") + pl.col("input")).alias("prompt")
    )
    fields = {}
    for name in TEXTS:
        values = sizes[name]
        fields[name] = [
            int(((values >= low) & (values < high)).sum())
            for low, high in itertools.pairwise(EDGES)
        ]
    by_source: dict[str, Any] = {}
    for name in ("prompt", "output"):
        column = pl.col(name)
        table = sizes.group_by("source").agg(
            column.median().alias("median"),
            column.quantile(0.95, "nearest").alias("p95"),
            column.mean().alias("mean"),
            column.max().alias("max"),
        )
        for row in table.sort("source").iter_rows(named=True):
            by_source.setdefault(row["source"], {})[name] = {
                "median": int(row["median"]),
                "p95": int(row["p95"]),
                "mean": round(row["mean"], 1),
                "max": int(row["max"]),
            }
    return {"unit": "characters", "edges": list(EDGES), "fields": fields, "sources": by_source}


def personal_data(frame: pl.DataFrame) -> dict[str, Any]:
    """Rows in which something was replaced, by source and kind, from the repairs in `meta`."""
    import polars as pl

    kinds = [kind.value for kind in Kind]
    table = frame.group_by("source").agg(
        pl.col("meta").str.contains(f'"scrubbed_{kind}"', literal=True).sum().alias(kind)
        for kind in kinds
    )
    sources = {
        row["source"]: {kind: row[kind] for kind in kinds if row[kind]}
        for row in table.sort("source").iter_rows(named=True)
    }
    sources = {source: found for source, found in sources.items() if found}
    used = [kind for kind in kinds if any(kind in found for found in sources.values())]
    return {"kinds": used, "sources": sources}


def flags(frames: Iterable[tuple[str, str, pl.DataFrame]]) -> list[dict[str, Any]]:
    """Every flag with its count, the count by source, and a few rows to look at.

    Args:
        frames: Config, split and rows, in the order in which the rows are numbered.
    """
    found: list[dict[str, Any]] = [
        {
            "name": flag.name,
            "title": flag.title,
            "why": flag.why,
            "rows": 0,
            "by_source": {},
            "examples": [],
        }
        for flag in FLAGS
    ]
    for config, split, frame in frames:
        tests = frame.select(flag.test().fill_null(value=False).alias(flag.name) for flag in FLAGS)
        for flag, entry in zip(FLAGS, found, strict=True):
            numbers = tests[flag.name].arg_true()
            if not len(numbers):
                continue
            hits = frame[numbers]
            entry["rows"] += len(hits)
            for source, rows in counts(hits, "source").items():
                entry["by_source"][source] = entry["by_source"].get(source, 0) + rows
            room = EXAMPLES - len(entry["examples"])
            for number, row in zip(
                numbers.head(room).to_list(), hits.head(room).iter_rows(named=True), strict=True
            ):
                entry["examples"].append(
                    {
                        "config": config,
                        "split": split,
                        "row": number,
                        "id": row["id"],
                        "source": row["source"],
                        "excerpt": _excerpt(row, flag.column, flag.pattern),
                        **{name: row[name] for name in TEXTS},
                    }
                )
    return found


def _excerpt(row: Mapping[str, Any], column: str, pattern: str) -> str:
    """A few words around what was found, on one line."""
    import polars as pl

    texts = [row[column], *(row[name] for name in TEXTS if name != column)]
    if pattern:
        for text in texts:
            hit = pl.Series([text]).str.extract(f"(?s)(.{{0,60}}(?:{pattern}).{{0,90}})", 1)[0]
            if hit is not None:
                return " ".join(hit.split())[:EXCERPT]
    return " ".join(str(row[column]).split())[:EXCERPT]


def duplicate_matrix(pairs: pl.DataFrame, basis: str) -> dict[str, Any]:
    """Duplicates by source of the row that stays (down) and of the row that goes (across).

    Args:
        pairs: Columns kept, dropped (sources) and kind.
        basis: What was compared, for people.
    """
    names = sorted({*pairs["kept"].to_list(), *pairs["dropped"].to_list()})
    place = {name: index for index, name in enumerate(names)}
    cells = [[0] * len(names) for _ in names]
    for kept, dropped, rows in pairs.group_by("kept", "dropped").len().iter_rows():
        cells[place[kept]][place[dropped]] = rows
    return {
        "basis": basis,
        "sources": names,
        "matrix": cells,
        "pairs": len(pairs),
        "kinds": counts(pairs, "kind"),
    }


def find_pairs(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The duplicates inside a corpus that no mix has deduplicated yet.

    Returns:
        Columns kept, dropped (sources) and kind; and what was compared, for people.
    """
    import polars as pl

    from meadow.mix.duplicates import THRESHOLD, find_duplicates

    near = len(frame) <= NEAR_ROWS
    unique = frame.unique("id", keep="first", maintain_order=True)
    dropped = find_duplicates(unique, near=near).dropped
    source = unique.select("id", "source")
    pairs = (
        dropped.join(source.rename({"id": "kept_id", "source": "kept"}), on="kept_id")
        .join(source.rename({"id": "dropped_id", "source": "dropped"}), on="dropped_id")
        .select("kept", "dropped", pl.col("kind").cast(pl.String))
    )
    how = (
        f"equal words, or a Jaccard similarity of word 3-grams of at least {THRESHOLD}"
        if near
        else f"equal words; near duplicates are the mix's business above {NEAR_ROWS:,} rows"
    )
    return pairs, f"Found in this corpus: {how}. Down: the row that a mix would keep."
