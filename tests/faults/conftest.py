"""The stages of the fault tests, and the tally of points that a run ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support.fault_stages import LocalStages, ModelStages, ServedStages, Stage, Stages
from support.faulty_server import faulty_server
from support.hub.server import running

from meadow.chat.scripted import scripted_chat

TALLY = "faults"


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStages]:
    """The local stages, by name."""
    made = LocalStages(tmp_path_factory.mktemp("stages"))
    yield made
    made.warm.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStages]:
    """The stages that talk to a server on loopback, by name."""
    folder = tmp_path_factory.mktemp("served")
    with running(folder / "hub") as hub, scripted_chat() as chat, faulty_server() as files:
        made = ServedStages(hub, chat, files, folder / "work")
        yield made
        made.warm.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelStages]:
    """The stages that load a model, by name."""
    made = ModelStages(tmp_path_factory.mktemp("models"))
    yield made
    made.warm.close()


@pytest.fixture
def stage(name: str, request: pytest.FixtureRequest) -> Stage:
    """The stage that the test's `name` says."""
    kinds = {"stages": LocalStages, "served": ServedStages, "models": ModelStages}
    fixture = next(key for key, kind in kinds.items() if hasattr(kind, f"_{name}"))
    made: Stages = request.getfixturevalue(fixture)
    return made[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points were tried, wherever they ran."""
    tally: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == TALLY:
                    tally.update(value)
    if tally:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.items()))
        terminalreporter.write_line(f"faults: {counts}")
