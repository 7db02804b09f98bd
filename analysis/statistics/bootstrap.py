"""Confidence intervals over seeds, by Student's t and by bootstrap: pure functions on arrays, given a numpy Generator.

scipy.stats is imported where it is used because it takes longer to load than everything else.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

RESAMPLES = 2000
"""Bootstrap resamples: between generators the ends of an interval move by a few percent of its width."""
FEWEST_TO_RESAMPLE = 20
"""Fewer values are not resampled: the 95 % BCa interval of 5, 10 or 20 normal values covers the mean in 85, 90 or 92 %
of cases, Student's t in 95 %."""
MANY = 500
"""More values are not resampled: normal theory is as good there and costs O(n) instead of O(n^2)."""
LEVEL = (0.025, 0.975)
"""Quantiles at the ends of a 95 % interval."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; NaN if not defined."""

    value: float = math.nan
    """Point estimate."""
    low: float = math.nan
    """Lower end of the interval."""
    high: float = math.nan
    """Upper end of the interval."""


class MeanInterval(NamedTuple):
    """95 % interval of a mean; NaN if not defined."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    method: str
    """How it was computed, or why there is none."""


def finite(values: Iterable[float | None]) -> Floats:
    """The finite values, of shape (n,), sorted so that results do not depend on the order of the seeds."""
    numbers = np.array([math.nan if value is None else value for value in values], dtype=float)
    return np.sort(numbers[np.isfinite(numbers)])


def mean_interval(numbers: Floats, generator: np.random.Generator) -> MeanInterval:
    """95 % interval of the mean of sorted values of shape (n,), n >= 1.

    Student's t, or for FEWEST_TO_RESAMPLE to MANY values a BCa bootstrap (Efron: Better Bootstrap Confidence Intervals,
    1987).
    """
    n = len(numbers)
    if n == 1:
        return MeanInterval(math.nan, math.nan, "none: a single value")
    if numbers[0] == numbers[-1]:
        return MeanInterval(math.nan, math.nan, "none: all values are equal")
    if n < FEWEST_TO_RESAMPLE or n > MANY:
        half = t_halfwidth(n, float(numbers.std(ddof=1)))
        mean = float(numbers.mean())
        why = f"n < {FEWEST_TO_RESAMPLE}" if n < FEWEST_TO_RESAMPLE else f"n > {MANY}"
        return MeanInterval(mean - half, mean + half, f"Student's t ({why})")
    from scipy import stats

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate resamples: an interval that is not finite is replaced below
        result = stats.bootstrap(
            (numbers,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // n),  # at most 16 MB at a time
            method="BCa",
            random_state=generator,
        )
    bounds = result.confidence_interval
    if math.isfinite(bounds.low) and math.isfinite(bounds.high):
        return MeanInterval(float(bounds.low), float(bounds.high), f"BCa bootstrap, {RESAMPLES} resamples")
    low, high = np.quantile(result.bootstrap_distribution, LEVEL)
    return MeanInterval(float(low), float(high), f"percentile bootstrap, {RESAMPLES} resamples")


def t_halfwidth(n: int, std: float, level: float = 0.95) -> float:
    """Half the width of Student's t interval of the mean of n >= 2 values with sample standard deviation `std`."""
    return float(special.stdtrit(n - 1, (1 + level) / 2)) * std / math.sqrt(n)
