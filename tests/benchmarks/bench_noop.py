"""A second build of the demo's corpus, in which nothing is to be done, against the first.

Both are whole processes; what an interpreter needs to start and end is taken off. Nothing may be
written: every file of the folder but the lock must keep its inode, its times and its bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.measured import medians, run_program, table

from meadow.atomic import LOCK_NAME

ROUNDS = 5
LIMITS = {"seconds beyond the interpreter's start": 1.5}

BUILD = """
import sys
from pathlib import Path
from meadow.build.build import BuildSettings, build_corpus
from meadow.build.plan import find_inputs
from meadow.samples import FOLDER, sampled_sources
from meadow.source import OriginName
from meadow.sources import SOURCES
names = sampled_sources()
origins = {name: OriginName.UPSTREAM if SOURCES[name].upstream else OriginName.PUBLISHED
           for name in names}
inputs = {name: find_inputs(SOURCES[name], SOURCES[name].origin(origins[name]), FOLDER)
          for name in names}
settings = BuildSettings(sources=tuple(names), origins=origins, recipe="demo")
result = build_corpus(settings, inputs, Path(sys.argv[1]))
reused = set(result.reused)
assert reused == (set(names) if sys.argv[2] == "again" else set()), reused
"""


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """(inode, time of the last change, bytes) of every file and folder but the lock."""
    return {
        str(path.relative_to(folder)): (found.st_ino, found.st_mtime_ns, found.st_size)
        for path in sorted(folder.rglob("*"))
        if path.name != LOCK_NAME and (found := path.stat())
    }


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Run the rounds, print the table.

    Args:
        size_mb: Not used: the input is the demo's.
    """
    del size_mb
    python = sys.executable
    runs: dict[str, list[dict[str, float]]] = {"start": [], "build": [], "again": []}
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        for turn in range(ROUNDS):
            out = Path(name, str(turn))
            runs["start"].append(run_program([python, "-c", "pass"]))
            runs["build"].append(run_program([python, "-c", BUILD, out, "first"]))
            before = state(out)
            runs["again"].append(run_program([python, "-c", BUILD, out, "again"]))
            after = state(out)
            changed = sorted(key for key in before | after if before.get(key) != after.get(key))
            if changed:
                raise AssertionError(f"the second build wrote {changed[:3]}")
    middle = {who: medians(found) for who, found in runs.items()}
    start = middle["start"]
    title = (
        f"The demo's corpus, {len(after)} files and folders, of which the second build touched "
        f"none; {ROUNDS} rounds."
    )
    print(title)
    table(middle, ["wall_s", "cpu_s", "peak_mb"])
    wall, cpu = (
        {who: middle[who][key] - start[key] for who in ("build", "again")}
        for key in ("wall_s", "cpu_s")
    )
    return {
        "bench": "noop",
        "ratios": {
            "seconds beyond the interpreter's start": round(wall["again"], 3),
            "CPU seconds beyond the interpreter's start": round(cpu["again"], 3),
            "build over no-op, wall": round(wall["build"] / wall["again"], 2),
            "build over no-op, CPU": round(cpu["build"] / cpu["again"], 2),
        },
        "targets": {},
        "limits": LIMITS,
        "input_text": title,
        "measured": {
            "interpreter alone": middle["start"],
            "build": middle["build"],
            "no-op rebuild": middle["again"],
        },
    }


if __name__ == "__main__":
    print(json.dumps(main()))
