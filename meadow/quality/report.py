"""The quality report of a corpus or mix: report.json, and the page and the text made from it.

Every number is measured from the shards or taken from the manifest. report.json is what the browse
page's Overview reads; report.html is one self-contained page, report.md its twin.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meadow.atomic import write_bytes
from meadow.corpus.commit import commit_folder
from meadow.corpus.folder import Corpus
from meadow.corpus.manifest import Manifest, hash_json
from meadow.licenses import LICENSES
from meadow.quality.flags import FLAGS, TEXTS
from meadow.schema import Reason
from meadow.sources.release_2023 import compare
from meadow.text.privacy_rules import Kind

if TYPE_CHECKING:
    import polars as pl

FOLDER = "report"
REPORT_VERSION = 1
PAIRS = "raw_pairs"
"""The sidecar config that holds texts from before a rewrite; not rows of the corpus."""
COLUMNS = [
    "id", "instruction", "input", "output", "source", "subset", "task", "license", "url",
    "authors", "rephrased_by", "meta",
]  # fmt: skip
DUPLICATES = "duplicates.parquet"
NOT_AT_HAND = "not at hand"
_REPEATS = frozenset({Reason.DUPLICATE.value, Reason.CONFLICT.value, Reason.NEAR_DUPLICATE.value})
_BROKEN = frozenset(reason.value for reason in Reason if reason.malformed)
_BUILD_STAGES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("readable", lambda reason: reason in _BROKEN),
    ("selected", lambda reason: reason not in _BROKEN and reason not in _REPEATS),
    ("distinct", lambda reason: reason in _REPEATS),
)
"""A build rejects in one pass; the flow shows its reasons in three groups."""


def subject(manifest: Manifest) -> str:
    """What a report speaks of: a hash of the manifest less the files that are made from it."""
    document = manifest.to_json()
    del document["files"]
    return hash_json(document)


def build_report(corpus: Corpus, origin: Corpus | None = None) -> dict[str, Any]:
    """Measure a corpus.

    Args:
        corpus: A build or a mix.
        origin: The build that a mix was drawn from: it knows the sources of dropped duplicates.

    Returns:
        A JSON document; `subject` says which manifest it speaks of.
    """
    import polars as pl

    manifest = corpus.manifest
    shards = [shard for config in _configs(corpus) for shard in corpus.shards(config)]
    frames = [
        (config, split, _frame(corpus, config, split))
        for config in _configs(corpus)
        for split in manifest.splits()[config]
    ]
    frame = pl.concat([rows for _, _, rows in frames]) if frames else _empty()
    found = counts(frame, "source")
    subsets = {
        source: counts(frame.filter(pl.col("source") == source), "subset") for source in found
    }
    return {
        "report_version": REPORT_VERSION,
        "subject": subject(manifest),
        "stage": manifest.stage,
        "rows": len(frame),
        "bytes": sum(shard.bytes for shard in shards),
        "shards": len(shards),
        "splits": [
            {"config": config, "split": split, "rows": len(rows)} for config, split, rows in frames
        ],
        "warnings": _warnings(manifest),
        "sources": _sources(manifest, frames, found),
        "tasks": counts(frame, "task"),
        "rephrased": counts(frame, "rephrased_by"),
        "licenses": licenses(frame),
        "flow": _flow(manifest, len(frame)),
        "parts": _parts(manifest),
        "arithmetic": [str(line) for line in manifest.details.get("arithmetic", ())],
        "lengths": lengths(frame),
        "duplicates": _duplicates(corpus, frame, origin),
        "contamination": _contamination(manifest),
        "personal_data": personal_data(frame),
        "flags": flags(frames),
        "release_2023": compare(found, subsets),
        "versions": manifest.versions,
    }


def write_report(
    corpus: Corpus, folder: Path | None = None, *, origin: Corpus | None = None, page: str = ""
) -> dict[str, Any]:
    """Write report.json, report.html and report.md.

    Args:
        corpus: What to measure.
        folder: Where to; None: `report/` in the corpus, and the manifest then names the files.
        origin: As in `build_report`.
        page: The address of a browse page, for links to example rows.

    Returns:
        The report.
    """
    from meadow.quality.page import render_html, render_markdown

    report = build_report(corpus, origin)
    texts = {
        "report.json": json.dumps(report, ensure_ascii=False, indent=1) + "\n",
        "report.html": render_html(report, page=page),
        "report.md": render_markdown(report, page=page),
    }
    if folder is None:
        documents = {f"{FOLDER}/{name}": text.encode("utf-8") for name, text in texts.items()}
        commit_folder(corpus.folder, corpus.manifest, {}, documents)
    else:
        for name, text in texts.items():
            write_bytes(folder / name, text.encode("utf-8"))
    return report


def _configs(corpus: Corpus) -> list[str]:
    return [config for config in corpus.configs if config != PAIRS]


def _empty() -> pl.DataFrame:
    import polars as pl

    from meadow.schema import arrow_schema

    frame = pl.from_arrow(arrow_schema().empty_table().select(COLUMNS))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _frame(corpus: Corpus, config: str, split: str) -> pl.DataFrame:
    import polars as pl

    frame = pl.from_arrow(corpus.to_arrow(config, split, COLUMNS))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _warnings(manifest: Manifest) -> list[str]:
    found = manifest.details.get("warnings", ())
    return [str(text) for text in found] if isinstance(found, list | tuple) else [str(found)]


def _sources(
    manifest: Manifest, frames: list[tuple[str, str, pl.DataFrame]], found: dict[str, int]
) -> list[dict[str, Any]]:
    """One entry per source: what it is, and where its rows can be browsed."""
    from meadow.sources import SOURCES

    place: dict[str, str] = {}
    for config, _, rows in frames:
        for source in rows["source"].unique():
            place.setdefault(source, config)
    entries = []
    built = manifest.sources if manifest.stage == "build" else {}
    for name in [*found, *sorted(set(built) - set(found))]:
        source, entry = SOURCES.get(name), built.get(name)
        entries.append(
            {
                "name": name,
                "title": source.title if source else name,
                "homepage": source.homepage if source else "",
                "config": place.get(name),
                "rows": found.get(name, 0),
                "rows_in": entry.rows_in if entry else None,
                "rejected": dict(entry.rejected) if entry else {},
                "repaired": dict(entry.repaired) if entry else {},
                "origin": entry.origin if entry else None,
                "exam": bool(source and source.exam),
            }
        )
    return entries


def _flow(manifest: Manifest, rows: int) -> list[dict[str, Any]]:
    """Stage by stage: rows that came through, rows lost there, and why."""

    def stage(name: str, out: int, rejected: dict[str, int]) -> dict[str, Any]:
        losses = sorted(((k, v) for k, v in rejected.items() if v), key=lambda p: (-p[1], p[0]))
        return {
            "name": name,
            "rows": out,
            "lost": sum(rejected.values()),
            "losses": [list(pair) for pair in losses],
        }

    stages: list[dict[str, Any]] = []
    if manifest.stage == "build" and manifest.sources:
        lost: Counter[str] = Counter()
        for entry in manifest.sources.values():
            lost.update(entry.rejected)
        left = sum(entry.rows_in for entry in manifest.sources.values())
        stages.append(stage("raw rows", left, {}))
        for name, belongs in _BUILD_STAGES:
            reasons = {reason: n for reason, n in lost.items() if belongs(reason)}
            left -= sum(reasons.values())
            stages.append(stage(name, left, reasons))
    if manifest.steps:
        stages.append(stage("corpus", manifest.steps[0].rows_in, {}))
        stages += [stage(step.name, step.rows_out, step.rejected) for step in manifest.steps]
        if rows > manifest.steps[-1].rows_out:
            stages.append(stage("with repeats", rows, {}))
    return stages or [stage("rows", rows, {})]


def _duplicates(corpus: Corpus, frame: pl.DataFrame, origin: Corpus | None) -> dict[str, Any]:
    import polars as pl

    if DUPLICATES not in corpus.manifest.named():
        return duplicate_matrix(*find_pairs(frame))
    pairs = pl.read_parquet(corpus.folder / DUPLICATES)
    known = [frame.select("id", "source")]
    if origin is not None:
        table = origin.to_arrow(columns=["id", "source"])
        other = pl.from_arrow(table)
        assert isinstance(other, pl.DataFrame)
        known.append(other)
    sources = pl.concat(known).unique("id", keep="first", maintain_order=True)
    for side in ("kept", "dropped"):
        if f"{side}_source" in pairs.columns:
            pairs = pairs.with_columns(pl.col(f"{side}_source").alias(side))
        else:
            names = sources.rename({"id": f"{side}_id", "source": side})
            pairs = pairs.join(names, on=f"{side}_id", how="left", maintain_order="left")
    pairs = pairs.with_columns(pl.col("kept", "dropped").fill_null(NOT_AT_HAND))
    basis = (
        "Removed by the mix, from its ledger duplicates.parquet. Down: the source of the row that "
        "was kept; across: of the row that was dropped."
    )
    if (pairs["dropped"] == NOT_AT_HAND).any():
        basis += " The sources of dropped rows are read with --corpus DIR."
    return duplicate_matrix(pairs, basis)


def _levels(found: Any) -> dict[str, int]:
    return {level: int(n) for level, n in dict(found or {}).items()}


def _parts(manifest: Manifest) -> list[dict[str, Any]]:
    """Expected against found, part by part of a mix's recipe."""
    names = ("part", "found", "expected", "met", "note")
    parts = manifest.details.get("parts", ())
    return [{name: part.get(name) for name in names} for part in parts if isinstance(part, dict)]


def _contamination(manifest: Manifest) -> dict[str, Any]:
    found = manifest.details.get("contamination")
    if not isinstance(found, dict):
        return {"checked": False, "exams": []}
    exams = [
        {
            "exam": exam,
            "items": int(entry.get("items", 0)),
            "rows": _levels(entry.get("rows")),
            "items_found": _levels(entry.get("items_found")),
            "remaining": _levels(dict(entry.get("remaining") or {}).get("rows")),
            "verdict": str(entry.get("verdict", "")),
        }
        for exam, entry in sorted(found.items())
        if isinstance(entry, dict)
    ]
    return {"checked": bool(exams), "exams": exams}


# What the report measures of the rows themselves: lengths, kinds, duplicates, personal data.
#
# Everything here takes polars frames of records and gives plain values for report.json. Lengths are
# characters (code points).


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
