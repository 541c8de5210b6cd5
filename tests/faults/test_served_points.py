"""A fault at every change of a folder in the stages that talk to a server on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from support.budget import sample
from support.fault_served import ServedStages
from support.fault_shim import Mode
from support.fault_signals import interrupt_often
from support.fault_trials import MODES, check_order, first_of, run_points, spread
from support.faulty_server import faulty_server
from support.hub.server import running

from meadow.corpus.manifest import NAME
from meadow.fetch.lockfile import NAME as LOCK
from meadow.rephrase.scripted_chat import scripted_chat

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


@pytest.mark.parametrize(
    ("name", "mode", "call", "path"),
    [
        # files of the version before stayed for ever
        ("repull", Mode.KILL, "rename", "/README.md"),
        # its note stayed beside a finished file
        ("fetch", Mode.KILL, "unlink", "/b.csv.part.json"),
        ("fetch", Mode.FAIL, "unlink", "/b.csv.part.json"),
        # messages that did not say which file
        ("fetch", Mode.FAIL, "write", "/a.csv.part"),
        ("pull", Mode.FULL, "write", "/README.md.metadata"),
        ("pull", Mode.FAIL, "unlink", "/MANIFEST.json.metadata"),
        # a message that did not say that the disk may be full
        ("rephrase", Mode.FULL, "open", "/answers.sqlite-wal"),
    ],
)
def test_where_defects_were(name, mode, call, path, stages, record_property) -> None:
    run_points(stages[name], mode, first_of(call, path), record_property, noted=False)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_every_point(name: str, mode: Mode, stages, record_property) -> None:
    run_points(
        stages[name], mode, lambda numbers, _: numbers[:: sample()], record_property, noted=True
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STAGES)
def test_signals_at_fifty_moments(name: str, stages, record_property) -> None:
    interrupt_often(stages[name], max(3, 50 // sample()), record_property)


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_on_disk_before_their_name(name: str, stages) -> None:
    stage = stages[name]
    ended, points = stage.record()
    assert ended.code == 0, ended.text
    if stage.corpus:
        root, last = stage.corpus.resolve(), f"{stage.corpus.resolve()}/{NAME}"
        named = {path for path in stage.new if (root / path).exists()}  # quarantines stay home
        published = {f"{root}/{path}" for path in named}
        changed = {f"{root}/{p}" for p in named if stage.new[p] != stage.old.get(p)} | {last}
    else:
        root, last = stage.out.resolve() / "raw" / "invented", ""
        published = {f"{root}/{letter}.csv" for letter in "abc"}
        changed = published | {f"{stage.out.resolve()}/lock/{LOCK}"}
    assert changed <= check_order(points, published | changed, last)
