"""A fault at every call that changes a folder: old or new, never torn, and the same bytes after.

SQLite's loop: the fault at point 1, 2, 3 ... until the command has no further point.
"""

from __future__ import annotations

import pytest
from support.budget import sample
from support.fault_shim import Mode
from support.fault_stages import Stage
from support.fault_trials import MODES, check_order, first_of, run_points, spread

from meadow.corpus.manifest import NAME
from meadow.fetch.lockfile import NAME as LOCK

STAGES = (
    *("build", "rebuild", "grow", "mix", "remix", "card", "report"),
    *("rephrase", "fetch", "pull", "repull"),
)
SAMPLED = {Mode.KILL: 2, Mode.FULL: 1, Mode.FAIL: 1}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_sampled_points(name: str, mode: Mode, stage: Stage, record_property) -> None:
    shift = 7 * STAGES.index(name) + 3 * int(mode)
    run_points(
        stage,
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
        # the source that stays would be forgotten: the old manifest is gone, the new one not there
        ("grow", Mode.KILL, "rename", "/README.md"),
    ],
)
def test_where_defects_were(mode, call, path, stage: Stage, record_property) -> None:
    run_points(stage, mode, first_of(call, path), record_property, noted=False)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_every_point(mode: Mode, stage: Stage, record_property) -> None:
    run_points(stage, mode, lambda numbers, _: numbers[:: sample()], record_property, noted=True)


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_on_disk_before_their_name(stage: Stage) -> None:
    points = stage.record()
    if stage.corpus:
        root, last = stage.corpus.resolve(), f"{stage.corpus.resolve()}/{NAME}"
        named = {path for path in stage.new if (root / path).exists()}  # quarantines stay home
        published = {f"{root}/{path}" for path in named} | {last}
        changed = {f"{root}/{p}" for p in named if stage.new[p] != stage.old.get(p)} | {last}
    else:
        root, last = stage.out.resolve() / "raw" / "invented", ""
        published = {f"{root}/{letter}.csv" for letter in "abc"}
        published |= {f"{stage.out.resolve()}/lock/{LOCK}"}
        changed = published
    assert changed <= check_order(points, published, last)
