"""The reckoning of workers: what one knows beforehand comes out."""

import pytest
from benchmarks.bench_spread import BESIDE, WAITS, Stage, Timed, makespan, spread


def stages(*times: list[float]) -> list[Stage]:
    return [Stage("", each) for each in times]


def test_tasks_go_to_who_is_free_and_stages_wait() -> None:
    assert makespan(stages([3, 1, 1, 1]), 2, 0.0) == 3
    assert makespan(stages([3, 1], [2, 2]), 2, 0.5) == 0.5 + 3 + 2
    assert makespan(stages([1] * 8), 4, 0.0) == 2


def test_shards_wait_for_the_hash_and_nothing_else_does() -> None:
    hashed, parts, shards = Stage(BESIDE, [3]), Stage("", [1] * 4), Stage(WAITS, [1])
    assert makespan([parts, hashed, shards], 2, 0.5) == 0.5 + 4 + 1
    assert makespan([parts, hashed, shards], 5, 0.0) == 3 + 1
    assert makespan([Stage("", [2]), parts, hashed, shards], 2, 0.0) == 2 + 3 + 1


def test_what_does_not_spread_bounds_what_workers_give() -> None:
    assert spread(Timed(stages([], [1.0] * 100), 0), 0, 0)(10) == pytest.approx(10)
    assert spread(Timed(stages([], [1.0] * 95), 5), 5, 0)(95) == pytest.approx(100 / 6)
    hashed = [Stage(BESIDE, [1.0]), Stage("", [1.0])]
    assert spread(Timed(hashed, 0), 0, 0, times=20)(21) == pytest.approx(40 / 20)


def test_the_parent_imports_while_workers_start() -> None:
    timed = Timed(stages([4.0, 4.0]), parent=2, model=1, meanwhile=1)
    assert spread(timed, 0, start=2)(2) == pytest.approx(11 / (1 + 2 + 4))
    assert spread(timed, 0, start=0.5)(2) == pytest.approx(11 / (1 + 1 + 4))
