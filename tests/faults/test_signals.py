"""Signals, several runs on one folder, a worker that dies: a clean end, and a way to go on."""

from __future__ import annotations

import signal

import pytest
from support.budget import note, sample
from support.fault_shim import Ended, WarmParent, restore, snapshot
from support.fault_signals import interrupt_often
from support.fault_stage import Stage

from meadow.corpus.manifest import NAME

RACERS = 4
STAGES = (
    *("build", "rebuild", "mix", "remix", "card", "report"),
    *("rephrase", "fetch", "pull", "repull"),
)


@pytest.mark.parametrize("name", ["rebuild", "mix"])
def test_a_signal_ends_a_run_that_can_go_on(name: str, stages, record_property) -> None:
    interrupt_often(stages[name], 5, record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STAGES)
def test_signals_at_fifty_moments(stage: Stage, record_property) -> None:
    interrupt_often(stage, max(3, 50 // sample()), record_property)


def race(warm: WarmParent, stage) -> list[str]:
    """Start one command several times at once: exactly one does the work."""
    restore(stage.out, stage.before)
    ended = warm.start([{"argv": stage.argv}] * RACERS)
    wrong = [f"{e.code}: {e.text[-300:]}" for e in ended if e.code not in {0, 4}]
    wrong += [f"a traceback: {e.text[-800:]}" for e in ended if "Traceback" in e.text]
    winners = [e for e in ended if e.code == 0 and not unchanged(e)]
    if len(winners) != 1:
        wrong.append(f"{len(winners)} winners: {[e.text[-200:] for e in winners]}")
    losers = [e for e in ended if e.code == 4]
    if not all("another run holds this folder" in e.text for e in losers):
        wrong.append("a loser does not say who holds the folder")
    if snapshot(stage.out) != stage.after:
        wrong.append("other bytes than of one run")
    return wrong


def unchanged(ended: Ended) -> bool:
    """Whether a run found all of its work done."""
    lines = [line for line in ended.text.splitlines() if "unchanged" in line]
    return len(lines) >= (1 if "holds this mix already" in ended.text else 2)


def race_often(warm: WarmParent, stage, count: int, record_property) -> None:
    wrong = {number: found for number in range(count) if (found := race(warm, stage))}
    record_property("faults", {f"{stage.name}/race": count})
    note("races", count)
    note("not_identical", sum("other bytes" in " ".join(found) for found in wrong.values()))
    note("uncaught", sum("a traceback" in " ".join(found) for found in wrong.values()))
    assert not wrong, f"{len(wrong)} of {count}: {wrong}"


@pytest.mark.parametrize("name", ["build", "rebuild", "remix"])
def test_of_runs_on_one_folder_one_wins(name: str, warm, stages, record_property) -> None:
    race_often(warm, stages[name], 4, record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["build", "rebuild", "mix", "remix"])
def test_two_hundred_races_have_one_winner_each(name, warm, stages, record_property) -> None:
    race_often(warm, stages[name], max(1, 50 // sample()), record_property)


def test_the_next_run_finds_the_lock_of_a_killed_one_free(warm, stages) -> None:
    stage = stages["build"]
    restore(stage.out, stage.before)
    run = {"argv": stage.argv, "signal": int(signal.SIGKILL), "after": 0.05}
    warm.start([run])
    assert warm.run(*stage.argv).code == 0
    assert (stage.out / NAME).exists()
