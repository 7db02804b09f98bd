"""Wilcoxon's signed-rank test of paired values, and Holm's correction for several tests."""

import math
from collections.abc import Sequence

import numpy as np

from analysis.statistics.bootstrap import Floats, finite


def signed_rank(differences: Sequence[float] | Floats) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of paired differences (n,), at least 2^(1-n).

    Exact, with ties as well: the share of all signs of the ranks whose sum of positive ranks is as extreme.  NaN and
    zeros are left out.  1 for zeros alone, NaN without differences.
    """
    numbers = finite(differences)
    if not len(numbers):
        return math.nan
    numbers = numbers[numbers != 0]
    _, places, counts = np.unique(np.abs(numbers), return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(counts) - counts + 1)[places]  # twice the mean ranks, so that they are whole
    shares = np.ones(1)  # shares[w]: of the signs of the ranks so far, those whose positive ones add up to w
    for rank in ranks:
        zeros = np.zeros(rank)
        shares = (np.concatenate([shares, zeros]) + np.concatenate([zeros, shares])) / 2
    positive = int(ranks[numbers > 0].sum())
    tail = min(shares[: positive + 1].sum(), shares[positive:].sum())
    return min(1.0, 2 * float(tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down method (1979), in the given order; NaN stay NaN and are not counted."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
