"""Sampling errors of accuracies: a test set is a sample of images."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import Estimate

Z = 1.959964
"""Quantile of the normal distribution at 97.5 %."""


class ImageDifference(NamedTuple):
    """Two cells on the same images."""

    difference: Estimate
    """Errors of the second minus those of the first, with the 95 % interval over images; percentage points."""
    p_value: float
    """McNemar's exact test; NaN if a cell has several networks."""


def sampling_interval(percent: float, images: int | None) -> Estimate:
    """A percentage of images with its 95 % interval for their number (Wilson, 1927); no interval if unknown."""
    if not images or math.isnan(percent):
        return Estimate(value=percent)
    share = percent / 100
    middle = (share + Z**2 / (2 * images)) / (1 + Z**2 / images)
    half = Z / (1 + Z**2 / images) * math.sqrt(share * (1 - share) / images + Z**2 / (4 * images**2))
    return Estimate(value=percent, low=max(0.0, 100 * (middle - half)), high=min(100.0, 100 * (middle + half)))


def sampling_variance(percent: float, images: int | None) -> float:
    """Variance of a percentage of images for their number, p (1 - p) / n; 0 if unknown."""
    return percent * (100 - percent) / images if images else 0.0


def combined_interval(first: Estimate, second: Estimate) -> Estimate:
    """The first percentage, with an interval that also covers the independent error that the second one's shows.

    The squared distances to the ends add up (Zou and Donner, 2008), within 0 and 100 %.  The first interval alone if
    the second has none.
    """
    low, high = first.value - first.low, first.high - first.value
    if not math.isnan(second.low):
        low = math.hypot(low, second.value - second.low)
        high = math.hypot(high, second.high - second.value)
    return Estimate(value=first.value, low=max(0.0, first.value - low), high=min(100.0, first.value + high))


def image_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> ImageDifference:
    """Compare two cells on the same images; arrays (networks, images) say which images a network got right.

    Interval: Wald with half an image added to each of the four cells of the table (Agresti and Min, 2005), for the mean
    over the networks.
    """
    images = first.shape[1]
    differences = first.mean(axis=0) - second.mean(axis=0)
    value = float(differences.mean())
    n = images + 2
    middle = float(differences.sum()) / n
    variance = (float((differences**2).sum()) + 1) / n - middle**2
    half = Z * math.sqrt(variance / n)
    p_value = math.nan
    if len(first) == len(second) == 1:
        from scipy import stats

        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        p_value = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return ImageDifference(Estimate(value=100 * value, low=100 * (middle - half), high=100 * (middle + half)), p_value)


def cell_share(correct: Sequence[NDArray[np.bool_]]) -> float:
    """Share of the sampling variance of accuracies that is a cell's own, 0 to 1; NaN if no cell has two networks.

    An array (networks, images) for each cell says which images a network got right.  Hard images are hard for all: only
    what networks of one cell have in common beyond that makes the choice of images favor a cell.  It is the mean
    correlation between networks of one cell minus that between networks of different cells.
    """
    owners = np.repeat(np.arange(len(correct)), [len(each) for each in correct])
    same = owners[:, None] == owners[None, :]
    others = ~np.eye(len(owners), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.atleast_2d(np.corrcoef(np.concatenate(correct).astype(np.float32)))
    known = np.isfinite(correlations)
    within, between = (correlations[known & others & mask] for mask in (same, ~same))
    if not len(within) or not len(between):
        return math.nan
    return float(np.clip(within.mean() - between.mean(), 0, 1))


def unpacked(correct: bytes, images: int) -> NDArray[np.bool_]:
    """The bits of the column `test_correct`, (images,)."""
    return np.unpackbits(np.frombuffer(correct, dtype=np.uint8), count=images).astype(bool)
