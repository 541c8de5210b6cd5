"""Where work runs: here, in local worker processes, or on Ray. Nothing else in the house knows.

A task is a picklable value and a module-level function; results come back in the order of the
tasks, so that what is written depends neither on the number of workers nor on the engine. What one
task is, is said by who calls: docs/adr/100-engines.md and 205-pieces-of-a-source.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from meadow.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL = "local"
RAY_PREFIX = "ray://"


class Engine(Protocol):
    """What `open_engine` gives."""

    def __call__(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        touches: Callable[[Task], Iterable[Path]] = lambda task: (),
        /,
    ) -> Iterator[Result]:
        """Apply `function` to each task; the results come in order.

        Workers begin with the call, so that what is asked for first may be waited for last.

        Args:
            function: Module-level; pure but for the files that its task names.
            tasks: What is to be done.
            touches: The files that a task reads and the folders that it writes to: a worker on
                another machine is held to see the same ones.

        Raises:
            MeadowError: The system killed a worker, or Ray cannot be used.
            Exception: What the first failing task raised; tasks not yet begun are dropped.
        """


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


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - macOS


@contextlib.contextmanager
def open_engine(
    workers: int = 1,
    engine: str = LOCAL,
    progress: Callable[[str], None] = lambda line: None,
    *,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Engine]:
    """Workers for the tasks of one run; without `prepare` none is started before the first task.

    Args:
        workers: Processes, this one among them. A Ray cluster that runs already gives as many as
            it has.
        engine: "local", "ray" (a cluster of this run's own, or the one that RAY_ADDRESS names),
            "ray://auto" (the one that runs on this machine) or "ray://HOST:PORT" (Ray's client).
        progress: Told what becomes of tasks that run elsewhere.
        prepare: Where there will be many tasks: what a local process does before it gets one, such
            as imports. Processes then start at once, and not with the first tasks.

    Raises:
        UsageError: There is no such engine.
    """
    if check_engine(engine) != LOCAL:
        from meadow.build.ray import open_ray

        with open_ray(workers, engine, progress) as run:
            yield run
    elif workers <= 1:
        yield lambda function, tasks, touches=None, /: map(function, tasks)
    else:
        from meadow.build.local import Processes

        with contextlib.ExitStack() as stack:
            yield Processes(workers, stack, prepare)
