"""A fault at every call that changes a folder: old or new, never torn, and the same bytes after.

SQLite's loop: the fault at point 1, 2, 3 ... until the command has no further point.
"""

from __future__ import annotations

import pytest
from support.budget import sample
from support.fault_shim import Mode
from support.fault_stage import Stage
from support.fault_trials import MODES, check_order, run_points, spread

from meadow.corpus.manifest import NAME

STAGES = ("build", "rebuild", "mix", "remix", "card", "report")
SAMPLED = {Mode.KILL: 3, Mode.FULL: 1, Mode.FAIL: 1}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", STAGES)
def test_a_fault_at_sampled_points(name: str, mode: Mode, stages, record_property) -> None:
    shift = 7 * STAGES.index(name) + 3 * int(mode)
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


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_on_disk_before_their_name(name: str, stages) -> None:
    stage: Stage = stages[name]
    _, points = stage.record()
    root = str(stage.out.resolve())
    published = {f"{root}/{path}" for path in {*stage.new, NAME}}
    changed = {path for path in published if path[len(root) + 1 :] not in stage.old} | {
        f"{root}/{path}" for path in stage.new if stage.new[path] != stage.old.get(path)
    }
    assert changed <= check_order(points, published, last=f"{root}/{NAME}")
