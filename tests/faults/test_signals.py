"""Signals, several runs on one folder, a worker that dies: a clean end, and a way to go on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from support.budget import note, sample
from support.fault_shim import Ended
from support.fault_stages import Stage
from support.fault_trials import interrupt_often

from meadow.corpus.manifest import NAME

RACERS = 4
STAGES = (
    *("build", "rebuild", "mix", "remix", "card", "report"),
    *("rephrase", "fetch", "pull", "repull"),
)


@pytest.mark.parametrize("name", ["rebuild", "mix"])
def test_a_signal_ends_a_run_that_can_go_on(stage: Stage, record_property) -> None:
    interrupt_often(stage, 5, record_property)


SWALLOWS = """
import ctypes, os, signal, sys, time
from meadow.cli import app

@ctypes.CFUNCTYPE(None)
def called():
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(0)  # where the handler raises, what compiled code lets nobody see

def run(**_):
    called()
    time.sleep(60)

app.cli.main = run
app.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_compiled_code_swallows_is_not_lost(
    number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", SWALLOWS, str(int(number))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STAGES)
def test_signals_at_fifty_moments(stage: Stage, record_property) -> None:
    interrupt_often(stage, max(3, 50 // sample()), record_property)


def race(stage: Stage) -> list[str]:
    """Start one command several times at once: exactly one does the work."""
    stage.reset()
    ended = stage.warm.start([{"argv": stage.argv}] * RACERS)
    wrong = [f"{e.code}: {e.text[-300:]}" for e in ended if e.code not in {0, 4}]
    wrong += [f"a traceback: {e.text[-800:]}" for e in ended if "Traceback" in e.text]
    winners = [e for e in ended if e.code == 0 and not unchanged(e)]
    if len(winners) != 1:
        wrong.append(f"{len(winners)} winners: {[e.text[-200:] for e in winners]}")
    losers = [e for e in ended if e.code == 4]
    if not all("another run holds this folder" in e.text for e in losers):
        wrong.append("a loser does not say who holds the folder")
    if stage.read(stage.out) != stage.after:
        wrong.append("other bytes than of one run")
    return wrong


def unchanged(ended: Ended) -> bool:
    """Whether a run found all of its work done."""
    lines = [line for line in ended.text.splitlines() if "unchanged" in line]
    return len(lines) >= (1 if "holds this mix already" in ended.text else 2)


def race_often(stage: Stage, count: int, record_property) -> None:
    wrong = {number: found for number in range(count) if (found := race(stage))}
    record_property("faults", {f"{stage.name}/race": count})
    note("races", count)
    note("not_identical", sum("other bytes" in " ".join(found) for found in wrong.values()))
    note("uncaught", sum("a traceback" in " ".join(found) for found in wrong.values()))
    assert not wrong, f"{len(wrong)} of {count}: {wrong}"


@pytest.mark.parametrize("name", ["build", "rebuild", "remix"])
def test_of_runs_on_one_folder_one_wins(stage: Stage, record_property) -> None:
    race_often(stage, 4, record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["build", "rebuild", "mix", "remix"])
def test_two_hundred_races_have_one_winner_each(stage: Stage, record_property) -> None:
    race_often(stage, max(1, 50 // sample()), record_property)


@pytest.mark.parametrize("name", ["build"])
def test_the_next_run_finds_the_lock_of_a_killed_one_free(stage: Stage) -> None:
    stage.reset()
    stage.run(signal=int(signal.SIGKILL), after=0.05)
    assert stage.run().code == 0
    assert (stage.out / NAME).exists()
