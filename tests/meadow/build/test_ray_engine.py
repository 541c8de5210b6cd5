"""Builds on Ray: the same bytes, the same errors, and a killed worker loses nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command import run_meadow
from support.fault_shim import snapshot

from meadow.build.engine import check_engine, open_engine
from meadow.build.ray import Parcel, check_node
from meadow.build.worker import LARGE
from meadow.corpus.manifest import library_versions
from meadow.errors import FileError, MeadowError, UsageError
from meadow.samples import FOLDER
from meadow.sources import SOURCES

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray`"
)


def environment(**more: str) -> dict[str, str]:
    """Without a cluster that whoever runs the tests may have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def start(*words: object, **more: str) -> subprocess.Popen[str]:
    """`meadow WORDS` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "meadow", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(**more),
    )


def finished(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = run.communicate(timeout=240)
    assert "Traceback" not in err
    return run.returncode, out, err


def questions(path: Path, count: int) -> Path:
    """A MedQA file of many questions, so that a build of it can be met in the middle."""
    words = "He reports dyspnoea, a dry cough and night sweats. " * 6
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            options = {letter: f"drug {number} {letter}" for letter in "ABCDE"}
            row = {"question": f"A patient, number {number}, has a fever. {words}What now?",
                   "options": options, "answer": options["C"], "answer_idx": "C",
                   "meta_info": "step1"}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return path


def worker_at(run: subprocess.Popen[str], out: Path, source: str) -> psutil.Process:
    """The worker that has begun to write the rows of `source`."""
    until = time.monotonic() + 120
    while run.poll() is None and time.monotonic() < until:
        for child in psutil.Process(run.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::work" in "".join(child.cmdline()[:1]) and held_by(child, out, source):
                    return child
        time.sleep(0.05)
    raise AssertionError(f"nobody was seen at work: {run.poll()}")


def held_by(process: psutil.Process, out: Path, source: str) -> set[str]:
    """The folders of parts of `source` below `out` that a process has open files in."""
    held = [Path(file.path) for file in process.open_files()]
    return {path.parent.name for path in held if out / ".staging" / source in path.parents}


@needs_ray
def test_every_sample_gives_the_same_bytes_on_two_ray_workers(tmp_path: Path) -> None:
    names = ",".join(
        name
        for name, source in SOURCES.items()
        if source.upstream is not None and (FOLDER / name).is_dir()
    )
    words = ("build", "--raw", FOLDER, "--only", names, "--origin", "upstream", "--json")
    local = finished(start(*words, "--out", tmp_path / "local"))
    ray = start(*words, "--engine", "ray", "--workers", 2, "--out", tmp_path / "ray")
    code, out, err = finished(ray)
    assert code == local[0], err
    assert "ray: 1 node, 2 workers" in err
    assert json.loads(out) == json.loads(local[1])
    assert len(json.loads(out)["sources"]) >= 15
    assert snapshot(tmp_path / "ray") == snapshot(tmp_path / "local")


@needs_ray
def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    words = [
        "build",
        *("--file", f"medqa={questions(tmp_path / 'many.jsonl', 30_000)}"),
        *("--file", f"mmmlu={FOLDER / 'mmmlu'}"),
    ]
    out = tmp_path / "ray"
    run = start(*words, "--engine", "ray", "--workers", 2, "--out", out, "--json")
    killed = worker_at(run, out, "medqa")
    killed.kill()
    code, printed, err = finished(run)
    assert code == 0, err
    assert json.loads(printed)["sources"]["medqa"]["rows_out"] == 30_000
    local = finished(start(*words, "--out", tmp_path / "local"))
    assert local[0] == 0
    assert "medqa: in 30,000, out 30,000" in err
    assert snapshot(out) == snapshot(tmp_path / "local")
    assert not killed.is_running()


@needs_ray
def test_errors_are_those_of_the_local_engine(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("sentence,judgement\nAspirin helps.,1\n")
    words = [
        "build",
        *("--file", f"pubmed_causal={bad}"),
        *("--file", f"mmmlu={FOLDER / 'mmmlu'}"),
        *("--out", tmp_path / "out"),
    ]
    local = finished(start(*words, "--json"))
    ray = finished(start(*words, "--engine", "ray", "--json"))
    assert local[:2] == ray[:2]
    assert local[0] == 5
    errors = [text[text.index("error: ") :] for text in (local[2], ray[2])]
    assert errors[0] == errors[1]


DIES = """
import os
from meadow.build.engine import open_engine
from meadow.errors import MeadowError
def die(number): os._exit(1)
try:
    with open_engine(1, "ray") as run:
        list(run(die, [1]))
