"""Comparisons between settings, by the test error of their retrained cells, under one decision rule."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from analysis.conclusions.power import ERROR_RATE, detectable_difference, fewest_pairs
from analysis.statistics.bootstrap import Estimate, Floats
from analysis.statistics.comparison import holm, signed_rank

Outcome = Literal["first", "second", "none", "too few"]
"""first, second: this setting is better; none: no significant difference; too few: too few pairs to decide."""
DECISION_RULE = (
    "Decision rule, fixed before the data: settings are compared by the test error of their retrained cells, paired by "
    "search seed. One is called better only if the interval of the mean difference (Student's t, at Holm's level for "
    "all comparisons together) excludes 0, and if there are enough pairs for a test without assumptions on the "
    "distribution to reach significance."
)
"""The rule behind every comparison, as the report prints it."""


@dataclass(frozen=True, kw_only=True)
class SettingComparison:
    """Two settings compared over their common search seeds."""

    first: str
    """Name of the first setting."""
    second: str
    """Name of the second setting."""
    pairs: int
    """Independent pairs: search seeds with a retrained cell in both settings; those that share a cell count once."""
    seeds: int
    """Search seeds with a retrained cell in both settings."""
    difference: Estimate
    """Mean test error of the second minus that of the first, with its interval at `level`; percentage points, positive
    if the first is better."""
    level: float
    """Confidence level of the interval after Holm's correction, at least 0.95."""
    outcome: Outcome
    """What the decision rule says."""
    pairs_wanted: int
    """Fewest pairs with which the rule can decide."""
    wilcoxon: float
    """Footnote: p-value of Wilcoxon's signed-rank test after Holm's correction."""
    detectable: float
    """Difference that this many pairs find with 80 % power, at the deviation found; percentage points, NaN over 100."""


@dataclass(frozen=True, kw_only=True)
class PairedMean:
    """Mean of paired differences."""

    mean: float
    """Mean over all pairs; NaN without pairs."""
    error: float
    """Standard error of the mean; NaN for fewer than two independent pairs."""
    pairs: int
    """Independent pairs: those that share a cell count once."""

    @property
    def p_value(self) -> float:
        """Two-sided t test of a mean of 0; NaN if there is no error."""
        if math.isnan(self.error):
            return math.nan
        return 2 * float(special.stdtr(self.pairs - 1, -abs(self.mean) / self.error))

    def interval(self, level: float) -> Estimate:
        """Student's t interval of the mean, within -100 and 100 percentage points."""
        if math.isnan(self.error):
            return Estimate(value=self.mean)
        half = float(special.stdtrit(self.pairs - 1, (1 + level) / 2)) * self.error
        return Estimate(value=self.mean, low=max(-100.0, self.mean - half), high=min(100.0, self.mean + half))


def compare(errors: pd.DataFrame, settings: Sequence[str]) -> tuple[SettingComparison, ...]:
    """All pairs of the settings; `errors` from `errors_by_search`.

    The interval of each comparison is at the level of its step in Holm's method, so that it excludes 0 exactly if
    Holm's method rejects equality.
    """
    pairs = list(itertools.combinations(settings, 2))
    if not pairs:
        return ()
    tested = errors.pivot_table(index="seed", columns="setting", values="test_error", aggfunc="mean")
    cells = errors.pivot_table(index="seed", columns="setting", values="genotype_digest", aggfunc="first")
    values = {name: tested[name].to_numpy(dtype=float) for name in settings}
    names = {name: cells[name].to_numpy(dtype=object) for name in settings}
    differences, means = [], []
    for first, second in pairs:
        difference = values[second] - values[first]
        both = np.isfinite(difference)
        differences.append(difference[both])
        means.append(paired_mean(difference[both], names[first][both].tolist(), names[second][both].tolist()))
    wanted = fewest_pairs(len(pairs))
    rates = _error_rates([mean.p_value if mean.pairs >= wanted else math.nan for mean in means])
    wilcoxon = holm([signed_rank(np.round(each, 9)) for each in differences])
    return tuple(
        _comparison(pair, len(each), mean, rate, wilcoxon=p_value, comparisons=len(pairs))
        for pair, each, mean, rate, p_value in zip(pairs, differences, means, rates, wilcoxon, strict=True)
    )


def paired_mean(differences: Floats, first: Sequence[str], second: Sequence[str]) -> PairedMean:
    """Mean of differences (n,) between paired cells, with its standard error.

    `first` and `second` name the cells of each pair.  Pairs that share a cell share its trainings, so they are not
    independent: they form a cluster, and the error is robust to clusters.  Without shared cells it is the usual one.
    """
    n = len(differences)
    if not n:
        return PairedMean(mean=math.nan, error=math.nan, pairs=0)
    mean = float(differences.mean())
    clusters = _clusters(first, second)
    count = max(clusters) + 1
    sums = np.bincount(clusters, weights=differences - mean, minlength=count)
    squares = float((sums**2).sum())
    if count < 2 or math.isclose(squares, 0, abs_tol=1e-18):  # a single cluster, or differences that do not vary
        return PairedMean(mean=mean, error=math.nan, pairs=count)
    return PairedMean(mean=mean, error=math.sqrt(count / (count - 1) * squares) / n, pairs=count)


def _clusters(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Number of the cluster of each pair: pairs are in one if they share a cell, directly or through others."""
    clusters = list(range(len(first)))
    if len({*first, *second}) == 2 * len(first):  # the usual case, in which no cell is found twice
        return clusters
    for i, j in itertools.combinations(range(len(first)), 2):
        if {first[i], second[i]} & {first[j], second[j]}:
            old, new = clusters[j], clusters[i]
            clusters = [new if each == old else each for each in clusters]
    numbers = {each: number for number, each in enumerate(dict.fromkeys(clusters))}
    return [numbers[each] for each in clusters]


def _error_rates(p_values: Sequence[float]) -> list[float]:
    """Error rate of each comparison's interval by Holm's method; NaN are never rejected.

    5 % / m for the smallest p-value, 5 % / (m - 1) for the next, and so on until one is not rejected; the rest share
    its rate.
    """
    remaining = len(p_values)
    rates = [math.nan] * remaining
    for index in sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i])):
        rates[index] = ERROR_RATE / remaining
        if p_values[index] <= rates[index]:
            remaining -= 1
    return rates


def _comparison(
    settings: tuple[str, str], seeds: int, mean: PairedMean, rate: float, *, wilcoxon: float, comparisons: int
) -> SettingComparison:
    wanted = fewest_pairs(comparisons)
    difference = mean.interval(1 - rate)
    outcome: Outcome = "too few"
    if mean.pairs >= wanted:
        outcome = "first" if difference.low > 0 else "second" if difference.high < 0 else "none"
    deviation = mean.error * math.sqrt(mean.pairs)
    detectable = detectable_difference(deviation, mean.pairs, comparisons) if deviation > 0 else math.nan
    return SettingComparison(
        first=settings[0],
        second=settings[1],
        pairs=mean.pairs,
        seeds=seeds,
        difference=difference,
        level=1 - rate,
        outcome=outcome,
        pairs_wanted=wanted,
        wilcoxon=wilcoxon,
        detectable=detectable if detectable <= 100 else math.nan,
    )
