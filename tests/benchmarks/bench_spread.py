"""How far a build spreads: its tasks are timed, then dealt out to 2, 16 and 128 workers on paper.

One process builds a Posts.xml and a metadata.csv (`raw_files`) and notes the CPU time of each task,
stage by stage; what is left of its CPU time is the parent's, which no worker takes off it. Tasks go
to the first worker that is free, in their order; a stage begins when the one before it is through,
and every worker first has to start, while the parent imports what it needs later. The hash of the
raw file is begun first and waited for by the shards only. The same is reckoned for twenty times the
input: there are twenty times the tasks, but the hash of the one file takes twenty times as long,
and so does of the parent what grows from a quarter of the input on.
"""

from __future__ import annotations

import heapq
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.raw_files import Metadata, Posts, write_metadata, write_posts

SIZE_MB = 300
LARGER = 20
WORKERS = (2, 16, 128)
TARGETS = {
    f"{kind}: {what}": least
    for kind in ("posts", "metadata")
    for what, least in (("2 workers over one", 1.85), (f"16 workers, {LARGER} times the input", 10))
}
LIMITS = {f"{kind}: the parent's share": 0.05 for kind in ("posts", "metadata")}

START = """
import time
import meadow.build.build, meadow.build.worker, polars, pyarrow.compute, pyarrow.parquet, lxml.etree
from meadow.text.language import _identifier
_identifier()
print(time.process_time())
"""
TIMED = """
import contextlib, json, sys, time
from pathlib import Path
import lxml.etree, pyarrow.compute, turbohtml
from meadow.build import build, worker
from meadow.source import Input
from meadow.text.language import _identifier
source, path, out = sys.argv[1:]
stages, clock = [], time.process_time
began = clock()
_identifier()
model = clock() - began
importing, meanwhile = worker._import_what_is_used_later, []

def imported():
    began = clock()
    importing()
    meanwhile.append(clock() - began)

worker._import_what_is_used_later = imported

def timed(function, tasks, touches=None, /):
    times = []
    stages.append([getattr(function, "__name__", ""), times])
    for task in tasks:
        started = clock()
        result = function(task)
        times.append(clock() - started)
        yield result

@contextlib.contextmanager
def engine(*_, **__):
    yield timed

build.open_engine = engine
inputs = {source: [Input(Path(path), Path(path).name, "site0" if source != "cord19" else "")]}
build.build_corpus(build.BuildSettings(sources=(source,)), inputs, Path(out), workers=2)
print(json.dumps([stages, clock(), model, sum(meanwhile)]))
"""


class Stage(NamedTuple):
    """Tasks, which begin when those of the stage before are through.

    Args:
        name: What they do.
        times: What each of them takes.
    """

    name: str
    times: Sequence[float]


BESIDE, WAITS = "_measure", "_finish"
"""What is begun first, and the first stage that waits for it."""


def makespan(stages: Sequence[Stage], workers: int, start: float) -> float:
    """Seconds until the last task of the last stage is done, without the parent's own."""
    free = [start] * workers

    def deal(tasks: Sequence[float], begin: float) -> float:
        ends = [begin]
        for took in tasks:
            ends.append(max(heapq.heappop(free), begin) + took)
            heapq.heappush(free, ends[-1])
        return max(ends)

    hashed = max((deal(stage.times, start) for stage in stages if stage.name == BESIDE), default=0)
    through = start
    for stage in stages:
        if stage.name == WAITS:
            through = max(through, hashed)
        if stage.name != BESIDE:
            through = deal(stage.times, through)
    return max(through, hashed)


@dataclass(frozen=True, slots=True)
class Timed:
    """The CPU time of one process that builds.

    Args:
        stages: That of each task.
        parent: What is done beside them, and beside a worker's start.
        model: What a worker loads at its start and the parent never does.
        meanwhile: The part of `parent` that is done while workers start.
    """

    stages: Sequence[Stage]
    parent: float
    model: float = 0.0
    meanwhile: float = 0.0

    @property
    def tasks(self) -> float:
        """What all tasks take."""
        return sum(sum(stage.times) for stage in self.stages)


def spread(timed: Timed, grows: float, start: float, times: int = 1) -> Callable[[int], float]:
    """Workers -> how many times faster than one process.

    Args:
        timed: What one process took.
        grows: The part of the parent's time that grows with the input.
        start: What a worker takes to start.
        times: How much larger the input is.
    """
    stages, start = timed.stages, max(start, timed.meanwhile)
    larger = [
        Stage(name, [took * times for took in each] if name == BESIDE else list(each) * times)
        for name, each in stages
    ]
    beside = timed.parent + grows * (times - 1)
    alone = beside + timed.model + sum(sum(stage.times) for stage in larger)
    serial = beside - timed.meanwhile
    return lambda workers: alone / (serial + makespan(larger, workers, start))


def measure(kind: str, size_mb: float, folder: Path) -> Timed:
    """The CPU time of every task of a build, stage by stage, and what is left for the parent."""
    write: Callable[[Path, float], Posts | Metadata] = (
        write_posts if kind == "posts" else write_metadata
    )
    folder.mkdir(exist_ok=True)
    path = folder / ("Posts.xml" if kind == "posts" else "metadata.csv")
    write(path, size_mb)
    source = "stack_exchange" if kind == "posts" else "cord19"
    command = [sys.executable, "-c", TIMED, source, str(path), str(folder / kind)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found, total, model, meanwhile = json.loads(ran.stdout.splitlines()[-1])
    timed = Timed([Stage(*each) for each in found], 0.0, model, meanwhile)
    return replace(timed, parent=total - timed.tasks - model)


def main(size_mb: int | None = None) -> dict[str, Any]:
    """Time the tasks, and print what they give on more workers.

    Args:
        size_mb: Size of each file; 300 by default.
    """
    ran = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True)
    start = float(ran.stdout)
    ratios: dict[str, float] = {}
    notes = []
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as name:
        for kind in ("posts", "metadata"):
            timed = measure(kind, size_mb or SIZE_MB, Path(name))
            little = measure(kind, (size_mb or SIZE_MB) / 4, Path(name) / "quarter")
            grows = max(timed.parent - little.parent, 0) / 0.75
            once = spread(timed, grows, start)
            more = spread(timed, grows, start, LARGER)
            all_of_it = timed.parent + timed.model + timed.tasks
            ratios[f"{kind}: the parent's share"] = timed.parent / all_of_it
            for workers in WORKERS:
                ratios[f"{kind}: {workers} workers over one"] = once(workers)
                ratios[f"{kind}: {workers} workers, {LARGER} times the input"] = more(workers)
            counts = ", ".join(f"{len(each)} of {sum(each):.2f} s" for _, each in timed.stages)
            notes.append(
                f"{kind}: the parent {timed.parent:.2f} CPU s, of which {grows:.2f} grow with the "
                f"input; tasks by stage: {counts}."
            )
            print(notes[-1])
    for what, value in ratios.items():
        print(f"{what:<45}{value:>8.3g}")
    return {
        "bench": "spread",
        "ratios": {key: round(value, 3) for key, value in ratios.items()},
        "targets": TARGETS,
        "limits": LIMITS,
        "input_text": (
            f"Files of {size_mb or SIZE_MB} MB, built by one process whose tasks are timed; a "
            f"worker takes {start:.2f} CPU s to start. Workers are reckoned, not run."
        ),
        "notes": notes,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else None)))
