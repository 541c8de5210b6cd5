"""How long all of Stack Exchange and all of PubMed would take, from rates measured here.

Builds of a Posts.xml and a metadata.csv (`raw_files`) by one process each; then the CPU time that
the whole collections would take at that cost. CPU time and not wall time, which on a shared machine
is that of its neighbours. PubMed has no reader in this house: its records are taken to cost what a
row of CORD-19's metadata.csv costs (title, abstract, names and numbers too). The table goes into
docs/scale.md, between its two marks.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bench_scale import build
from support.measured import table

from meadow.atomic import write_text

SIZE_MB = 100
ROUNDS = 3
STACK_EXCHANGE_GB = 110
"""Posts.xml of all sites, uncompressed; most of it is one site's."""
PUBMED_RECORDS = 37_000_000
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
BEGIN = "<!-- sizing: written by `make bench BENCH=sizing` -->\n"
END = "<!-- /sizing -->\n"


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Measure, print, and write the table into the page.

    Args:
        size_mb: Size of each file; 100 by default.
    """
    size = size_mb or SIZE_MB
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        folder = Path(name)
        for kind in ("posts", "metadata"):
            took = build(kind, size, folder, ROUNDS)
            measured[kind] = took | rates(took, int(took["bytes"]), int(took["rows"]))
    columns = ["wall_s", "cpu_s", "peak_mb", "mb_per_cpu_s", "rows_per_cpu_s"]
    table(measured, columns)
    posts_s = STACK_EXCHANGE_GB * 1e3 / measured["posts"]["mb_per_cpu_s"]
    records_s = PUBMED_RECORDS / measured["metadata"]["rows_per_cpu_s"]
    result = {
        "bench": "sizing",
        "ratios": {
            "all of Stack Exchange, core hours": round(posts_s / 3600, 2),
            "all of PubMed, core hours": round(records_s / 3600, 2),
        },
        "targets": {},
        "input_text": f"Files of {size} MB, medians of {ROUNDS} builds by one process; core hours "
        "are those of the whole collections at the same CPU time per byte or record.",
        "measured": measured,
    }
    text = GUIDE.read_text(encoding="utf-8")
    write_text(GUIDE, put(text, render(result)))
    return result


def rates(took: dict[str, float], size: int, rows: int) -> dict[str, float]:
    """What a second of one core does."""
    return {
        "input_bytes": size,
        "input_rows": rows,
        "mb_per_cpu_s": size / 1e6 / took["cpu_s"],
        "rows_per_cpu_s": rows / took["cpu_s"],
    }


def render(result: dict[str, Any]) -> str:
    """The table of the page, from one result."""
    posts, metadata = result["measured"]["posts"], result["measured"]["metadata"]
    hours = result["ratios"]
    records = PUBMED_RECORDS / metadata["input_rows"]
    rows = [
        (
            f"Stack Exchange, {STACK_EXCHANGE_GB} GB of Posts.xml",
            posts,
            hours["all of Stack Exchange, core hours"],
            STACK_EXCHANGE_GB * posts["shard_bytes"] / posts["input_bytes"],
        ),
        (
            f"PubMed, {PUBMED_RECORDS / 1e6:g} M records",
            metadata,
            hours["all of PubMed, core hours"],
            records * metadata["shard_bytes"] / 1e9,
        ),
    ]
    lines = [
        "| all of | MB per core second | rows per core second | core hours | shards, GB |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {rate['mb_per_cpu_s']:,.1f} | {rate['rows_per_cpu_s']:,.0f} | {time:,.1f} "
        f"| {disk:,.0f} |"
        for name, rate, time, disk in rows
    ]
    return "\n".join(lines) + "\n"


def put(page: str, text: str) -> str:
    """The page with that table between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has lost its marks for the table of sizes")
    return f"{before}{begin}{text}{end}{after}"


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
