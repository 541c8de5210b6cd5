"""Local worker processes: this one and others beside it, which are spawned.

They stay from the first task of a run to its last, since each takes a third of a second to start:
docs/adr/220-who-shares-the-work-out-works-too.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

from meadow.errors import ExitCode, MeadowError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Processes:
    """This process and others beside it, started with the first tasks that can be shared.

    This one works too: it has imported already what another would first have to import.
    """

    def __init__(
        self, workers: int, stack: contextlib.ExitStack, prepare: Callable[[], None] | None
    ) -> None:
        self._beside = workers - 1
        self._stack = stack
        self._pool: ProcessPoolExecutor | None = None
        self._starting: list[Future[Any]] = []
        self._others = set(active_children())
        self._ours: set[BaseProcess] = set()
        if prepare is not None:
            self._start(prepare)

    def _start(self, prepare: Callable[[], Any]) -> ProcessPoolExecutor:
        # a fork server would be waited for, and a fork of this process lacks its threads
        pool = ProcessPoolExecutor(self._beside, _Spawning(), _end_quietly)
        self._pool = self._stack.enter_context(pool)
        self._stack.push(self._end)
        self._starting = [pool.submit(prepare) for _ in range(self._beside)]
        self._ours = set(active_children()) - self._others
        return pool

    def __call__(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        touches: object = None,
        /,
    ) -> Iterator[Result]:
        """As `Engine`; a single task for which no process waits is done here."""
        if self._pool is None and len(tasks) <= 1:
            return map(function, tasks)
        pool = self._pool or self._start(os.getpid)
        shared = _Shared(pool, self._starting, function, tasks)
        with self._expected(shared):
            shared.begin()
        return self._results(shared)

    def _results(self, shared: _Shared[Task, Result]) -> Iterator[Result]:
        with self._expected(shared):
            yield from shared.results()

    @contextlib.contextmanager
    def _expected(self, shared: _Shared[Any, Any]) -> Iterator[None]:
        """Says what a lost worker is; after any fault no task is begun any more."""
        try:
            yield
        except BrokenProcessPool as error:
            if any(worker.exitcode == ExitCode.INTERRUPTED for worker in self._ours):
                raise KeyboardInterrupt from error  # Ctrl-C, which a worker has seen first
            raise MeadowError(
                "a worker process was killed, most likely because memory ran out",
                fix="run the same command again with fewer --workers: it continues",
            ) from error
        except Exception:
            shared.end()
            raise

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        """Interrupted or terminated: what a worker has half done is done again by the next run."""
        if kind is not None and not issubclass(kind, Exception):
            for worker in set(active_children()) - self._others:
                worker.terminate()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)


class _Shared(Generic[Task, Result]):
    """Tasks in one row, from which this process and the others take the next.

    The others get one task at a time, and none before they are there, so that no task waits while
    a process is free; where many are left one more, so that they need not wait for this process.
    """

    def __init__(
        self,
        pool: ProcessPoolExecutor,
        starting: Sequence[Future[Any]],
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
    ) -> None:
        self._pool = pool
        self._starting = starting
        self._function = function
        self._tasks = tasks
        self._left = deque(range(len(tasks)))
        self._begun: dict[int, Future[Result]] = {}
        self._running = 0
        self._lock = threading.RLock()
        for process in starting:
            process.add_done_callback(self._started)

    def begin(self) -> None:
        """Give the others what they can do now."""
        others = sum(process.done() for process in self._starting)
        with self._lock:
            many = len(self._left) > 4 * (others + 1)
            while self._left and self._running < others * (1 + many):
                future = self._pool.submit(self._function, self._tasks[self._left[0]])
                self._begun[self._left.popleft()] = future
                self._running += 1
                future.add_done_callback(self._through)

    def _started(self, _: Future[Any]) -> None:
        """Another process is there; told in a thread of the pool."""
        with contextlib.suppress(RuntimeError):  # a broken pool: its tasks say so
            self.begin()

    def _through(self, future: Future[Result]) -> None:
        """Another process is through with a task; told in a thread of the pool."""
        with self._lock:
            self._running -= 1
            if future.cancelled() or future.exception():
                self._left.clear()
            with contextlib.suppress(RuntimeError):
                self.begin()

    def results(self) -> Iterator[Result]:
        """The results in the order of the tasks; while one is waited for, others are done here."""
        for number in range(len(self._tasks)):
            while number not in self._begun or not self._begun[number].done():
                with self._lock:
                    if not self._left:
                        break
                    mine = self._left.popleft()
                    self._begun[mine] = Future()
                self.work(mine)
            yield self._begun.pop(number).result()

    def work(self, number: int) -> None:
        """Do a task here."""
        try:
            self._begun[number].set_result(self._function(self._tasks[number]))
        except Exception as error:
            # kept as a worker's error is, and raised when the results come to it: an earlier task
            # may fail yet, and is to be told of first
            self._begun[number].set_exception(error)
            self._left.clear()

    def end(self) -> None:
        """Begin nothing more, and wait for what runs."""
        self._left.clear()
        for future in self._begun.values():
            future.cancel()
        wait(self._begun.values())


class _Worker(SpawnProcess):
    """A process that does not run the main program again.

    Python's own do, since a task could be a function of it; ours are the house's. A script without
    `if __name__ == "__main__"` would begin the same build once more, in the worker.
    """

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = main


class _Spawning(SpawnContext):
    Process = _Worker


def _end_quietly() -> None:
    """Ctrl-C reaches workers too; the parent says what there is to say, and they end with it."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(ExitCode.INTERRUPTED))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()  # killed: a worker would wait for its next task for ever
    os._exit(ExitCode.FAILED)