except MeadowError as error:
    print(error)
"""


@needs_ray
@pytest.mark.slow
def test_a_task_that_always_loses_its_worker_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text(DIES)
    ran = subprocess.run(
        [sys.executable, tmp_path / "dies.py"], capture_output=True, text=True, env=environment()
    )
    assert ran.stdout.startswith("Ray lost the workers of a task 4 times: WorkerCrashedError")
    assert "fewer workers" in ran.stdout


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_takes_its_cluster_along(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    words = ["build", "--file", f"medqa={questions(tmp_path / 'many.jsonl', 60_000)}"]
    out = tmp_path / "ray"
    run = start(*words, "--engine", "ray", "--workers", 1, "--out", out)
    worker_at(run, out, "medqa")
    cluster = psutil.Process(run.pid).children(recursive=True)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    assert finished(run)[0] == code
    _, alive = psutil.wait_procs(cluster, timeout=20)
    assert not alive
    assert not list(out.rglob("seen-by-all-*"))
    for folder in (out, tmp_path / "local"):
        assert finished(start(*words, "--out", folder))[0] == 0
    assert snapshot(out) == snapshot(tmp_path / "local")


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5a" * 32}


@contextlib.contextmanager
def two_nodes(port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A head and another node of one CPU each, on loopback; both are gone afterwards."""
    nodes: list[subprocess.Popen[bytes]] = []

    def node(*words: str) -> None:
        nodes.append(
            subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment(RAY_USAGE_STATS_ENABLED="0", **TOKEN),
            )
        )

    try:
        common = ("--num-cpus", "1")
        node("--head", "--port", str(port), "--node-ip-address", "127.0.0.1", *common)
        wait_for_port(port)
        node("--address", f"127.0.0.1:{port}", *common)
        yield nodes
    finally:
        for process in reversed(nodes):
            kill_node(process)


