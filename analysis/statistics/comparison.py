"""Comparisons of settings over their seeds: which is better, by how much, and with what confidence.

Searches with the same seed share data order and initial weights as far as their settings allow, so settings are
compared over their common seeds.  The tests are from scipy.stats, imported where they are used.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.statistics.bootstrap import LEVEL, MANY, RESAMPLES, Estimate, Floats, finite, mean_interval
from analysis.statistics.summaries import WITH_RESULT, setting_order

FEWEST_SETTINGS, FEWEST_SEEDS = 3, 5
"""Settings and seeds that a critical difference needs at least."""
FEWEST_FOR_IMPROVEMENT = 5
"""Values of each setting that an interval of the probability of improvement needs: with 2, 3 and 4 it covers the
probability in 66, 79 and 93 % of cases if the settings are equal, and in fewer if they are not."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two settings compared over their common seeds."""

    first: str
    """Name of the first setting."""
    second: str
    """Name of the second setting."""
    n: int
    """Common seeds with a value in both."""
    difference: Estimate
    """Mean of first - second over the common seeds, in the unit of the values; for its interval see `mean_interval`."""
    improvement: Estimate
    """Probability that a search of the first beats one of the second, regardless of seed."""
    effect_size: float
    """Matched-pairs rank-biserial correlation, -1 to 1: share of the rank sum in favour of the first minus that in
    favour of the second (Kerby: The Simple Difference Formula, 2014); 0 where all are equal, NaN without pairs."""
    p_value: float
    """Two-sided Wilcoxon signed-rank test; NaN without pairs.  At least 2^(1-n): for fewer than 6 pairs never below
    0.05."""
    p_adjusted: float
    """p_value after Holm's correction for all comparisons made together."""


class SignedRank(NamedTuple):
    """Wilcoxon signed-rank test."""

    p_value: float
    """Two-sided p-value."""
    effect_size: float
    """Rank-biserial correlation, -1 to 1."""


@dataclass(frozen=True, kw_only=True)
class CriticalDifference:
    """Friedman test of all settings, and which mean ranks differ by it (Demsar: Statistical Comparisons, 2006)."""

    settings: tuple[str, ...]
    """The settings compared, best mean rank first."""
    left_out: tuple[str, ...]
    """Settings with fewer than FEWEST_SEEDS values, which would leave no common seeds."""
    n: int
    """Seeds that all of the settings have."""
    mean_ranks: tuple[float, ...]
    """Mean over the seeds of the rank of each setting, 1 the best; equal values share their mean rank."""
    p_value: float
    """Friedman test; 1 if all values are equal."""
    difference: float
    """Nemenyi's critical difference at 5 %: mean ranks closer than this are not significantly different."""
    groups: tuple[tuple[str, ...], ...]
    """Largest runs of at least two settings without a significant difference: the bars of the diagram."""


def probability_of_improvement(
    first: Iterable[float | None], second: Iterable[float | None], generator: np.random.Generator
) -> Estimate:
    """Probability that a value of the first beats one of the second, ties counted half, with its 95 % interval.

    The Mann-Whitney statistic over all pairs (n, m), as in Agarwal et al., 2021, with a percentile bootstrap, or if
    both have more than MANY values the normal interval of DeLong et al.: Comparing the Areas under Two or More
    Correlated ROC Curves, 1988.  NaN without values.  No interval if either has fewer than FEWEST_FOR_IMPROVEMENT, or
    if all pairs have the same outcome, as [1, 1] would claim certainty.
    """
    a, b = finite(first), finite(second)
    if not len(a) or not len(b):
        return Estimate()
    if min(len(a), len(b)) > MANY:
        return _many_pairs(a, b)
    wins = (np.sign(a[:, None] - b[None, :]) + 1) / 2  # (n, m): 1, 0.5 or 0
    value = float(wins.mean())
    if min(wins.shape) < FEWEST_FOR_IMPROVEMENT or wins.min() == wins.max():
        return Estimate(value=value)
    drawn_a, drawn_b = (generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n for n in wins.shape)
    low, high = np.quantile(((drawn_a @ wins) * drawn_b).sum(axis=1), LEVEL)
    return Estimate(value=value, low=float(low), high=float(high))


def compare_settings(
    searches: pd.DataFrame,
    generator: np.random.Generator,
    reference: str | None = None,
) -> list[Comparison]:
    """Paired comparisons of the settings' validation accuracies by common seeds, in `setting_order`.

    All pairs of settings, or with a `reference` each other setting (first) against it (second): fewer comparisons lose
    less power to Holm's correction, but the lead of a reference selected on the same data is overestimated.  Several
    searches of one setting and seed count with their mean.

    Raises ValueError for a reference without results.
    """
    table = seed_table(searches)
    names = list(table.columns)
    if reference is not None and reference not in names:
        raise ValueError(
            f"reference is {reference!r}, but must be a setting with results: {', '.join(names) or 'none'}"
        )
    pairs = list(itertools.combinations(names, 2))
    if reference is not None:
        pairs = [(name, reference) for name in names if name != reference]
    values = {name: table[name].to_numpy(dtype=float) for name in names}
    tests = [signed_rank(_rounded_differences(values[first], values[second])) for first, second in pairs]
    adjusted = holm([p_value for p_value, _ in tests])
    comparisons = []
    for (first, second), (p_value, effect_size), p_adjusted in zip(pairs, tests, adjusted, strict=True):
        differences = finite(values[first] - values[second])
        comparisons.append(
            Comparison(
                first=first,
                second=second,
                n=len(differences),
                difference=_mean_difference(differences, generator),
                improvement=probability_of_improvement(values[first], values[second], generator),
                effect_size=effect_size,
                p_value=p_value,
                p_adjusted=p_adjusted,
            )
        )
    return comparisons


