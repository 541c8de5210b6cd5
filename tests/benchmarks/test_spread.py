"""The reckoning of workers: what one knows beforehand comes out."""

import pytest
from benchmarks.bench_spread import makespan, spread


def test_tasks_go_to_who_is_free_and_stages_wait() -> None:
    assert makespan([[3, 1, 1, 1]], 2, 0.0) == 3
    assert makespan([[3, 1], [2, 2]], 2, 0.5) == 0.5 + 3 + 2
    assert makespan([[1] * 8], 4, 0.0) == 2


def test_what_does_not_spread_bounds_what_workers_give() -> None:
    assert spread([[], [1.0] * 100], 0, 0, 0)(10) == pytest.approx(10)
    assert spread([[], [1.0] * 95], 5, 5, 0)(95) == pytest.approx(100 / 6)
    assert spread([[1.0], [1.0]], 0, 0, 0, times=20)(20) == pytest.approx(40 / 21)
