"""Statistics of exam scores: intervals, paired tests, corrections, power, chance.

Exact where an exact form is cheap. Questions are the units everywhere: repeats of a question
(option orders, sampled responses) form a cluster and never count as further questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from meadow.charts import CONFIDENCE, wilson

ALPHA = 0.05
RESAMPLES = 10_000

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def clustered(values: Sequence[Sequence[float]], confidence: float = CONFIDENCE) -> Interval:
    """Interval of the mean of all values, with each inner list one cluster.

    The cluster-robust standard error with the small-sample factor G / (G - 1), a normal quantile;
    cut to [0, 1].
    """
    groups = [np.asarray(v, dtype=np.float64) for v in values if len(v)]
    total = sum(len(g) for g in groups)
    if len(groups) < 2:
        return 0.0, 1.0
    mean = sum(float(g.sum()) for g in groups) / total
    squares = sum((float(g.sum()) - mean * len(g)) ** 2 for g in groups)
    error = math.sqrt(squares * len(groups) / (len(groups) - 1)) / total
    z = _z(confidence)
    return max(0.0, mean - z * error), min(1.0, mean + z * error)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def mcnemar(only_a: int, only_b: int, *, mid: bool = False) -> float:
    """Two-sided exact p of McNemar's test.

    The binomial tail of the discordant pairs, summed as logarithms so that thousands do not
    underflow.

    Args:
        only_a: Questions that only A has right.
        only_b: Questions that only B has right.
        mid: Whether to take half of the observed outcome's probability (mid-p).
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    logs = [_log_choose(n, i) - n * math.log(2) for i in range(k + 1)]
    top = max(logs)
    tail = math.exp(top) * math.fsum(math.exp(value - top) for value in logs)
    point = math.exp(logs[-1])
    if mid:
        return min(1.0, 2 * tail - point)
    return min(1.0, 2 * tail)


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of mean(a) - mean(b) over questions drawn with replacement.

    Args:
        a: Score of each question (0 or 1, or a mean over repeats).
        b: The same questions, in the same order.
        resamples: How many draws.
        seed: Of the draws.
        confidence: Of the interval.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if difference.size == 0:
        return 0.0, 0.0
    # drawing counts of the distinct differences is drawing questions, in far fewer numbers
    distinct, counts = np.unique(difference, return_counts=True)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(difference.size, counts / difference.size, size=resamples)
    means = draws @ distinct / difference.size
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable(
    n: int, discordant: float, *, power: float = 0.8, alpha: float = ALPHA
) -> float:
    """The smallest paired difference of accuracies that n questions show with this power.

    The normal approximation of McNemar's test, solved for the difference d: n d^2 =
    (z_alpha sqrt(q) + z_power sqrt(q - d^2))^2 with q the share of discordant pairs. NaN where no
    difference up to q would do.
    """
    if n == 0 or discordant <= 0:
        return math.nan
    z_alpha = NormalDist().inv_cdf(1 - alpha / 2)
    z_power = NormalDist().inv_cdf(power)

    def short(d: float) -> bool:
        spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - d * d)
        return n * d * d < spread * spread

    low, high = 0.0, min(discordant, math.sqrt(discordant))
    if short(high):
        return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def chance_level(options: Sequence[int]) -> float:
    """The expected accuracy of guessing: the mean of 1 / number of options."""
    return sum(1 / k for k in options) / len(options) if options else 0.0


def beats_chance(correct: int, options: Sequence[int]) -> float:
    """Exact one-sided p of so many right answers by guessing (Poisson-binomial tail)."""
    distribution: Floats = np.ones(1)
    for k in options:
        grown = np.zeros(len(distribution) + 1)
        grown[:-1] = distribution * (1 - 1 / k)
        grown[1:] += distribution / k
        distribution = grown
    return float(min(1.0, distribution[correct:].sum()))


