"""The warm parent of fault tests: imports everything once, then forks a child for every command.

It runs as a script, with the shim of fault_shim.c preloaded; requests and answers are lines of JSON
on stdin and stdout; its arguments name further modules to import. It never runs a stage itself, so
that no thread pool exists when it forks. A package is imported with every module in it, so that no
list of modules has to follow a move.

The keys of a run: `argv`; `output` (a file for all that it prints); `folder`, `at`, `mode` and
`log` for the shim; `signal` and `after` (seconds); `sources` (raw files of invented sources, by
name); `limits` (resource limits by name).
"""

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

WARM = ("meadow", "bs4", "lxml.etree", "pandas", "polars", "pyarrow.compute", "pyarrow.parquet")
OURS = {"meadow", "evaluation", "training"}
DEADLINE = 120.0


def add_sources(described: dict[str, list[dict[str, Any]]]) -> None:
    """Make `meadow fetch` know invented sources."""
    import meadow.sources
    from meadow.source import File, Origin, Source

    known = dict(meadow.sources.SOURCES)
    for name, files in described.items():
        origin = Origin(
            tuple(File(**file) for file in files),
            read=lambda *_: iter(()),
            convert=lambda *_: iter(()),
        )
        known[name] = Source(
            name, "Invented", "https://example.org", "Nobody", "mit", False, upstream=origin
        )
    meadow.sources.SOURCES = known


def child(run: dict[str, Any], barrier: int) -> NoReturn:
    """Run one command with its fault armed; never returns to the parent's loop."""
    code = 70
    try:
        with Path(run["output"]).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        log = -1
        if run.get("log"):
            log = os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if run.get("sources"):
            add_sources(run["sources"])
        for name, value in run.get("limits", {}).items():
            resource.setrlimit(getattr(resource, name), (value, value))
        os.read(barrier, 1)
        if run.get("folder"):
            ctypes.CDLL(None).fault_arm(
                run["folder"].encode(), ctypes.c_long(run["at"]), run["mode"], log
            )
        from meadow.cli.app import main

        sys.argv = ["meadow", *run["argv"]]
        main()
    except SystemExit as ending:
        code = int(ending.code or 0)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def start(runs: list[dict[str, Any]]) -> list[int]:
    """Fork a child per run, and let them all go at once; the codes in the order of the runs."""
    barrier, gate = os.pipe()
    pids = []
    for run in runs:
        pid = os.fork()
        if pid == 0:
            os.close(gate)
            child(run, barrier)
        pids.append(pid)
    os.close(barrier)
    os.close(gate)
    begun = time.monotonic()
    codes: dict[int, int] = {}
    signals = {pid: run for pid, run in zip(pids, runs, strict=True) if run.get("signal")}
    while len(codes) < len(pids):
        past = time.monotonic() - begun
        for pid in pids:
            if pid in codes:
                continue
            if pid in signals and past >= signals[pid]["after"]:
                os.kill(pid, signals.pop(pid)["signal"])
            if past > DEADLINE:
                os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    return [codes[pid] for pid in pids]


def serve() -> None:
    """Answer requests until stdin ends."""
    random.seed(0)
    for name in (*WARM, *sys.argv[1:]):
        package = importlib.import_module(name)
        if name in OURS:
            for found in pkgutil.walk_packages(package.__path__, f"{name}."):
                if not found.name.endswith("__main__"):
                    importlib.import_module(found.name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(start(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
