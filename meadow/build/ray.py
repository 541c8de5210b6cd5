"""Tasks on Ray: the same functions, the same bytes, on a cluster.

One task of the house is one task of Ray: a piece of a source, a shard, or a small source. A worker
that is killed, or whose machine is lost, costs a new try of its task, which writes under a name of
its own until it is done. What a task raises comes
back as a value: the command line then ends as it does without Ray. Before it begins, a worker on
another machine is held to two things that the bytes depend on: the same library versions, and the
very folder that this process writes to.

The bytes never pass through Ray: workers read and write files in folders that all machines share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from meadow.atomic import TEMPORARY
from meadow.build.engine import Engine
from meadow.corpus.manifest import library_versions
from meadow.errors import FileError, MeadowError, NetworkError

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 3
"""How often a task is begun anew after its worker was lost."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A task as it travels to a worker.

    Args:
        function: What is to be done.
        task: With what.
        folder: The current folder of the sender, to which relative paths refer.
        versions: The sender's libraries.
        files: Path -> size of each file that the task reads.
        marks: Files that the sender put into the folders that the task writes to.
    """

    function: Callable[[Any], Any]
    task: Any
    folder: str
    versions: dict[str, str]
    files: dict[str, int]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task returned, or what it raised."""

    value: Any = None
    error: Exception | None = None


@contextlib.contextmanager
def open_ray(workers: int, engine: str, progress: Callable[[str], None]) -> Iterator[Engine]:
    """A Ray cluster for the tasks of one run; joined, or started, with the first of them.

    Args:
        workers: CPUs of a cluster that this run starts for itself.
        engine: "ray", "ray://auto" or "ray://HOST:PORT".
        progress: Told how many tasks are done.

    Raises:
        MeadowError: Ray is not installed, not reachable, or lost a task's workers again and again.
        FileError: A worker does not see what this process sees.
    """
    with contextlib.ExitStack() as stack:
        joined: list[Any] = []

        def run(
            function: Callable[[Task], Result],
            tasks: Sequence[Task],
            touches: Callable[[Task], Iterable[Path]] = lambda task: (),
            /,
        ) -> Iterator[Result]:
            # begun at once, as `Engine` has it: up to where all tasks are sent
            results = send(function, tasks, touches)
            next(results)
            return results

        def send(
            function: Callable[[Task], Result],
            tasks: Sequence[Task],
            touches: Callable[[Task], Iterable[Path]],
        ) -> Iterator[Any]:
            if not tasks:
                yield
                return
            if not joined:
                ray = import_ray()
                stack.enter_context(_connected(ray, engine, workers, progress))
                options = {"num_cpus": 1, "max_retries": RETRIES, "scheduling_strategy": "SPREAD"}
                joined.extend((ray, ray.remote(**options)(work)))
            ray, remote = joined
            with _parcels(function, tasks, touches) as parcels:
                running = [remote.remote(parcel) for parcel in parcels]
                try:
                    yield
                    yield from _collect(ray, running, progress)
                except BaseException:
                    # A connection of ours takes its tasks along when it ends. One that was there
                    # before stays, so its tasks are asked to end; by force, Ray 2.60 kills its own
                    # driver when a task is done in the same moment.
                    for reference in running:
                        with contextlib.suppress(Exception):
                            ray.cancel(reference)
                    raise

        yield run


