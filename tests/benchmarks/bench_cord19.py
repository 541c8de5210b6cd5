"""CORD-19 metadata.csv to Parquet: pandas and datasets against `meadow build`.

The file is invented (`raw_files`), with the real schema and the real lengths. Both programs do the
same work: text columns, the best row of each paper, title and abstract both present, the heading
"Abstract" removed, one licence key a row, compressed Parquet. Ours also keeps authors, addresses
and ids, hashes every input, cleans every text and writes each rejected row with its reason. Each
run is a process of its own, from its start on; runs are interleaved and the table gives medians.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bench_posts import OVER_ONE, PARENT, run_two, same_bytes
from benchmarks.raw_files import write_metadata
from support.measured import medians, run_program, table

SIZE_MB = 240
ROUNDS = 3
PEER_NAME = "pandas + datasets"
LIMITS = {PARENT: 0.05}
TARGETS = {"one process, CPU": 1.0, "two processes": 1.8, "memory, one process": 2}
TARGETS |= {OVER_ONE: 1.85}
"""Peer over ours, wall time where it does not say otherwise."""

PEER = """
import sys
import pandas as pd
from datasets import Dataset
source, target = sys.argv[1:]
frame = pd.read_csv(source, dtype=str, keep_default_na=False)
title, abstract = frame.title.str.strip(), frame.abstract.str.strip()
keys = {"cc0": "cc0-1.0", "cc-by": "cc-by", "cc-by-sa": "cc-by-sa", "cc-by-nc": "cc-by-nc"}
frame = frame.assign(
    title=title, abstract=abstract,
    complete=(title != "") & (abstract != ""), open=frame.license.isin(keys),
    length=abstract.str.len(),
)
frame = frame.sort_values(["complete", "open", "length"], ascending=False, kind="stable")
frame = frame.drop_duplicates("cord_uid").sort_values("cord_uid")
frame = frame[frame.complete]
# "Abstract data" may be what the sentence is about: of the invented texts the only such word
pattern = (r'^(?:ABSTRACT|Abstract|abstract)'
           r'(?:\\s*[:.–—-]\\s*|\\s+(?=[A-Z0-9\\[(“"])(?!Data\\b))')
out = pd.DataFrame({
    "instruction": "Write a title for this abstract.",
    "input": frame.abstract.str.replace(pattern, "", regex=True),
    "output": frame.title,
    "source_id": frame.cord_uid,
    "license": frame.license.map(keys).fillna("cord19-tdm"),
})
out = out.drop_duplicates(["input", "output"])
Dataset.from_pandas(out, preserve_index=False).to_parquet(target)
"""
OURS = """
import sys
from pathlib import Path
from meadow.build.build import BuildSettings, build_corpus
from meadow.source import Input
workers, source, target = sys.argv[1:]
inputs = {"cord19": [Input(Path(source), "metadata.csv")]}
if __name__ == "__main__":
    build_corpus(BuildSettings(sources=("cord19",)), inputs, Path(target), workers=int(workers))
"""


def texts(path: Path) -> list[tuple[str, str, str]]:
    """(upstream id, input, output) of every row, sorted."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["source_id", "input", "output"])
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


def compare(peer: Path, ours: Path) -> int:
    """The number of rows; raises where an id, or a text up to its white space, differs."""
    theirs, made = texts(peer), texts(ours / "data" / "cord19")
    if len(theirs) != len(made):
        raise AssertionError(f"{len(made)} rows against {len(theirs)} of the peer")
    for one, other in zip(theirs, made, strict=True):
        if one != other and [part.split() for part in one] != [part.split() for part in other]:
            raise AssertionError(f"another text in {one[0]}: {one} {other}")
    return len(made)


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Run the comparison and print its table.

    Args:
        size_mb: Size of the metadata.csv; 240 by default.
    """
    runs: dict[str, list[dict[str, float]]] = {
        name: [] for name in (PEER_NAME, "ours", "ours, two processes", "wc -l")
    }
    python = sys.executable
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        folder = Path(name)
        source = folder / "metadata.csv"
        made = write_metadata(source, size_mb or SIZE_MB)
        for turn in range(ROUNDS):
            peer, ours = folder / f"peer-{turn}.parquet", folder / f"ours-{turn}"
            runs["wc -l"].append(run_program(["wc", "-l", source]))
            runs[PEER_NAME].append(run_program([python, "-c", PEER, source, peer]))
            runs["ours"].append(run_program([python, "-c", OURS, "1", source, ours]))
            two = folder / f"two-{turn}"
            runs["ours, two processes"].append(run_two(OURS, source, two))
        rows = compare(folder / "peer-0.parquet", folder / "ours-0")
        same_bytes(folder / "ours-0", folder / "two-0")
        manifest = json.loads((folder / "ours-0/MANIFEST.json").read_text(encoding="utf-8"))
    rejected = manifest["sources"]["cord19"]["rejected"]
    middle = {who: medians(found) for who, found in runs.items()}
    title = (
        f"metadata.csv of {made.bytes / 1e6:,.0f} MB with {made.rows:,} rows of {made.papers:,} "
        f"papers; the same texts in {rows:,} rows, rejected {rejected}; medians of {ROUNDS}."
    )
    print(title)
    for took in middle.values():
        took["mb_per_s"] = made.bytes / 1e6 / took["wall_s"]
        took["rows_per_s"] = made.rows / took["wall_s"]
    table(middle, ["wall_s", "cpu_s", "peak_mb", "mb_per_s", "rows_per_s"])
    peer_took, ours_took, two_took = (
        middle[who] for who in (PEER_NAME, "ours", "ours, two processes")
    )
    ratios = {
        "one process": peer_took["wall_s"] / ours_took["wall_s"],
        "one process, CPU": peer_took["cpu_s"] / ours_took["cpu_s"],
        "memory, one process": peer_took["peak_mb"] / ours_took["peak_mb"],
        "two processes": peer_took["wall_s"] / two_took["wall_s"],
        OVER_ONE: ours_took["wall_s"] / two_took["wall_s"],
        PARENT: two_took["parent_s"] / two_took["cpu_s"],
        "one process over wc -l": ours_took["wall_s"] / middle["wc -l"]["wall_s"],
    }
    return {
        "bench": "cord19",
        "ratios": {key: round(value, 3) for key, value in ratios.items()},
        "targets": TARGETS,
        "limits": LIMITS,
        "input": {"bytes": made.bytes, "rows": made.rows, "papers": made.papers},
        "input_text": title,
        "measured": middle,
        "rows": rows,
        "rejected": rejected,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