def kill_node(node: subprocess.Popen[bytes]) -> None:
    """A node with all of its processes, at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = psutil.Process(node.pid)
        for each in [*tree.children(recursive=True), tree]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    node.wait(timeout=30)


@needs_ray
@pytest.mark.slow
def test_two_nodes_give_the_same_bytes_inside_and_through_the_client(tmp_path: Path) -> None:
    words = ("build", "--raw", FOLDER, "--only", "medqa,mmmlu,pubmed_causal,alpaca")
    with two_nodes(6411):
        local = finished(start(*words, "--json", "--out", tmp_path / "local"))
        for number, engine in enumerate(("ray", "ray://127.0.0.1:10001")):
            out = tmp_path / str(number)
            more = {"RAY_ADDRESS": "127.0.0.1:6411"} if engine == "ray" else {}
            run = wait_for_two(words, engine, out, {**TOKEN, **more})
            assert run[0] == local[0], run[2]
            assert json.loads(run[1]) == json.loads(local[1])
            assert snapshot(out) == snapshot(tmp_path / "local")


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_lost_in_the_middle_of_a_source_costs_its_piece(tmp_path: Path) -> None:
    """Both nodes share one large source; one goes while it has a piece in hand."""
    raw = questions(tmp_path / "many.jsonl", 100_000)
    assert raw.stat().st_size > LARGE
    words = ("build", "--file", f"medqa={raw}")
    with two_nodes(6413) as (_, other):
        small = ("build", "--raw", FOLDER, "--only", "mmmlu")
        address = {**TOKEN, "RAY_ADDRESS": "127.0.0.1:6413"}
        wait_for_two(small, "ray", tmp_path / "small", address)
        out = tmp_path / "ray"
        run = start(*words, "--engine", "ray", "--out", out, **address)
        until = time.monotonic() + 120
        while not (held := parts_in_hand(other, out)) and run.poll() is None:
            assert time.monotonic() < until, "the other node had no piece"
            time.sleep(0.02)
        kill_node(other)
        code, _, err = finished(run)
    assert code == 0, err
    assert held
    assert finished(start(*words, "--out", tmp_path / "local"))[0] == 0
    assert snapshot(out) == snapshot(tmp_path / "local")


@needs_ray
@pytest.mark.slow
def test_a_large_source_has_one_hash_with_any_workers(tmp_path: Path) -> None:
    raw = questions(tmp_path / "many.jsonl", 100_000)
    assert raw.stat().st_size > LARGE
    found: dict[str, dict[str, str]] = {}
    for name, how in {
        **{f"{count} workers": ("--workers", count) for count in (1, 2, 5)},
        "ray": ("--engine", "ray", "--workers", 2),
    }.items():
        out = tmp_path / name
        code, _, err = finished(start("build", "--file", f"medqa={raw}", *how, "--out", out))
        assert code == 0, err
        found[name] = snapshot(out)
        print(name, *(found[name][path] for path in sorted(found[name]) if "train-" in path))
    assert all(files == found["1 workers"] for files in found.values())


def parts_in_hand(node: subprocess.Popen[bytes], out: Path) -> set[str]:
    """The parts below `out` that processes of a node are writing."""
    found = set()
    for process in psutil.Process(node.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found |= held_by(process, out, "medqa")
    return found


def wait_for_port(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head did not start")


def wait_for_two(
    words: tuple[object, ...], engine: str, out: Path, more: dict[str, str]
) -> tuple[int, str, str]:
    """Build, and again into a new folder until both nodes have joined."""
    for _ in range(10):
        ran = finished(start(*words, "--engine", engine, "--json", "--out", out, **more))
        if "ray: 2 nodes, 2 workers" in ran[2]:
            return ran
        assert "ray: 1 node, 1 worker" in ran[2], ran[2]
        shutil.rmtree(out)
    raise AssertionError("the second node did not join")


@pytest.mark.parametrize(
    "name", ["", "Ray", "spark", "ray://", "ray://host", "ray://:1", "ray://host:x", "ray:host:1"]
)
def test_other_engines_are_usage_errors(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        check_engine(name)
    with pytest.raises(UsageError), open_engine(engine=name):
        pass
    words = ("build", "--raw", FOLDER, "--only", "medqa", "--out", tmp_path / "o")
    assert run_meadow(*words, "--engine", name).code == 2
    assert not (tmp_path / "o").exists()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ("build", "--raw", FOLDER, "--only", "medqa", "--out", tmp_path / "o")
    ran = run_meadow(*words, "--engine", "ray")
    assert ran.code == 1
    assert "medical-meadow[ray]" in ran.err


def test_ray_is_imported_only_when_asked_for() -> None:
    code = "import sys, meadow.build.engine, meadow.cli.build; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def parcel(**given: Any) -> Parcel:
    known: dict[str, Any] = {
        "function": abs,
        "task": 1,
        "folder": ".",
        "versions": library_versions(),
        "files": {},
        "marks": (),
    }
    return Parcel(**{**known, **given})


def test_a_node_is_held_to_what_the_sender_sees(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text("x")
    mark = tmp_path / "mark"
    mark.touch()
    check_node(parcel(files={str(raw): 1}, marks=(str(mark),)))
    with pytest.raises(MeadowError, match=r"polars .* instead of 0.0"):
        check_node(parcel(versions={**library_versions(), "polars": "0.0"}))
    with pytest.raises(FileError, match="cannot see the folder"):
        check_node(parcel(marks=(str(tmp_path / "elsewhere" / "mark"),)))
    for files in ({str(raw): 2}, {str(tmp_path / "none"): 1}):
        with pytest.raises(FileError, match="does not see the same raw file"):
            check_node(parcel(files=files))
