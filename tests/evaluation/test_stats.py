"""Statistics against golden numbers and plain simulation.

The golden numbers are those of scipy 1.17 (binomtest, binom.pmf) where they are not by hand or of a
published table that a comment names.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import stats


@pytest.mark.parametrize(
    ("only_a", "only_b", "exact", "mid"),
    [
        (0, 0, 1.0, 1.0),
        (3, 9, 0.14599609375, 0.09228515625),
        (0, 6, 0.03125, 0.015625),
        (5, 5, 1.0, 1.0),
        (10, 25, 0.0166738478, 0.0113309842),
        (150, 210, 0.0018340074, 0.0015534937),
        (2400, 2600, 0.0048836497, 0.0046770453),
    ],
)
def test_mcnemar(only_a, only_b, exact, mid) -> None:
    for first, second in ((only_a, only_b), (only_b, only_a)):
        assert stats.mcnemar(first, second) == pytest.approx(exact, rel=1e-7)
        assert stats.mcnemar(first, second, mid=True) == pytest.approx(mid, rel=1e-7)


def differences(only_a: int, only_b: int, n: int) -> list[float]:
    return [-1.0] * only_a + [1.0] * only_b + [0.0] * (n - only_a - only_b)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "margin", "p"),
    [  # statsmodels 0.14, ttost_paired of the vectors of right and wrong
        (5, 4, 100, 0.05, 0.0937167250),
        (20, 18, 1000, 0.02, 0.0017970098524),
        (50, 20, 1000, 0.02, 0.88525044),
        (4, 3, 1000, 0.01, 0.00034997622418),
    ],
)
def test_tost(only_a, only_b, n, margin, p) -> None:
    assert stats.tost(differences(only_a, only_b, n), margin) == pytest.approx(p, rel=1e-7)
    assert stats.tost(differences(only_b, only_a, n), margin) == pytest.approx(p, rel=1e-7)


def test_equality_of_few_questions_is_not_proved_by_no_flips() -> None:
    assert stats.tost([0.0] * 50, 0.02) == pytest.approx(0.98**50)  # 0.36
    assert stats.tost([0.0] * 200, 0.02) < 0.05
    assert stats.tost([1.0] * 5, 0.02) == 1.0


def test_holm() -> None:
    # by hand: 4 x 0.01, then 3 x 0.02, then 2 x 0.03 and 0.04 held at the largest so far
    assert stats.holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),  # Newcombe 1998, table II, case a, method 10
        ((9, 10, 3, 10), 0.1705, 0.8090),  # case b
        ((0, 20, 0, 10), -0.2775, 0.1611),  # case g
        ((10, 10, 0, 10), 0.6075, 1.0),  # case h
    ],
)
def test_newcombe(counts, low, high) -> None:
    assert stats.newcombe(*counts) == pytest.approx((low, high), abs=5e-5)
    assert stats.newcombe(0, 0, 1, 2) == (-1.0, 1.0)


def test_the_bootstrap_is_seeded_and_of_the_width_of_the_differences() -> None:
    generator = np.random.default_rng(3)
    a = (generator.random(300) < 0.6).astype(float)
    b = (generator.random(300) < 0.5).astype(float)
    low, high = stats.bootstrap((a - b).tolist(), seed=1)
    mean, error = (a - b).mean(), (a - b).std() / np.sqrt(300)
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.006)
    assert (low, high) == stats.bootstrap((a - b).tolist(), seed=1)
    assert stats.bootstrap([]) == (0.0, 0.0)


def test_a_bootstrap_in_blocks_is_that_in_one(monkeypatch) -> None:
    values = np.random.default_rng(5).random(400).tolist()
    whole = stats.bootstrap(values, resamples=1000)
    monkeypatch.setattr(stats, "DRAWN_AT_ONCE", 400 * 33)
    assert stats.bootstrap(values, resamples=1000) == pytest.approx(whole, rel=1e-12)
    error = float(np.std(values)) / 20
    assert whole == pytest.approx((np.mean(values) - 1.96 * error, np.mean(values) + 1.96 * error),
                                  abs=0.01)  # fmt: skip


def test_the_minimum_detectable_difference_is_of_the_order_published() -> None:
    assert stats.minimum_detectable(324, 0.15) == pytest.approx(0.060, abs=0.001)
    assert stats.minimum_detectable(324, 0.30) == pytest.approx(0.085, abs=0.001)
    assert stats.minimum_detectable(1273, 0.15) == pytest.approx(0.030, abs=0.001)
    assert stats.minimum_detectable(5, 0.1) is None
    assert stats.minimum_detectable(0, 0.0) is None


@settings(deadline=None)
@given(n=st.integers(1, 5000), discordant=st.floats(0.001, 1))
def test_the_minimum_detectable_difference_solves_its_equation(n, discordant) -> None:
    d = stats.minimum_detectable(n, discordant)

    def power(d: float) -> float:  # in standard errors, beyond the critical value
        return (n**0.5 * d - 1.959964 * discordant**0.5) - 0.841621 * (discordant - d * d) ** 0.5

    if d is None:
        assert discordant - discordant**2 < 0 or power(discordant) < 1e-6
    else:
        assert power(d) == pytest.approx(0, abs=1e-4)


def test_chance_varies_with_the_options() -> None:
    assert stats.chance_level([4, 4, 5]) == pytest.approx((0.25 + 0.25 + 0.2) / 3)
    assert stats.chance_level([]) == 0.0
    assert stats.beats_chance(30, [4] * 80) == pytest.approx(0.0089396743, rel=1e-7)
    assert stats.beats_chance(0, [4, 5]) == 1.0
    assert stats.beats_chance(0, []) == 1.0
    assert stats.beats_chance(2, [2, 4]) == pytest.approx(1 / 8)
    assert stats.beats_chance(1, [2, 4]) == pytest.approx(1 - 3 / 8)


def test_position_bias() -> None:
    gold = ["A"] * 20 + ["B"] * 30 + ["C"] * 50
    found = stats.position_bias(["A"] * 60 + ["B"] * 20 + ["C"] * 20, gold)
    assert found["chi_square"] == pytest.approx(40**2 / 20 + 10**2 / 30 + 30**2 / 50)
    assert found["p"] == pytest.approx(np.exp(-found["chi_square"] / 2))  # two degrees of freedom
    even = stats.position_bias(gold, gold)
    assert (even["chi_square"], even["p"]) == (0.0, 1.0)
    pooled = stats.position_bias(["D"] * 10, ["A"] * 6 + ["B", "C", "D", "D"])
    assert pooled["chi_square"] == pytest.approx(
        6**2 / 6 + 6**2 / 4
    )  # A, and the rare ones together


def test_calibration_by_hand_and_by_histogram() -> None:
    found = stats.calibration(
        [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], [0, 1, 1, 0], bins=2
    )
    assert found is not None
    assert found["ece"] == pytest.approx(0.5 * abs(0.65 - 0.5) + 0.5 * abs(0.85 - 0.5))
    assert found["brier"] == pytest.approx((0.02 + 1.28 + 0.32 + 0.98) / 4)
    assert found["coverage"][-1] == (1.0, 0.5)
    generator = np.random.default_rng(5)
    top = generator.uniform(0.5, 1, 3000)
    right = generator.random(3000) < top  # calibrated by construction
    found = stats.calibration([[t, 1 - t] for t in top], [0 if r else 1 for r in right], bins=15)
    assert found is not None
    assert found["ece"] < 0.04
    assert stats.calibration([], []) is None


def test_an_interval_of_a_mean() -> None:
    values = [0.0, 1.0, 0.5, 0.5, 1.0]
    assert stats.mean_interval(values) == pytest.approx((0.233324, 0.966676), abs=1e-6)
    assert stats.mean_interval([1.0]) == (0.0, 1.0)
    assert stats.mean_interval([1.0, 1.0]) == (1.0, 1.0)


def test_softmax_of_far_values() -> None:
    assert stats.softmax([-1000.0, -1000.0]) == [0.5, 0.5]
    assert stats.softmax([0.0, -2000.0]) == [1.0, 0.0]
