"""`meadow mix` of a corpus on disk: near duplicates, an exam, the licence gate, shuffling, writing.

The rows are those of the benchmark of near duplicates, with the same question in all of them, so
that all are compared; the exam's items are those of the benchmark of decontamination. The corpus is
built first and not counted. What a million rows need is recorded.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import bench_decontaminate, bench_dedup
from support.measured import run_program, table

ROWS = 100_000
MANY_ROWS = 1_000_000
LIMIT_GIB = 6
SOURCE = """
name = "invented"
title = "Invented rows"
license = "cc0-1.0"
free_text = false

[read]
format = "jsonl"

[row]
task = "open_qa"
instruction = "Answer the question."
input = "What is said?"
output = "{answer}"
id = "{id}"
"""


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Mix and print what it took.

    Args:
        size_mb: Text in megabytes; 42, the default, is 100,000 rows.
    """
    return mixed(size_mb * bench_dedup.ROWS_PER_MB if size_mb else ROWS)


def record() -> dict[str, Any]:
    """A million rows."""
    return mixed(MANY_ROWS)


def mixed(rows: int) -> dict[str, Any]:
    """Build a corpus of invented rows, and mix it in a process of its own."""
    meadow: list[str | Path] = [sys.executable, "-m", "meadow"]
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as place:
        folder = Path(place)
        source, lines, exam = (folder / name for name in ("invented.toml", "rows.jsonl", "e.jsonl"))
        source.write_text(SOURCE, encoding="utf-8")
        texts, _ = bench_dedup.corpus(rows)
        with lines.open("w", encoding="utf-8") as file:
            for row, text in enumerate(texts):
                file.write(f"{json.dumps({'id': f'{row:08d}', 'answer': text})}\n")
        del texts
        with exam.open("w", encoding="utf-8") as file:
            for number, stem in enumerate(bench_decontaminate.inputs(1)[1]):
                item = {"question": stem, "options": {"A": f"answer {number}", "B": "none"}}
                file.write(f"{json.dumps({**item, 'answer_idx': 'A'})}\n")
        corpus, out = folder / "corpus", folder / "mix"
        build = ["build", "--source", source, "--file", f"invented={lines}", "--out", corpus]
        run_program([*meadow, *build])
        mix = ["mix", "clean", "--corpus", corpus, "--exam", f"invented={exam}", "--out", out]
        took = run_program([*meadow, *mix])
        size = sum(path.stat().st_size for path in corpus.rglob("*.parquet"))
        manifest = json.loads((out / "MANIFEST.json").read_text(encoding="utf-8"))
    left = sum(manifest["details"]["splits"].values())
    took["rows_per_s"] = rows / took["wall_s"]
    title = (
        f"{rows:,} rows, {size / 1e6:,.0f} MB of Parquet, against {bench_decontaminate.ITEMS:,} "
        f"items; {left:,} rows in the mix."
    )
    print(title)
    table({"meadow mix": took}, ["wall_s", "cpu_s", "peak_mb", "rows_per_s"])
    peak = f"{rows:,} rows: peak GiB"
    return {
        "bench": "mix",
        "ratios": {
            peak: round(took["peak_mb"] / 1074, 2),
            f"{rows:,} rows: CPU seconds": round(took["cpu_s"], 1),
        },
        "targets": {},
        "limits": {peak: LIMIT_GIB},
        "input_text": title,
        "measured": {f"meadow mix, {rows:,} rows": took},
    }


if __name__ == "__main__":
    print(main())
