"""The quality report of a corpus or mix: report.json, and the page and the text made from it.

Every number is measured from the rows or taken from the manifest. report.json is what the browse
page's Overview reads; report.html is one self-contained page, report.md its twin. Lengths are
characters (code points).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from meadow.atomic import hash_json, write_bytes
from meadow.corpus.commit import commit_folder
from meadow.corpus.flags import FLAGS, TEXTS
from meadow.corpus.folder import DUPLICATES, Corpus
from meadow.corpus.manifest import Manifest
from meadow.licenses import LICENSES
from meadow.mix.duplicates import THRESHOLD, find_duplicates
from meadow.quality.page import render_html, render_markdown
from meadow.schema import Reason
from meadow.sources import with_own
from meadow.sources.release_2023 import compare
from meadow.text.privacy_rules import Kind

FOLDER = "report"
REPORT_VERSION = 1
COLUMNS = [
    "id", "instruction", "input", "output", "source", "subset", "task", "license", "url",
    "authors", "rephrased_by", "meta",
]  # fmt: skip
NOT_AT_HAND = "not at hand"
EDGES = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 1_000_000_000)
"""Bins that double; the last one is open."""
EXAMPLES = 5
EXCERPT = 160
NEAR_ROWS = 200_000
"""Up to so many rows near duplicates are looked for too; above, equal texts only."""
_REPEATS = frozenset({Reason.DUPLICATE.value, Reason.CONFLICT.value, Reason.NEAR_DUPLICATE.value})
_BROKEN = frozenset(reason.value for reason in Reason if reason.malformed)
Part = tuple[str, str, pl.DataFrame]
"""A config, a split, and its rows in the order in which they are numbered."""


def subject(manifest: Manifest) -> str:
    """What a report speaks of: a hash of the manifest less the files that are made from it."""
    document = manifest.to_json()
    del document["files"]
    return hash_json(document)


def build_report(corpus: Corpus, origin: Corpus | None = None) -> dict[str, Any]:
    """Measure a build or a mix: a JSON document whose `subject` says which manifest it speaks of.

    `origin` is the build that a mix was drawn from: it knows the sources of dropped duplicates.
    """
    manifest = corpus.manifest
    parts = [
        (config, split, corpus.to_polars(config, split, COLUMNS))
        for config, splits in manifest.splits().items()
        for split in splits
    ]
    frame = pl.concat([rows for *_, rows in parts] or [corpus.to_polars(columns=COLUMNS)])
    found = counts(frame, "source")
    subsets = {
        source: counts(frame.filter(pl.col("source") == source), "subset") for source in found
    }
    shards = corpus.shards()
    told = manifest.details.get("warnings", ())
    warnings = told if isinstance(told, list | tuple) else [told]
    return {
        "report_version": REPORT_VERSION,
        "subject": subject(manifest),
        "stage": manifest.stage,
        "rows": len(frame),
        "bytes": sum(shard.bytes for shard in shards),
        "shards": len(shards),
        "splits": [
            {"config": config, "split": split, "rows": len(rows)} for config, split, rows in parts
        ],
        "warnings": list(map(str, warnings)),
        "sources": _sources(manifest, parts, found),
        "tasks": counts(frame, "task"),
        "rephrased": counts(frame, "rephrased_by"),
        "licenses": licenses(frame),
        "flow": _flow(manifest, len(frame)),
        "parts": [
            {name: part.get(name) for name in ("part", "found", "expected", "met", "note")}
            for part in manifest.details.get("parts", ())
            if isinstance(part, dict)
        ],
        "arithmetic": [str(line) for line in manifest.details.get("arithmetic", ())],
        "lengths": lengths(frame),
        "duplicates": _duplicates(corpus, frame, origin),
        "contamination": _contamination(manifest),
        "personal_data": personal_data(frame),
        "flags": flags(parts),
        "release_2023": compare(found, subsets),
        "versions": manifest.versions,
    }


def write_report(
    corpus: Corpus, folder: Path | None = None, *, origin: Corpus | None = None, page: str = ""
) -> dict[str, Any]:
    """Write `build_report` as report.json, report.html and report.md.

    Without a folder they go to `report/` in the corpus, and the manifest names them; `page` is the
    address of a browse page, for links to example rows.
    """
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


def counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    """Value -> rows, the commonest first."""
    tally = frame[column].drop_nulls().value_counts()
    return dict(tally.sort("count", column, descending=[True, False]).iter_rows())


def _sources(
    manifest: Manifest, parts: Iterable[Part], found: Mapping[str, int]
) -> list[dict[str, Any]]:
    """One entry per source: what it is, and where its rows can be browsed."""
    place: dict[str, str] = {}
    for config, _, rows in parts:
        for name in rows["source"].unique():
            place.setdefault(name, config)
    built = manifest.sources if manifest.stage == "build" else {}
    known = with_own(manifest.own_sources)
    entries = []
    for name in [*found, *sorted(built.keys() - found.keys())]:
        source, entry = known.get(name), built.get(name)
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


def licenses(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """One entry per licence with its terms; a key that is not known has none."""
    asked = ("share_alike", "attribution", "non_commercial")
    found = []
    for key, rows in counts(frame, "license").items():
        unknown = {"name": key, "url": "", "redistribute": "unknown"} | dict.fromkeys(asked, False)
        license = LICENSES.get(key)
        found.append({"key": key, "rows": rows} | (asdict(license) if license else unknown))
    return found


def _stage_of(reason: str) -> str:
    """A build rejects in one pass; the flow shows its reasons in three groups."""
    if reason in _BROKEN:
        return "readable"
    return "distinct" if reason in _REPEATS else "selected"


def _flow(manifest: Manifest, rows: int) -> list[dict[str, Any]]:
    """Stage by stage: rows that came through, rows lost there, and why."""
    stages: list[tuple[str, int, Mapping[str, int]]] = []
    if manifest.stage == "build" and manifest.sources:
        lost: Counter[str] = Counter()
        for entry in manifest.sources.values():
            lost.update(entry.rejected)
        left = sum(entry.rows_in for entry in manifest.sources.values())
        stages.append(("raw rows", left, {}))
        for name in ("readable", "selected", "distinct"):
            reasons = {reason: n for reason, n in lost.items() if _stage_of(reason) == name}
            left -= sum(reasons.values())
            stages.append((name, left, reasons))
    if manifest.steps:
        stages.append(("corpus", manifest.steps[0].rows_in, {}))
        stages += [(step.name, step.rows_out, step.rejected) for step in manifest.steps]
        if rows > manifest.steps[-1].rows_out:
            stages.append(("with repeats", rows, {}))
    return [
        {
            "name": name,
            "rows": out,
            "lost": sum(rejected.values()),
            "losses": sorted(
                ([why, n] for why, n in rejected.items() if n), key=lambda pair: (-pair[1], pair[0])
            ),
        }
        for name, out, rejected in stages or [("rows", rows, {})]
    ]


def lengths(frame: pl.DataFrame) -> dict[str, Any]:
    """Histograms per field and quantiles per source."""
    sizes = frame.select("source", pl.col(TEXTS).str.len_chars()).with_columns(
        prompt=pl.col("instruction") + pl.col("input")
    )
    bins = list(itertools.pairwise(EDGES))
    fields = {
        name: [int(sizes[name].is_between(*bounds, closed="left").sum()) for bounds in bins]
        for name in TEXTS
    }

    def measured(name: str) -> pl.Expr:
        size = pl.col(name)
        return pl.struct(
            size.median().cast(pl.Int64).alias("median"),
            size.quantile(0.95, "nearest").cast(pl.Int64).alias("p95"),
            size.mean().alias("mean"),
            size.max().cast(pl.Int64).alias("max"),
        ).alias(name)

    table = sizes.group_by("source").agg(measured("prompt"), measured("output")).sort("source")
    by_source = {
        row.pop("source"): {
            name: found | {"mean": round(found["mean"], 1)} for name, found in row.items()
        }
        for row in table.iter_rows(named=True)
    }
    return {"unit": "characters", "edges": list(EDGES), "fields": fields, "sources": by_source}


def _duplicates(corpus: Corpus, frame: pl.DataFrame, origin: Corpus | None) -> dict[str, Any]:
    """By source of the row that stays (down) and of the row that goes (across)."""
    mixed = DUPLICATES in corpus.manifest.named()
    pairs, basis = _ledger(corpus, frame, origin) if mixed else _find_pairs(frame)
    names = sorted({*pairs["kept"], *pairs["dropped"]})
    cells = {
        (kept, dropped): n for kept, dropped, n in pairs.group_by("kept", "dropped").len().rows()
    }
    return {
        "basis": basis,
        "sources": names,
        "matrix": [[cells.get((kept, dropped), 0) for dropped in names] for kept in names],
        "pairs": len(pairs),
        "kinds": counts(pairs, "kind"),
    }


def _with_sources(pairs: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of ids with the sources of both rows, kept and dropped; null where it is not known."""
    for side in ("kept", "dropped"):
        names = rows.select(pl.col("id").alias(f"{side}_id"), pl.col("source").alias(side))
        pairs = pairs.join(names, on=f"{side}_id", how="left", maintain_order="left")
    return pairs


