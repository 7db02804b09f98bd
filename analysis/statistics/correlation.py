"""Rank correlations: of operations by alpha between seeds, and of cells by two measures."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from analysis.statistics.bootstrap import Estimate, Floats
from analysis.statistics.proportions import Z

FEWEST_TO_CORRELATE = 6
"""Fewer pairs have no correlation: the interval of 5 pairs is -0.9 to 0.9 wide whatever they are."""


def alpha_rank_correlation(alphas: Floats) -> float:
    """Mean Kendall tau-b of the operations' order in alpha (seeds, edges, operations), over edges and pairs of seeds.

    Alpha may be raw or after the softmax: only its order counts.  An edge whose alphas are all equal or contain NaN in
    a seed has no order there, and its pairs are left out.  NaN if no pair is left, as for fewer than two seeds.  Raises
    ValueError for alphas that are not three-dimensional.
    """
    if alphas.ndim != 3:
        raise ValueError(f"alphas have the shape {alphas.shape}, but must be (seeds, edges, operations)")
    first, second = np.triu_indices(alphas.shape[2], k=1)
    order = np.sign(alphas[:, :, first] - alphas[:, :, second])
    order = order.transpose(1, 0, 2)  # (edges, seeds, pairs of operations)
    untied = (order**2).sum(axis=2)  # NaN where alpha holds NaN
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = order @ order.transpose(0, 2, 1) / np.sqrt(untied[:, :, None] * untied[:, None, :])
    pairs = tau[:, *np.triu_indices(alphas.shape[0], k=1)]
    pairs = pairs[np.isfinite(pairs)]
    return float(pairs.mean()) if pairs.size else math.nan


def spearman(first: Sequence[float | None], second: Sequence[float | None]) -> Estimate:
    """Spearman's rank correlation of paired values, (n,) each, with its 95 % interval.

    Interval of Fisher's z with the variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright: Sample size requirements for
    estimating Pearson, Kendall and Spearman correlations, 2000).  For a perfect order, where z is infinite, the inner
    end is that of the next possible order.  Pairs with a missing value are left out.  NaN for fewer than
    FEWEST_TO_CORRELATE pairs or if one side is constant.  Raises ValueError for sequences of different lengths.
    """
    return mean_spearman([(first, second)])


def mean_spearman(groups: Iterable[tuple[Sequence[float | None], Sequence[float | None]]]) -> Estimate:
    """Rank correlation within groups: the mean of their `spearman` correlations in Fisher's z, with its 95 % interval.

    Groups are weighted by the inverse variance of z; those for which it is not defined are left out.
    """
    found = [each for first, second in groups if (each := _fisher_z(first, second)) is not None]
    if not found:
        return Estimate()
    weight = sum(1 / variance for _, variance, _ in found)
    z = sum(value / variance for value, variance, _ in found) / weight
    half = Z / math.sqrt(weight)
    end = found[0][2] if len(found) == 1 else 0.0  # +-1 for a perfect order
    return Estimate(
        value=end or math.tanh(z),
        low=-1.0 if end < 0 else math.tanh(z - half),
        high=1.0 if end > 0 else math.tanh(z + half),
    )


def _fisher_z(first: Sequence[float | None], second: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Fisher's z of the rank correlation, its variance, and 1 or -1 for a perfect order, else 0; None if undefined."""
    if len(first) != len(second):
        raise ValueError(f"got {len(first)} first and {len(second)} second values; they must be pairs")
    pairs = np.array([[math.nan if v is None else v for v in side] for side in (first, second)], dtype=float)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    n = pairs.shape[1]
    if n < FEWEST_TO_CORRELATE or (np.ptp(pairs, axis=1) == 0).any():
        return None
    from scipy import stats

    value = float(stats.spearmanr(*pairs).statistic)
    largest = 1 - 12 / (n * (n**2 - 1))  # of an order in which two neighbors have changed places
    inner = max(-largest, min(largest, value))
    return math.atanh(inner), (1 + inner**2 / 2) / (n - 3), math.copysign(1, value) if abs(value) > 1 - 1e-12 else 0.0
