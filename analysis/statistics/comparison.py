"""Wilcoxon's signed-rank test of paired values, and Holm's correction for several tests.

The test is from scipy.stats, imported where it is used.
"""

import math
from collections.abc import Sequence

from analysis.statistics.bootstrap import Floats, finite


def signed_rank(differences: Sequence[float] | Floats) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of paired differences (n,), at least 2^(1-n).

    NaN and zeros are left out.  Exact for up to 50 differences, or up to 13 with ties.  1 for zeros alone, NaN without
    differences.
    """
    numbers = finite(differences)
    if not len(numbers):
        return math.nan
    numbers = numbers[numbers != 0]
    if not len(numbers):
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(numbers).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down method (1979), in the given order; NaN stay NaN and are not counted."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
