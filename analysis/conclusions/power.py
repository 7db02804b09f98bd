"""How many search seeds a comparison between settings needs."""

import math
from functools import lru_cache

from scipy import special

ERROR_RATE = 0.05
"""Probability that the comparisons of a study call equal settings different, all together."""


def fewest_pairs(comparisons: int) -> int:
    """Fewest search seeds at which one of several comparisons can be decided.

    With fewer, not even a difference of the same sign in every pair could reach Holm's first level in a test without
    assumptions on the distribution (the smallest p-value of n pairs is 2^(1 - n)): 6 for one comparison, 7 for three.
    """
    if comparisons < 1:
        raise ValueError(f"comparisons is {comparisons}, but must be at least 1: two settings")
    return math.ceil(1 + math.log2(comparisons / ERROR_RATE))


def seeds_needed(deviation: float, difference: float, comparisons: int = 1, power: float = 0.8) -> int:
    """Search seeds that find a mean difference with this probability, in a paired t test at Holm's first level.

    `deviation` is the standard deviation of the paired differences, in the unit of `difference`.
    """
    if not deviation >= 0:
        raise ValueError(f"deviation is {deviation}, but must be at least 0")
    if not difference > 0:
        raise ValueError(f"difference is {difference}, but must be above 0, such as 0.2 percentage points")
    if not 0 < power < 1:
        raise ValueError(f"power is {power}, but must be between 0 and 1, such as 0.8")
    fewest = fewest_pairs(comparisons)
    low, high = fewest - 1, fewest
    while _power(high, deviation, difference, comparisons) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, deviation, difference, comparisons) >= power else (middle, high)
    return high


def detectable_difference(deviation: float, pairs: int, comparisons: int = 1, power: float = 0.8) -> float:
    """Mean difference that this many search seeds find with this probability, in the same test; at least 2 seeds."""
    if pairs < 2:
        raise ValueError(f"pairs is {pairs}, but must be at least 2, to know a deviation")
    return deviation * _detectable_in_deviations(pairs, comparisons, power)


@lru_cache(maxsize=1024)
def _detectable_in_deviations(pairs: int, comparisons: int, power: float) -> float:
    low, high = 0.0, 1.0
    while _power(pairs, 1.0, high, comparisons) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(pairs, 1.0, middle, comparisons) >= power else (middle, high)
    return high


def _power(pairs: int, deviation: float, difference: float, comparisons: int) -> float:
    """Power of the two-sided paired t test."""
    if deviation == 0:
        return 1.0
    freedom = pairs - 1
    critical = special.stdtrit(freedom, 1 - ERROR_RATE / comparisons / 2)
    shift = difference / deviation * math.sqrt(pairs)
    if shift > max(30, 4 * critical):  # certain, and beyond what the noncentral distribution resolves
        return 1.0
    above, below = special.nctdtr(freedom, shift, [critical, -critical])
    return float(1 - above + (0.0 if math.isnan(below) else below))  # SciPy: NaN where the far tail underflows
