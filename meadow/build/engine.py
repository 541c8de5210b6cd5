"""Where work runs: here, in local worker processes, or on Ray. Nothing else in the house knows.

A task is a picklable value and a module-level function; results come back in the order of the
tasks, so that what is written depends neither on the number of workers nor on the engine. What one
task is, is said by who calls: docs/adr/100-engines.md.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from meadow.errors import ExitCode, MeadowError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL = "local"
RAY_PREFIX = "ray://"


def check_engine(name: str) -> str:
    """Check the name of an engine, and return it.

    Raises:
        UsageError: It is none of them.
    """
    host, colon, port = name.removeprefix(RAY_PREFIX).rpartition(":")
    if name in (LOCAL, "ray", "ray://auto") or (
        name.startswith(RAY_PREFIX) and host and colon and port.isdigit()
    ):
        return name
    raise UsageError(
        f"unknown engine {name!r}", fix="local, ray, ray://auto or ray://HOST:PORT (see --help)"
    )


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int = 1,
    *,
    engine: str = LOCAL,
    touches: Callable[[Task], Iterable[Path]] = lambda task: (),
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Result]:
    """Apply `function` to each task and yield the results in order.

    Args:
        function: Module-level; pure but for the files that its task names.
        tasks: What is to be done.
        workers: Processes; with one the work is done here. A Ray cluster that runs already gives
            as many as it has.
        engine: "local", "ray" (a cluster of this run's own, or the one that RAY_ADDRESS names),
            "ray://auto" (the one that runs on this machine) or "ray://HOST:PORT" (Ray's client).
        touches: The files that a task reads and the folders that it writes to: a worker on another
            machine is held to see the same ones.
        progress: Told what becomes of tasks that run elsewhere.

    Raises:
        UsageError: There is no such engine.
        MeadowError: The system killed a worker, or Ray cannot be used.
        Exception: What the first failing task raised; tasks not yet begun are dropped.
    """
    if check_engine(engine) != LOCAL:
        if tasks:
            from meadow.build.ray import run_on_ray

            yield from run_on_ray(function, tasks, workers, engine, touches, progress)
        return
    if workers <= 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    yield from _in_processes(function, tasks, min(workers, len(tasks)), ahead=len(tasks))


def run_stream(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int = 1
) -> Iterator[Result]:
    """`run_tasks` for tasks that are still being made: few are under way at any time.

    Args:
        function: Module-level and pure.
        tasks: Taken from as workers come free, in this process.
        workers: Local processes; with one the work is done here.

    Raises:
        MeadowError: The system killed a worker.
        Exception: What the first failing task, or making one, raised.
    """
    if workers <= 1:
        yield from map(function, tasks)
        return
    yield from _in_processes(function, tasks, workers, ahead=workers + 1)


def _in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, ahead: int
) -> Iterator[Result]:
    """Results in the order of the tasks, of which at most `ahead` wait or run."""
    others = set(active_children())
    with ProcessPoolExecutor(
        max_workers=workers,
        mp_context=get_context("forkserver"),
        initializer=_end_quietly,
    ) as pool:
        futures: deque[Future[Result]] = deque()
        ours: set[BaseProcess] = set()
        try:
            for task in tasks:
                futures.append(pool.submit(function, task))
                ours |= set(active_children()) - others
                if len(futures) >= ahead:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool as error:
            if any(worker.exitcode == ExitCode.INTERRUPTED for worker in ours):
                raise KeyboardInterrupt from error  # Ctrl-C, which a worker has seen first
            raise MeadowError(
                "a worker process was killed, most likely because memory ran out",
                fix="run the same command again with fewer --workers: it continues",
            ) from error
        except Exception:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        except BaseException:
            # interrupted or terminated: what a worker has half done is done again by the next run
            for worker in set(active_children()) - others:
                worker.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_quietly() -> None:
    """Ctrl-C reaches workers too; the parent says what there is to say."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(ExitCode.INTERRUPTED))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