def _ledger(corpus: Corpus, frame: pl.DataFrame, origin: Corpus | None) -> tuple[pl.DataFrame, str]:
    """The pairs that a mix dropped."""
    pairs = corpus.duplicates()
    known = [frame.select("id", "source")]
    if origin is not None:
        known.append(origin.to_polars(columns=["id", "source"]))
    pairs = _with_sources(pairs, pl.concat(known).unique("id", keep="first", maintain_order=True))
    # a ledger that names the sources knows better: the dropped rows may be nowhere any more
    pairs = pairs.with_columns(
        pl.coalesce(*(name for name in (f"{side}_source", side) if name in pairs.columns))
        .fill_null(NOT_AT_HAND)
        .alias(side)
        for side in ("kept", "dropped")
    )
    basis = (
        "Removed by the mix, from its ledger duplicates.parquet. Down: the source of the row that "
        "was kept; across: of the row that was dropped."
    )
    if "question_jaccard" in pairs.columns and len(pairs):
        other = int((pairs["question_jaccard"] < 1).sum())
        basis += f" Of the {len(pairs):,} dropped rows {other:,} had a question in other words."
    if (pairs["dropped"] == NOT_AT_HAND).any():
        basis += " The sources of dropped rows are read with --corpus DIR."
    return pairs, basis


