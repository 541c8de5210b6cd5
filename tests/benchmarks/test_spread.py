"""The reckoning of workers: what one knows beforehand comes out."""

import pytest
from benchmarks.bench_spread import HASH, PARTS, Stage, Timed, makespan, spread


def stages(*times: list[float]) -> list[Stage]:
    return [Stage("", each) for each in times]


def test_tasks_go_to_who_is_free_and_stages_wait() -> None:
    assert makespan(stages([3, 1, 1, 1]), 2, 0, 0) == 3
    assert makespan(stages([3, 1], [2, 2]), 2, 0, 0) == 3 + 2
    assert makespan(stages([1] * 8), 4, 0, 0) == 2


def test_the_parent_works_until_the_others_are_there() -> None:
    assert makespan(stages([1] * 8), 2, 0, 4) == 6
    assert makespan(stages([1] * 4), 2, 1, 9) == 1 + 4
    assert makespan(stages([1] * 4), 1, 2, 0) == 2 + 4


def test_the_hash_goes_in_front_of_the_parts() -> None:
    looks, parts, hashed = Stage("", [2, 2]), Stage(PARTS, [1] * 4), Stage(HASH, [3])
    assert makespan([looks, parts, hashed, Stage("", [1])], 2, 0, 0) == 2 + 4 + 1
    assert makespan([parts, hashed], 5, 0, 0) == 3


def test_what_does_not_spread_bounds_what_workers_give() -> None:
    assert spread(Timed(stages([], [1.0] * 100), 0), 0, 0)(10) == pytest.approx(10)
    assert spread(Timed(stages([], [1.0] * 95), 5), 5, 0)(95) == pytest.approx(100 / 6)
    hashed = [Stage(PARTS, [1.0]), Stage(HASH, [1.0])]
    assert spread(Timed(hashed, 0), 0, 0, times=20)(21) == pytest.approx(40 / 20)


def test_the_others_start_while_the_parent_loads() -> None:
    timed = Timed(stages([4.0, 4.0]), parent=2, loading=1, meanwhile=1)
    assert spread(timed, 0, start=2)(2) == pytest.approx(11 / (1 + 2 + 4))
    assert spread(timed, 0, start=0.5)(2) == pytest.approx(11 / (1 + 2 + 4))
