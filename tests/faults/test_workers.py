"""Worker processes that end before their work does: killed by the system, or with their parent."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
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
    """Wait for the process beside the run."""
    while run.poll() is None:
        for child in psutil.Process(run.pid).children():
            with suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
        time.sleep(0.005)
    raise AssertionError("the run ended before it had a worker")


def finish(out: Path, tmp_path: Path) -> None:
    """The next run succeeds, and gives what an undisturbed one gives."""
    for folder in (out, tmp_path / "undisturbed"):
        run = build(folder)
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    assert snapshot(out) == snapshot(tmp_path / "undisturbed")


def test_a_worker_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = build(tmp_path / "out")
    worker = worker_of(run)
    run.kill()
    run.communicate()
    worker.wait(timeout=60)
    finish(tmp_path / "out", tmp_path)


def test_workers_do_not_run_the_main_program_again(tmp_path: Path) -> None:
    """Nobody who writes three lines guards them."""
    (script := tmp_path / "script.py").write_text(
        "import meadow, sys\n"
        "print('begun', flush=True)\n"
        "meadow.build(['mmmlu', 'pubmed_causal'], raw=sys.argv[1], out=sys.argv[2], workers=2)\n"
    )
    command = [sys.executable, script, FOLDER, tmp_path / "out"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "begun\n", "")


def raise_in_a_worker(number: signal.Signals) -> None:
    if parent_process() is not None:
        signal.raise_signal(number)
    time.sleep(0.1)


def test_a_worker_that_sees_the_interruption_first_is_no_killed_worker() -> None:
    """Ctrl-C reaches all processes, and a worker may be gone before the run itself looks."""
    with pytest.raises(KeyboardInterrupt), open_engine(2) as run:
        list(run(raise_in_a_worker, [signal.SIGINT] * 50))
    with pytest.raises(MeadowError, match="a worker process was killed"), open_engine(2) as run:
        list(run(raise_in_a_worker, [signal.SIGKILL] * 50))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_takes_its_workers_along(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    run = build(tmp_path / "out")
    found = worker_of(run)
    time.sleep(0.1)  # where nothing is flushed to a disk, a build is done within half a second
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
import os, time
from multiprocessing import parent_process
from pathlib import Path
from meadow.build import worker
worker.LARGE, worker.PIECE = 1, 40_000
make_part = worker._make_part

def logged(task):
    while parent_process() is None and Path(__file__).with_name("wait").exists():
        time.sleep(0.001)
    if not task.folder.exists():
        with Path(__file__).with_name("log").open("a") as file:
            file.write(f"{os.getpid()} {task.folder.name}\\n")
    return make_part(task)
"""
"""A module that workers import, since tasks are its function."""
BUILD = """
import runpy, sys, logged_pieces
logged_pieces.worker._make_part = logged_pieces.logged
raw, out = sys.argv[1:]
sys.argv = ["meadow", "build", "--file", f"medqa={raw}", "--workers", "2", "--out", out]
runpy.run_module("meadow", run_name="__main__")
"""


def pieces(tmp_path: Path, out: Path) -> list[str]:
    """A command that builds a source in many pieces, and writes them to `tmp_path / "log"`."""
    script = tmp_path / "pieces.py"
    if not script.exists():
        script.write_text(BUILD)
        (tmp_path / "logged_pieces.py").write_text(PIECES)
        write_medqa(tmp_path, invented_questions(3000, seed=3))
    (raw,) = tmp_path.glob("medqa/*")
    return [sys.executable, str(script), str(raw), str(out)]


def test_a_killed_worker_is_an_expected_fault(tmp_path: Path) -> None:
    command, log = pieces(tmp_path, tmp_path / "out"), tmp_path / "log"
    (tmp_path / "wait").touch()  # or the run may be through before its worker has begun
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    worker = worker_of(run)
    while not log.exists() or f"{worker.pid} " not in log.read_text():
        assert run.poll() is None, "the run ended before its worker had a piece"
        time.sleep(0.001)
    worker.kill()
    (tmp_path / "wait").unlink()
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 1, errors
    assert "a worker process was killed" in errors
    assert "Traceback" not in errors
    assert subprocess.run(command).returncode == 0
    assert subprocess.run(pieces(tmp_path, tmp_path / "undisturbed")).returncode == 0
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_build_in_pieces_that_is_killed_anywhere_goes_on(tmp_path: Path) -> None:
    """All of its processes at once, at random moments; no piece that was finished is made again."""
    log, out, whole = tmp_path / "log", tmp_path / "out", tmp_path / "whole"
    started = time.monotonic()
    subprocess.run(pieces(tmp_path, whole), check=True)
    took = time.monotonic() - started
    made = log.read_text().split()[1::2]
    assert len(made) == len(set(made)) > 20
    chance, kills, kept, most = random.Random(7), 0, 0, max(2, 100 // sample())
    # a few kills can all come too early to leave anything
    while kills < most or (kept <= most and kills < 20 * most):
        log.write_text("")
        done = {path.name for path in out.glob(".staging/*/parts-*/*-*[0-9]")}
        run = subprocess.Popen(pieces(tmp_path, out), start_new_session=True)
        try:
            code = run.wait(chance.uniform(0.1, took))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills, code = kills + 1, None
        again = log.read_text().split()[1::2]
        assert not done.intersection(again), "a finished piece was made again"
        kept += len(done)
        if code is not None:
            assert code == 0
            assert snapshot(out) == snapshot(whole)
            shutil.rmtree(out)
    assert subprocess.run(pieces(tmp_path, out)).returncode == 0
    assert snapshot(out) == snapshot(whole)
    print(f"killed {kills} times; {kept} pieces were there at the next start, none made again")
    assert kept > most, "too few pieces were finished by the time of the kills"