def _find_pairs(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The duplicates inside a corpus that no mix has deduplicated yet."""
    near = len(frame) <= NEAR_ROWS
    unique = frame.unique("id", keep="first", maintain_order=True)
    dropped = find_duplicates(unique, near=near).dropped
    pairs = _with_sources(dropped.with_columns(pl.col("kind").cast(pl.String)), unique)
    how = (
        f"equal words, or a Jaccard similarity of word 3-grams of at least {THRESHOLD}"
        if near
        else f"equal words; near duplicates are the mix's business above {NEAR_ROWS:,} rows"
    )
    return pairs, f"Found in this corpus: {how}. Down: the row that a mix would keep."


def _contamination(manifest: Manifest) -> dict[str, Any]:
    def levels(found: Any) -> dict[str, int]:
        return {level: int(n) for level, n in dict(found or {}).items()}

    found = manifest.details.get("contamination")
    exams = [
        {
            "exam": exam,
            "items": int(entry.get("items", 0)),
            "rows": levels(entry.get("rows")),
            "items_found": levels(entry.get("items_found")),
            "remaining": levels(dict(entry.get("remaining") or {}).get("rows")),
            "verdict": str(entry.get("verdict", "")),
        }
        for exam, entry in sorted(found.items() if isinstance(found, dict) else ())
        if isinstance(entry, dict)
    ]
    return {"checked": bool(exams), "exams": exams}


def personal_data(frame: pl.DataFrame) -> dict[str, Any]:
    """Rows in which something was replaced, by source and kind, from the repairs in `meta`."""
    kinds = [kind.value for kind in Kind]
    table = frame.group_by("source").agg(
        pl.col("meta").str.contains(f'"scrubbed_{kind}"', literal=True).sum().alias(kind)
        for kind in kinds
    )
    sources = {
        row["source"]: found
        for row in table.sort("source").iter_rows(named=True)
        if (found := {kind: row[kind] for kind in kinds if row[kind]})
    }
    used = [kind for kind in kinds if any(kind in found for found in sources.values())]
    return {"kinds": used, "sources": sources}


def flags(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Every flag with its count, the count by source, and a few rows to look at."""
    found: list[dict[str, Any]] = [
        {"name": flag.name, "title": flag.title, "why": flag.why, "rows": 0,
         "by_source": Counter(), "examples": []}
        for flag in FLAGS
    ]  # fmt: skip
    for config, split, frame in parts:
        # all flags in one pass: polars shares what their expressions have in common
        tests = frame.select(
            flag.raised().fill_null(value=False).alias(flag.name) for flag in FLAGS
        )
        for flag, entry in zip(FLAGS, found, strict=True):
            hits = frame.with_row_index("row").filter(tests[flag.name])
            entry["rows"] += len(hits)
            entry["by_source"].update(counts(hits, "source"))
            room = EXAMPLES - len(entry["examples"])
            entry["examples"] += [
                {
                    "config": config,
                    "split": split,
                    "row": row["row"],
                    "id": row["id"],
                    "source": row["source"],
                    "excerpt": _excerpt(row, flag.column, flag.pattern),
                    **{name: row[name] for name in TEXTS},
                }
                for row in hits.head(room).iter_rows(named=True)
            ]
    return found


def _excerpt(row: Mapping[str, Any], column: str, pattern: str) -> str:
    """A few words around what was found, on one line."""
    texts = [row[column], *(row[name] for name in TEXTS if name != column)]
    if pattern:
        around = f"(?s)(.{{0,60}}(?:{pattern}).{{0,90}})"
        hits = pl.Series(texts).str.extract(around, 1).drop_nulls()
        texts = [*hits, *texts]
    return " ".join(str(texts[0]).split())[:EXCERPT]