def seed_table(searches: pd.DataFrame) -> pd.DataFrame:
    """Validation accuracies by seed (rows) and setting (columns, in `setting_order`); NaN where a seed has none.

    Searches without a result are left out, as are seeds and settings that have none.
    """
    ended = searches[searches["status"].isin(WITH_RESULT)]
    values = ended.assign(value=ended["valid_accuracy"].astype(float).replace([math.inf, -math.inf], math.nan))
    table = values.dropna(subset=["value"]).groupby(["seed", "setting"])["value"].mean().unstack()
    return table[[setting for setting in setting_order(ended) if setting in table.columns]]


def signed_rank(differences: Sequence[float] | Floats) -> SignedRank:
    """Wilcoxon signed-rank test of paired differences (n,).

    NaN and zeros are left out.  Exact for up to 50 differences, or up to 13 with ties.  All zeros give (1, 0), no
    differences (NaN, NaN).
    """
    numbers = finite(differences)
    if not len(numbers):
        return SignedRank(math.nan, math.nan)
    numbers = numbers[numbers != 0]
    if not len(numbers):
        return SignedRank(1.0, 0.0)
    from scipy import stats

    ranks = stats.rankdata(np.abs(numbers))
    effect = float((np.sign(numbers) * ranks).sum() / ranks.sum())
    return SignedRank(float(stats.wilcoxon(numbers).pvalue), effect)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down method (1979), in the given order; NaN stay NaN and are not counted."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def critical_difference(searches: pd.DataFrame) -> CriticalDifference | None:
    """Friedman test and Nemenyi's critical difference at 5 % of accuracies, over the seeds that all settings have.

    Settings with fewer than FEWEST_SEEDS values are left out and named.  None for fewer than FEWEST_SETTINGS settings
    or FEWEST_SEEDS common seeds.
    """
    table = seed_table(searches)
    enough = table.columns[table.notna().sum() >= FEWEST_SEEDS]
    left_out = tuple(str(name) for name in table.columns if name not in set(enough))
    common = table[enough].dropna()
    n, count = common.shape
    if n < FEWEST_SEEDS or count < FEWEST_SETTINGS:
        return None
    from scipy import stats

    values = common.to_numpy(dtype=float)
    ranks = stats.rankdata(-values, axis=1).mean(axis=0)
    equal = bool((values == values[:, :1]).all())
    order = sorted(range(count), key=lambda i: ranks[i])
    difference = float(stats.studentized_range.ppf(0.95, count, np.inf)) / math.sqrt(2)
    difference *= math.sqrt(count * (count + 1) / (6 * n))
    names, mean_ranks = tuple(str(enough[i]) for i in order), tuple(float(ranks[i]) for i in order)
    return CriticalDifference(
        settings=names,
        left_out=left_out,
        n=n,
        mean_ranks=mean_ranks,
        p_value=1.0 if equal else float(stats.friedmanchisquare(*values.T).pvalue),
        difference=difference,
        groups=_groups(names, mean_ranks, difference),
    )


def _many_pairs(a: Floats, b: Floats) -> Estimate:
    """`probability_of_improvement` of sorted values, without forming the pairs."""
    beaten = (np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")) / (2 * len(b))  # share of b below each a
    beating = 1 - (np.searchsorted(a, b, "left") + np.searchsorted(a, b, "right")) / (2 * len(a))
    value = min(1.0, float(beaten.mean()))  # a mean of ones may round up
    half = 1.959964 * math.sqrt(beaten.var(ddof=1) / len(a) + beating.var(ddof=1) / len(b))
    if half == 0:
        return Estimate(value=value)
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def _rounded_differences(first: Floats, second: Floats) -> Floats:
    """Differences (n,) rounded to 1e-9 of the largest value, so that 80.1 - 80 and 70.1 - 70 tie."""
    largest = np.nanmax(np.abs([first, second]), initial=0.0)
    unit = 1e-9 * largest if largest > 0 else 1.0
    return np.asarray(np.round((first - second) / unit) * unit)


def _mean_difference(differences: Floats, generator: np.random.Generator) -> Estimate:
    if not len(differences):
        return Estimate()
    interval = mean_interval(differences, generator)
    return Estimate(value=float(differences.mean()), low=interval.low, high=interval.high)


def _groups(names: Sequence[str], ranks: Sequence[float], difference: float) -> tuple[tuple[str, ...], ...]:
    """Runs of sorted ranks that span less than the difference, without those that lie within a longer one."""
    groups: list[tuple[str, ...]] = []
    last = 0
    for start in range(len(names)):
        end = max(i for i in range(start, len(names)) if ranks[i] - ranks[start] < difference)
        if end > max(start, last):
            groups.append(tuple(names[start : end + 1]))
            last = end
    return tuple(groups)
