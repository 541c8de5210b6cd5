"""Statistics of exam scores: intervals, paired tests, corrections, power, chance, calibration.

Tails, corrections and score intervals are scipy's and statsmodels', imported where they are used;
what stands here by hand, they lack or do with far more memory. Questions are the units everywhere:
repeats of a question (option orders, sampled responses) form a cluster and never count as further
questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from meadow.charts import CONFIDENCE

ALPHA = 0.05
RESAMPLES = 10_000
DRAWN_AT_ONCE = 10_000_000
"""Numbers in memory while a bootstrap draws."""

Interval = tuple[float, float]


def mean_interval(values: Sequence[float]) -> Interval:
    """Interval of a mean by the normal approximation, cut to [0, 1].

    One value per question: repeats are averaged first, so that they narrow nothing.
    """
    if len(values) < 2:
        return 0.0, 1.0
    spread = (
        NormalDist().inv_cdf(1 - ALPHA / 2) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    )
    mean = float(np.mean(values))
    return max(0.0, mean - spread), min(1.0, mean + spread)


def mcnemar(only_a: int, only_b: int, *, mid: bool = False) -> float:
    """Two-sided exact p of McNemar's test: the binomial tail of the discordant pairs.

    `mid` takes half of the observed outcome's probability (mid-p).
    """
    from scipy.stats import binom

    n, k = only_a + only_b, min(only_a, only_b)
    tail = 2 * binom.cdf(k, n, 0.5) - (binom.pmf(k, n, 0.5) if mid else 0)
    return min(1.0, float(tail))


def tost(differences: Sequence[float], margin: float) -> float:
    """The p of two one-sided paired t-tests against a difference of `margin` or more.

    Where nothing differs there is no variance to go by; p is then the chance of seeing none where a
    share of `margin` would be discordant.

    `differences` are of the scores of each question, right or wrong as 1 or 0; `margin` is a share.
    """
    from scipy.stats import t

    found, n = np.asarray(differences, dtype=np.float64), len(differences)
    if not found.any() or n < 2:
        return float((1 - margin) ** n)
    mean, error = float(found.mean()), float(found.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return float(abs(mean) >= margin)
    return float(t.sf((margin - abs(mean)) / error, n - 1))


def resampled_means(values: Sequence[float], *, resamples: int, seed: int) -> Any:
    """Means of values drawn with replacement; float64 (resamples,)."""
    # drawing counts of the distinct values is drawing questions, in far fewer numbers than
    # scipy.stats.bootstrap, which holds a matrix of draws by questions
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    generator = np.random.default_rng(seed)
    size, n = max(1, DRAWN_AT_ONCE // len(distinct)), int(counts.sum())
    return np.concatenate(
        [
            generator.multinomial(n, counts / n, size=min(size, resamples - start)) @ distinct / n
            for start in range(0, resamples, size)
        ]
    )


def bootstrap(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile interval of a mean over questions drawn with replacement."""
    if not len(values):
        return 0.0, 0.0
    return percentiles(resampled_means(values, resamples=resamples, seed=seed))


def percentiles(means: Any) -> Interval:
    """The interval that holds 95 % of resampled numbers."""
    low, high = np.quantile(means, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def newcombe(correct_a: int, n_a: int, correct_b: int, n_b: int) -> Interval:
    """Newcombe's hybrid score interval (95 %) of a difference of independent proportions, a - b."""
    if n_a == 0 or n_b == 0:
        return -1.0, 1.0
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(
        correct_a, n_a, correct_b, n_b, compare="diff", method="newcomb", alpha=1 - CONFIDENCE
    )
    return float(low), float(high)


def minimum_detectable(n: int, discordant: float) -> float | None:
    """The smallest paired difference of accuracies that n questions show with a power of 80 %.

    The normal approximation of McNemar's test, solved for the difference d: n d^2 =
    (z_alpha sqrt(q) + z_power sqrt(q - d^2))^2 with q the share of discordant pairs, which is a
    quadratic equation in d.

    Returns:
        None where no difference up to q would do.
    """
    z = NormalDist()
    a, b = z.inv_cdf(1 - ALPHA / 2), z.inv_cdf(0.8)
    root = discordant * b * b * (n - a * a + b * b)
    if n == 0 or discordant <= 0 or root < 0:
        return None
    found = (a * math.sqrt(n * discordant) + math.sqrt(root)) / (n + b * b)
    return found if found <= discordant else None


def chance_level(options: Sequence[int]) -> float:
    """The expected accuracy of guessing: the mean of 1 / number of options."""
    return sum(1 / k for k in options) / len(options) if options else 0.0


def beats_chance(correct: int, options: Sequence[int]) -> float:
    """Exact one-sided p of so many right answers by guessing (Poisson-binomial tail)."""
    from scipy.stats import poisson_binom

    return float(poisson_binom.sf(correct - 1, [1 / k for k in options])) if options else 1.0


def softmax(values: Sequence[float]) -> list[float]:
    """Probabilities of the options among themselves."""
    top = max(values)
    weights = [math.exp(v - top) for v in values]
    total = math.fsum(weights)
    return [w / total for w in weights]


def calibration(
    probabilities: Sequence[Sequence[float]], gold: Sequence[int], bins: int = 15
) -> dict[str, Any] | None:
    """How far the most probable option's confidence can be trusted; None without questions.

    A question has one probability per option, and `gold`, the index of the right one; `bins` have
    equal mass, and are fewer where there are fewer questions.

    Returns:
        `ece`, the expected calibration error over equal-mass bins; `brier`, the mean squared error
        of all options' probabilities (0 to 2); `area` under the risk-coverage curve, lower is
        better; `bins` (confidence, accuracy, n) of the reliability diagram; and `coverage`, (share
        answered, error among them), most confident first.
    """
    if not gold:
        return None
    top = [max(range(len(p)), key=p.__getitem__) for p in probabilities]
    confidence = np.array([p[t] for p, t in zip(probabilities, top, strict=True)])
    right = np.array([t == g for t, g in zip(top, gold, strict=True)], dtype=np.float64)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    points = [
        {
            "confidence": float(confidence[part].mean()),
            "accuracy": float(right[part].mean()),
            "n": len(part),
        }
        for part in parts
    ]
    ece = sum(point["n"] * abs(point["confidence"] - point["accuracy"]) for point in points)
    brier = math.fsum(
        (value - (place == g)) ** 2
        for p, g in zip(probabilities, gold, strict=True)
        for place, value in enumerate(p)
    ) / len(gold)
    errors = np.cumsum(1 - right[order[::-1]]) / np.arange(1, len(gold) + 1)
    shares = np.arange(1, len(gold) + 1) / len(gold)
    step = max(1, len(gold) // 100)
    kept = sorted({*range(step - 1, len(gold), step), len(gold) - 1})
    return {
        "ece": float(ece / len(gold)),
        "brier": float(brier),
        "area": float(errors.mean()),
        "bins": points,
        "coverage": [(float(shares[i]), float(errors[i])) for i in kept],
    }


def position_bias(predicted: Sequence[str], gold: Sequence[str]) -> dict[str, Any]:
    """Whether a model prefers some labels: predicted ones beside the right ones.

    Labels that are right less than five times are pooled, where there are any.

    Returns:
        Counts per label, `predicted` and `gold`; Pearson's `chi_square`, and its `p`.
    """
    from scipy.stats import chi2

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
    p = float(chi2.sf(statistic, freedom)) if freedom > 0 else 1.0
    return {"predicted": counts, "gold": truth, "chi_square": statistic, "p": p}
