"""A fault at every change of a folder in the stages that talk to a server on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from support.budget import sample
from support.fault_served import ServedStages
from support.fault_shim import Mode
from support.fault_trials import MODES, run_points, spread
from support.faulty_server import faulty_server
from support.hub.server import running

from meadow.scripted_chat import scripted_chat

STAGES = ("rephrase", "fetch", "pull", "repull")
SAMPLED = {Mode.KILL: 2, Mode.FULL: 1, Mode.FAIL: 1}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStages]:
    if shutil.which("gcc") is None:
        pytest.skip("the fault shim is compiled with gcc, which is not installed")
    folder = tmp_path_factory.mktemp("served")
    with running(folder / "hub") as hub, scripted_chat() as chat, faulty_server() as files:
        served = ServedStages(hub, chat, files, folder / "work")
        yield served
        served.warm.close()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_sampled_points(name: str, mode: Mode, stages, record_property) -> None:
    shift = 5 * STAGES.index(name) + 2 * int(mode)
    run_points(
        stages[name],
        mode,
        lambda numbers, points: spread(numbers, points, SAMPLED[mode], shift),
        record_property,
        noted=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_every_point(name: str, mode: Mode, stages, record_property) -> None:
    run_points(
        stages[name], mode, lambda numbers, _: numbers[:: sample()], record_property, noted=True
    )