def import_ray() -> Any:
    """Ray, told to report its use to nobody.

    Raises:
        MeadowError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # whoever joins a cluster has to say so
    try:
        import ray
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise MeadowError(
            "the engine ray needs Ray, which is not installed",
            fix="pip install 'medical-meadow[ray]'",
        ) from error
    return ray


@contextlib.contextmanager
def _connected(
    ray: Any, engine: str, workers: int, progress: Callable[[str], None]
) -> Iterator[None]:
    """A connection to the cluster: the one that is there already, or one for this run."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local" if engine == "ray" else engine
    options: dict[str, Any] = {
        "address": "auto" if engine == "ray://auto" else address,
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    if address == "local":
        # the token keeps others out of this run's cluster; Ray's own would stay in ~/.ray
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options |= {"num_cpus": workers, "include_dashboard": False}
    with contextlib.redirect_stdout(sys.stderr):
        # Ray 2.60 prints what it says of lost workers to stdout, where the document of --json goes
        yield from _own_connection(ray, options, progress)


def _own_connection(
    ray: Any, options: dict[str, Any], progress: Callable[[str], None]
) -> Iterator[None]:
    handlers = _handlers()
    try:
        _init(ray, options, tries=2 if options["address"] == "local" else 1)
    finally:
        _restore(handlers)
    try:
        nodes = [node for node in ray.nodes() if node.get("Alive")]
        cpus = int(ray.cluster_resources().get("CPU", 0))
        progress(f"ray: {_plural(len(nodes), 'node')}, {_plural(cpus, 'worker')}")
        yield
    finally:
        ray.shutdown()


def _init(ray: Any, options: dict[str, Any], tries: int) -> None:
    """`ray.init`; a busy machine may need more than the 30 s that Ray gives its own processes."""
    for left in reversed(range(tries)):
        try:
            ray.init(**options)
        except Exception as error:
            ray.shutdown()
            if not left:
                raise _no_cluster(error, options["address"]) from error
        else:
            return


def _handlers() -> dict[signal.Signals, Any]:
    """The handlers that `ray.init` replaces, without which SIGTERM would end with another code."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _no_cluster(error: Exception, address: str) -> MeadowError:
    text = " ".join(str(error).partition("Traceback")[0].split())[:300]
    if "token" in text.lower() or "authenticat" in text.lower():
        fix = "set RAY_AUTH_TOKEN to the same value on this machine and on every node"
    elif "version" in text.lower():
        fix = "install the same versions of Python and Ray on this machine and on every node"
    elif address == "local":
        fix = "see whether the machine is overloaded; Ray's logs are in /tmp/ray/session_latest"
    elif "grpc" in text.lower():
        fix = "pip install 'ray[client]' here and on the cluster's head"
    else:
        fix = (
            "see whether the cluster runs (`ray status`), whether its address is right, and "
            "whether RAY_AUTH_TOKEN is the one of its nodes"
        )
    return NetworkError(f"the Ray cluster cannot be used: {text}", where=address, fix=fix)


@contextlib.contextmanager
def _parcels(
    function: Callable[[Task], Any],
    tasks: Sequence[Task],
    touches: Callable[[Task], Iterable[Path]],
) -> Iterator[list[Parcel]]:
    """The tasks as they travel; every folder that they write to bears a mark meanwhile."""
    versions = library_versions()
    name = f"seen-by-all-{secrets.token_hex(8)}{TEMPORARY}"
    marks: dict[Path, Path] = {}
    parcels = []
    try:
        for task in tasks:
            paths = list(touches(task))
            folders = [path for path in paths if path.is_dir()]
            for path in folders:
                if path not in marks:
                    marks[path] = path / name
                    marks[path].touch()
            files = {str(path): path.stat().st_size for path in paths if path.is_file()}
            seen = tuple(str(marks[path]) for path in folders)
            parcels.append(Parcel(function, task, str(Path.cwd()), versions, files, seen))
        yield parcels
    finally:
        for mark in marks.values():
            mark.unlink(missing_ok=True)


def _collect(ray: Any, running: list[Any], progress: Callable[[str], None]) -> Iterator[Any]:
    """The results in the order of the tasks, as soon as they and all before them are there.

    Waits on Python's futures: a signal that arrives inside Ray's own wait would end the process
    with Ray's exit code instead of ours.
    """
    futures = [reference.future() for reference in running]
    waiting = set(futures)
    for future in futures:
        while not future.done():
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            if done and len(futures) > 1:
                progress(f"ray: {len(futures) - len(waiting)} of {len(futures)} tasks done")
        try:
            outcome: Outcome = future.result()
        except ray.exceptions.RayError as error:
            raise _lost(error) from error
        if outcome.error is not None:
            raise outcome.error
        yield outcome.value


def _lost(error: Exception) -> MeadowError:
    """Ray gave a task up: what it says of it, in one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return MeadowError(
        f"Ray lost the workers of a task {RETRIES + 1} times: {type(error).__name__}: {text[:200]}",
        fix="most likely memory ran out: see the logs of the nodes, then run the same command "
        "again with fewer workers: it continues",
    )


def work(parcel: Parcel) -> Outcome:
    """On a worker: hold it to what the sender sees, then do the task."""
    with contextlib.suppress(OSError):
        os.chdir(parcel.folder)
    try:
        check_node(parcel)
        return Outcome(parcel.function(parcel.task))
    except MeadowError as error:
        return Outcome(error=error)
    except Exception as error:
        error.add_note(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
        return Outcome(error=error)


def check_node(parcel: Parcel) -> None:
    """Hold this machine to the libraries and the files of the sender.

    Raises:
        MeadowError: Another version of a library is installed here.
        FileError: A file or folder is not the one that the sender sees.
    """
    here = library_versions()
    others = [
        f"{name} {here.get(name)} instead of {version}"
        for name, version in parcel.versions.items()
        if here.get(name) != version
    ]
    if others:
        raise MeadowError(
            f"a worker has other libraries, and would write other bytes: {', '.join(others)}",
            where=socket.gethostname(),
            fix="install the same versions on every node (constraints.txt has them)",
        )
    for mark in parcel.marks:
        if not Path(mark).is_file():
            raise FileError(
                "a worker cannot see the folder that this run writes to",
                where=f"{Path(mark).parent} on {socket.gethostname()}",
                fix="give --out a path in a folder that every node mounts at the same place",
            )
    for name, size in parcel.files.items():
        path = Path(name)
        if not path.is_file() or path.stat().st_size != size:
            raise FileError(
                "a worker does not see the same raw file",
                where=f"{name} on {socket.gethostname()}",
                fix="put the raw files in a folder that every node mounts at the same place",
            )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"
