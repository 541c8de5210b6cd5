"""Run a piece of a benchmark in a process of its own and measure it: CPU, wall time, memory."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_POLL = 0.05
"""Seconds between two looks at the memory of a tree of processes."""
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - started,
                  usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""A small process between: a child's peak begins with that of the process that forked it."""


def run_program(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Run a program to its end: what it took, from its start on, imports included.

    Python keeps what it has compiled, as it does for everybody who has not told it otherwise.

    `cpu_s` is that of the program and of the processes that it waited for, or, where it was larger
    (some are waited for by nobody), the sum over all processes as last seen twenty times a second.
    `peak_mb` is the largest resident memory: that of one process as the system counted it, or,
    where it was larger, the sum over the program and its descendants as seen twenty times a second
    (pages that they share count once a process).

    Raises:
        RuntimeError: The program failed; its last lines are in the message.
    """
    import psutil

    arguments = [str(part) for part in command]
    together = 0
    seen: dict[int, float] = {}
    with tempfile.TemporaryFile() as errors:
        launcher = subprocess.Popen(
            [sys.executable, "-S", "-I", "-c", _LAUNCHER, *arguments],
            env={
                name: value
                for name, value in (os.environ if environment is None else environment).items()
                if name != "PYTHONDONTWRITEBYTECODE"
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        tree = psutil.Process(launcher.pid)
        while launcher.poll() is None:
            with contextlib.suppress(psutil.Error):  # one of them ended while it was looked at
                descendants = tree.children(recursive=True)
                for one in descendants:
                    times = one.cpu_times()
                    seen[one.pid] = times.user + times.system
                if len(descendants) > 1:
                    together = max(together, sum(one.memory_info().rss for one in descendants))
            time.sleep(_POLL)
        assert launcher.stdout
        code, wall, cpu, peak = json.loads(launcher.stdout.read())
        if code:
            errors.seek(0)
            tail = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{arguments[0]} ended with {code}\n{tail}")
    return {
        "wall_s": wall,
        "cpu_s": max(cpu, sum(seen.values())),
        "peak_mb": max(peak * 1024, together) / 1e6,
    }


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def measured(work: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, float]]:
    """In the child: run `work`; what it found, and what it took.

    `peak_mb` is that of the process, `growth_mb` what the work added to what the input needed.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    took = {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3,
    }
    return found, took


def interleaved(
    script: Path,
    names: list[str],
    arguments: list[str],
    rounds: int,
    pythons: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run each named child in turn, `rounds` times, and take the medians of what it measured.

    Args:
        script: What each child runs, with its name and the arguments.
        names: The children.
        arguments: Given to all of them.
        rounds: How often each runs.
        pythons: Name -> another interpreter, for a peer that has an environment of its own.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            result = subprocess.run(
                [(pythons or {}).get(name, sys.executable), str(script), name, *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
            runs[name].append(json.loads(result.stdout.splitlines()[-1]))
    return {
        name: {
            key: statistics.median(run[key] for run in found)
            for key, value in found[0].items()
            if isinstance(value, int | float)
        }
        for name, found in runs.items()
    }


def table(results: dict[str, dict[str, Any]], columns: list[str]) -> None:
    """Print one line per child."""
    print(f"{'':<26}" + "".join(f"{name:>13}" for name in columns))
    for name, values in results.items():
        cells = (f"{values[key]:>13,.4g}" if key in values else f"{'':>13}" for key in columns)
        print(f"{name:<26}" + "".join(cells))
