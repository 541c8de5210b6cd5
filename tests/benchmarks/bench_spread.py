"""How far a build spreads: its tasks are timed, then dealt out to 2, 16 and 128 workers on paper.

One process builds a Posts.xml and a metadata.csv (`raw_files`) and notes the CPU time of each task,
stage by stage; what is left of its CPU time is the parent's, which no other process takes off it.
Tasks go to who is free first, in their order; a stage begins when the one before it is through. The
parent works too, once it has loaded what tasks need; every other process first has to start. The
hash of the raw file goes in front of the parts. The same is reckoned for twenty times the input:
there are twenty times the tasks, but the hash of the one file takes twenty times as long, and so
does of the parent what grows from a quarter of the input on.
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
from meadow.build import worker
worker.prepare()
import lxml.etree, pyarrow.compute, turbohtml
from meadow.text.language import _identifier
_identifier()
print(time.process_time())
"""
TIMED = """
import contextlib, json, sys, time
from pathlib import Path
from meadow.build import build, worker
from meadow.source import Input
source, path, out = sys.argv[1:]
stages, clock = [], time.process_time
began = clock()
worker.prepare()
import lxml.etree, pyarrow.compute, turbohtml
from meadow.text.language import _identifier
_identifier()
loading = clock() - began
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
print(json.dumps([stages, clock(), loading, sum(meanwhile)]))
"""


class Stage(NamedTuple):
    """Tasks, which begin when those of the stage before are through.

    Args:
        name: What they do.
        times: What each of them takes.
    """

    name: str
    times: Sequence[float]


HASH, PARTS = "_measure", "_make_part"
"""What is done once for a file of any size, and the stage that it belongs to."""


def makespan(stages: Sequence[Stage], workers: int, here: float, others: float) -> float:
    """Seconds until the last task of the last stage is done, without the parent's own.

    Args:
        stages: In their order.
        workers: Processes, the parent among them.
        here: When the parent can begin.
        others: When the others can.
    """
    free = [here] + [others] * (workers - 1)
    heapq.heapify(free)
    through = 0.0
    hashed = [took for stage in stages if stage.name == HASH for took in stage.times]
    for stage in stages:
        ends = [through]
        for took in [*(hashed if stage.name == PARTS else ()), *stage.times]:
            if stage.name != HASH:
                ends.append(max(heapq.heappop(free), through) + took)
                heapq.heappush(free, ends[-1])
        through = max(ends)
    return through


@dataclass(frozen=True, slots=True)
class Timed:
    """The CPU time of one process that builds.

    Args:
        stages: That of each task.
        parent: What is done beside them.
        loading: What a process loads before its first task.
        meanwhile: The part of `parent` that is done while the others start.
    """

    stages: Sequence[Stage]
    parent: float
    loading: float = 0.0
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
        start: What another process takes to start, `loading` included.
        times: How much larger the input is.
    """
    larger = [
        Stage(name, [took * times for took in each] if name == HASH else list(each) * times)
        for name, each in timed.stages
    ]
    beside = timed.parent + grows * (times - 1)
    alone = beside + timed.loading + sum(sum(stage.times) for stage in larger)
    serial, here = beside - timed.meanwhile, timed.meanwhile + timed.loading
    return lambda workers: alone / (serial + makespan(larger, workers, here, start))


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
    found, total, loading, meanwhile = json.loads(ran.stdout.splitlines()[-1])
    timed = Timed([Stage(*each) for each in found], 0.0, loading, meanwhile)
    return replace(timed, parent=total - timed.tasks - loading)


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
            all_of_it = timed.parent + timed.loading + timed.tasks
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