def softmax(values: Sequence[float]) -> list[float]:
    """Probabilities of the options among themselves."""
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    total = math.fsum(weights)
    return [w / total for w in weights]


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of a reliability diagram."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidence can be trusted.

    Args:
        ece: Expected calibration error over equal-mass bins.
        brier: Mean squared error of all options' probabilities (0 to 2).
        area: Area under the risk-coverage curve; lower is better.
        bins: The reliability diagram.
        coverage: (share answered, error among them), most confident first.
    """

    ece: float
    brier: float
    area: float
    bins: tuple[Bin, ...]
    coverage: tuple[tuple[float, float], ...]


def calibration(
    probabilities: Sequence[Sequence[float]], gold: Sequence[int], bins: int = 15
) -> Calibration | None:
    """Calibration of the most probable option; None without questions.

    Args:
        probabilities: Per question, one per option.
        gold: Index of the right option.
        bins: Equal-mass bins, fewer where there are fewer questions.
    """
    if not gold:
        return None
    top = [max(range(len(p)), key=p.__getitem__) for p in probabilities]
    confidence = np.array([p[t] for p, t in zip(probabilities, top, strict=True)])
    right = np.array([t == g for t, g in zip(top, gold, strict=True)], dtype=np.float64)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    points = tuple(
        Bin(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts
    )
    ece = sum(point.n * abs(point.confidence - point.accuracy) for point in points) / len(gold)
    brier = math.fsum(
        (value - (place == g)) ** 2
        for p, g in zip(probabilities, gold, strict=True)
        for place, value in enumerate(p)
    ) / len(gold)
    errors = np.cumsum(1 - right[order[::-1]]) / np.arange(1, len(gold) + 1)
    shares = np.arange(1, len(gold) + 1) / len(gold)
    step = max(1, len(gold) // 100)
    kept = sorted({*range(step - 1, len(gold), step), len(gold) - 1})
    return Calibration(
        float(ece),
        float(brier),
        float(errors.mean()),
        points,
        tuple((float(shares[i]), float(errors[i])) for i in kept),
    )


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Whether a model prefers some labels.

    Args:
        predicted: Predictions per label.
        gold: Right answers per label.
        chi_square: Of predicted counts against the gold distribution.
        p: Of that statistic.
    """

    predicted: dict[str, int]
    gold: dict[str, int]
    chi_square: float
    p: float


def position_bias(predicted: Sequence[str], gold: Sequence[str]) -> PositionBias:
    """Pearson's chi-square of predicted labels against the distribution of the right ones.

    Labels that are right less than five times are pooled, where there are any.
    """
    labels = sorted({*predicted, *gold})
    counts = {label: sum(p == label for p in predicted) for label in labels}
    truth = {label: sum(g == label for g in gold) for label in labels}
    cells: list[tuple[float, float]] = []
    rare = [0.0, 0.0]
    scale = len(predicted) / len(gold) if gold else 0.0
    for label in labels:
        if truth[label] >= 5:
            cells.append((counts[label], truth[label] * scale))
        else:
            rare = [rare[0] + counts[label], rare[1] + truth[label] * scale]
    if rare[1] > 0:
        cells.append((rare[0], rare[1]))
    statistic = sum((seen - due) ** 2 / due for seen, due in cells if due > 0)
    freedom = len(cells) - 1
    p = chi_square_tail(statistic, freedom) if freedom > 0 else 1.0
    return PositionBias(counts, truth, statistic, p)


def chi_square_tail(x: float, freedom: int) -> float:
    """Probability of a chi-square variate above x: the regularised upper incomplete gamma."""
    a, half = freedom / 2, x / 2
    if half <= 0:
        return 1.0
    scale = math.exp(-half + a * math.log(half) - math.lgamma(a))
    if half < a + 1:  # series of the lower function
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-16:
            n += 1
            term *= half / n
            total += term
        return max(0.0, 1 - total * scale)
    b = half + 1 - a  # Lentz's continued fraction of the upper function
    c = 1e300
    d = 1 / b
    fraction = d
    for i in range(1, 1000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b or 1e-300)
        c = b + step / c or 1e-300
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return scale * fraction


def newcombe(
    correct_a: int, n_a: int, correct_b: int, n_b: int, confidence: float = CONFIDENCE
) -> Interval:
    """Newcombe's hybrid score interval of a difference of independent proportions, a - b."""
    if n_a == 0 or n_b == 0:
        return -1.0, 1.0
    a, b = correct_a / n_a, correct_b / n_b
    low_a, high_a = wilson(correct_a, n_a, confidence)
    low_b, high_b = wilson(correct_b, n_b, confidence)
    return (
        a - b - math.hypot(a - low_a, high_b - b),
        a - b + math.hypot(high_a - a, b - low_b),
    )
