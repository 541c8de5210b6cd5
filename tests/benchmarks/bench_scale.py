"""Memory and cost per row as the input grows: 100 MB, 1 GB, and 4 GB where SIZE_MB asks for it.

Builds of a Posts.xml and a metadata.csv (`raw_files`), each in a process of its own. The cost of a
row is CPU time less that of the same build of a 1 MB file, by rows of the input, so that what every
build costs at its start does not hide growth. Files are deleted as soon as they are read.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench_cord19 import OURS as BUILD_METADATA
from benchmarks.bench_posts import OURS as BUILD_POSTS
from benchmarks.raw_files import Metadata, Posts, write_metadata, write_posts
from support.measured import medians, run_program, table

SIZE_MB = 1_000
FIRST_MB = 100
LIMITS = {
    "posts: CPU per row, 1 GB over 100 MB": 1.1,
    "metadata: CPU per row, 1 GB over 100 MB": 1.1,
    "posts: peak MB, 1 GB": 700,
    "metadata: peak MB, 1 GB": 700,
}


def build(kind: str, size_mb: float, folder: Path, rounds: int) -> dict[str, float]:
    """What a build of that much input takes, with its bytes and rows and those of its shards."""
    write: Callable[[Path, float], Posts | Metadata] = (
        write_posts if kind == "posts" else write_metadata
    )
    source = folder / ("Posts.xml" if kind == "posts" else "metadata.csv")
    made = write(source, size_mb)
    runs = []
    for _ in range(rounds):
        out = folder / "out"
        command: list[str | Path] = [sys.executable, "-c"]
        if kind == "posts":
            command += [BUILD_POSTS, "1", out, source]
        else:
            command += [BUILD_METADATA, "1", source, out]
        runs.append(run_program(command))
        shards = sum(path.stat().st_size for path in out.rglob("*.parquet"))
        shutil.rmtree(out)
    source.unlink()
    return {**medians(runs), "bytes": made.bytes, "rows": made.rows, "shard_bytes": shards}


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Print peak memory and cost per row.

    Args:
        size_mb: The largest size; 1,000 by default. 4,000 needs about 8 GB of disk.
    """
    largest = size_mb or SIZE_MB
    sizes = sorted({min(FIRST_MB, largest), *(n for n in (1_000,) if n <= largest), largest})
    measured: dict[str, dict[str, float]] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        for kind in ("posts", "metadata"):
            start = build(kind, 1, Path(name), 3)["cpu_s"]
            for size in sizes:
                took = build(kind, size, Path(name), 3 if size <= FIRST_MB else 1)
                took["mb_per_s"] = took["bytes"] / 1e6 / took["wall_s"]
                took["rows_per_s"] = took["rows"] / took["wall_s"]
                took["cpu_us_per_row"] = (took["cpu_s"] - start) / took["rows"] * 1e6
                measured[f"{kind} {size:,} MB"] = took
            first = measured[f"{kind} {sizes[0]:,} MB"]
            for size in sizes[1:]:
                took = measured[f"{kind} {size:,} MB"]
                label = f"{size / 1000:g} GB over {sizes[0]} MB"
                cost = took["cpu_us_per_row"] / first["cpu_us_per_row"]
                ratios[f"{kind}: CPU per row, {label}"] = round(cost, 3)
                growth = took["peak_mb"] / first["peak_mb"]
                ratios[f"{kind}: peak memory, {label}"] = round(growth, 3)
                ratios[f"{kind}: peak MB, {size / 1000:g} GB"] = round(took["peak_mb"])
    columns = ["wall_s", "cpu_s", "peak_mb", "mb_per_s", "rows_per_s", "cpu_us_per_row"]
    table(measured, columns)
    return {
        "bench": "scale",
        "ratios": ratios,
        "targets": {},
        "limits": {what: limit for what, limit in LIMITS.items() if what in ratios},
        "input_text": (
            "Builds with one process. Rows are those of the input; the start of a build is taken "
            "off the cost of a row. 100 MB is the median of three runs, larger sizes are one run."
        ),
        "measured": measured,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
