"""Worker processes that end before their work does: killed by the system, or with their parent."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import parent_process
from pathlib import Path

import psutil
import pytest
from support.budget import sample
from support.corpora import invented_questions, write_medqa
from support.fault_shim import snapshot

from meadow.build.engine import open_engine
from meadow.errors import MeadowError
from meadow.samples import FOLDER


def build(out: Path) -> subprocess.Popen[str]:
    """Start a build of two sources by two processes, in a process group of its own."""
    files = {"mmmlu": "mmmlu", "pubmed_causal": "pubmed_causal/pubmed_causal_language_use.csv"}
    words = [w for name, path in files.items() for w in ("--file", f"{name}={FOLDER / path}")]
    return subprocess.Popen(
        [sys.executable, "-m", "meadow", "build", *words, "--workers", "2", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def worker_of(run: subprocess.Popen[str]) -> psutil.Process:
    """Wait for the process beside the run: a child of the fork server, which is a child of it."""
    while run.poll() is None:
        children = psutil.Process(run.pid).children(recursive=True)
        if found := [child for child in children if child.ppid() != run.pid]:
            return found[0]
        time.sleep(0.005)
    raise AssertionError("the run ended before it had a worker")


def finish(out: Path, tmp_path: Path) -> None:
    """The next run succeeds, and gives what an undisturbed one gives."""
    for folder in (out, tmp_path / "undisturbed"):
        run = build(folder)
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    assert snapshot(out) == snapshot(tmp_path / "undisturbed")


def test_a_killed_worker_is_an_expected_fault(tmp_path: Path) -> None:
    run = build(tmp_path / "out")
    worker_of(run).kill()
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "a worker process was killed" in errors
    assert "Traceback" not in errors
    finish(tmp_path / "out", tmp_path)


def raise_in_a_worker(number: signal.Signals) -> None:
    if parent_process() is not None:
        signal.raise_signal(number)


def test_a_worker_that_sees_the_interruption_first_is_no_killed_worker() -> None:
    """Ctrl-C reaches all processes, and a worker may be gone before the run itself looks."""
    with pytest.raises(KeyboardInterrupt), open_engine(2) as run:
        list(run(raise_in_a_worker, [signal.SIGINT] * 3))
    with pytest.raises(MeadowError, match="a worker process was killed"), open_engine(2) as run:
        list(run(raise_in_a_worker, [signal.SIGKILL] * 3))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_takes_its_workers_along(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    run = build(tmp_path / "out")
    found = worker_of(run)
    time.sleep(0.4)  # where nothing is flushed to a disk, a build is done within the second
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == code
    assert "Traceback" not in errors
    assert not found.is_running()
    finish(tmp_path / "out", tmp_path)


PIECES = """
import sys
from functools import wraps
from pathlib import Path
from meadow.build import worker
from meadow.build.build import BuildSettings, build_corpus
from meadow.source import Input
raw, out, log = map(Path, sys.argv[1:])
worker.LARGE, worker.PIECE = 1, 40_000
make_part = worker._make_part

@wraps(make_part)
def logged(task):
    if not task.folder.exists():
        with log.open("a") as file:
            file.write(task.folder.name + "\\n")
    return make_part(task)

worker._make_part = logged  # in the workers too, which import this file
if __name__ == "__main__":
    build_corpus(BuildSettings(sources=("medqa",)), {"medqa": [Input(raw, "raw")]}, out, workers=2)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_build_in_pieces_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    """All of its processes at once, at random moments; no piece that was finished is made again."""
    (script := tmp_path / "pieces.py").write_text(PIECES)
    write_medqa(tmp_path, invented_questions(3000, seed=3))
    (raw,) = tmp_path.glob("medqa/*")
    log, out, whole = tmp_path / "log", tmp_path / "out", tmp_path / "whole"
    words = [sys.executable, str(script), str(raw)]
    started = time.monotonic()
    subprocess.run([*words, str(whole), str(log)], check=True)
    took = time.monotonic() - started
    made = log.read_text().split()
    assert len(made) == len(set(made)) > 20
    chance, kills, kept, most = random.Random(7), 0, 0, max(2, 100 // sample())
    # a few kills can all come too early to leave anything
    while kills < most or (kept <= most and kills < 20 * most):
        log.write_text("")
        done = {path.name for path in out.glob(".staging/*/parts-*/*-*[0-9]")}
        run = subprocess.Popen([*words, str(out), str(log)], start_new_session=True)
        try:
            code = run.wait(chance.uniform(0.1, took))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills, code = kills + 1, None
        again = log.read_text().split()
        assert not done.intersection(again), "a finished piece was made again"
        kept += len(done)
        if code is not None:
            assert code == 0
            assert snapshot(out) == snapshot(whole)
            shutil.rmtree(out)
    assert subprocess.run([*words, str(out), str(log)]).returncode == 0
    assert snapshot(out) == snapshot(whole)
    print(f"killed {kills} times; {kept} pieces were there at the next start, none made again")
    assert kept > most, "too few pieces were finished by the time of the kills"
