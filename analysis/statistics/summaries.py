"""Statistics of a study over seeds: pure functions on arrays and data frames.

Missing values (None, NaN, infinities: failed seeds have no value) are left out and never counted in n.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.statistics.bootstrap import finite, mean_interval, t_halfwidth
from pcdarts.config import IMAGE_SHAPE, NOT_IDENTITY, SearchConfig
from pcdarts.results import STOPPED_BY_HAND

WITH_RESULT = ("completed", "stopped")
"""Statuses of searches that have a result: all epochs trained, or stopped by a collapse rule or by hand."""
SETTING_COLUMNS = [
    field.name for field in dataclasses.fields(SearchConfig) if field.name not in NOT_IDENTITY | {"seed"} | IMAGE_SHAPE
]
"""Columns of `searches` in which settings can differ."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Summary of the values of several seeds; NaN for what is not defined."""

    n: int
    """Number of values, without missing ones and NaN."""
    mean: float
    """Mean."""
    std: float
    """Sample standard deviation (n - 1 in the denominator); NaN for fewer than two values."""
    median: float
    """Median."""
    minimum: float
    """Smallest value."""
    maximum: float
    """Largest value."""
    q1: float
    """Lower quartile, linear interpolation as np.quantile."""
    q3: float
    """Upper quartile, linear interpolation as np.quantile."""
    iqm: float
    """Interquartile mean: mean without the n // 4 smallest and the n // 4 largest values, recommended for few seeds by
    Agarwal et al.: Deep Reinforcement Learning at the Edge of the Statistical Precipice, 2021."""
    low: float
    """Lower end of the 95 % interval of the mean; NaN for fewer than two values, or if all are equal."""
    high: float
    """Upper end of the 95 % interval of the mean; NaN for fewer than two values, or if all are equal."""
    method: str
    """How the interval was computed, or why there is none."""


@dataclass(frozen=True, kw_only=True)
class SettingSummary:
    """The searches of one setting, over all of its seeds."""

    setting: str
    """Name of the setting, such as k=4."""
    completed: int
    """Searches that trained all epochs."""
    failed: int
    """Searches that ended with an error."""
    stopped: int
    """Searches stopped by a collapse rule; they have a result and count like completed ones below."""
    valid_accuracy: Summary
    """Accuracy of the super-network on the validation half, over the seeds with a result; percent."""
    seconds: float
    """Mean wall-clock time of the searches with a result; seconds, NaN if there are none."""
    cells: tuple[str, ...]
    """Digests of the distinct cells, sorted; isomorphic ones count once."""
    worst_seed: int | None
    """Seed of the search with the worst validation accuracy (ties: the last by name); None without a result."""

    @property
    def ended(self) -> int:
        """Searches with a result: completed and stopped ones."""
        return self.completed + self.stopped

    @property
    def distinct_cells(self) -> int:
        """Number of distinct cells."""
        return len(self.cells)


def summarize(values: Iterable[float | None], generator: np.random.Generator | None = None) -> Summary:
    """Summary of values of shape (n,); missing ones are left out, no values give n = 0 and NaN.

    For the interval see `mean_interval`; without a generator equal values give equal intervals.
    """
    numbers = finite(values)
    n = len(numbers)
    if n == 0:
        nothing = dict.fromkeys(("mean", "std", "median", "minimum", "maximum", "q1", "q3", "iqm"), math.nan)
        return Summary(n=0, low=math.nan, high=math.nan, method="none: no values", **nothing)
    q1, median, q3 = (float(q) for q in np.quantile(numbers, (0.25, 0.5, 0.75)))
    interval = mean_interval(numbers, generator or np.random.default_rng(0))
    cut = n // 4
    equal = bool(numbers[0] == numbers[-1])  # a sum of equal values may round: their mean is the value itself
    return Summary(
        n=n,
        mean=float(numbers[0]) if equal else float(numbers.mean()),
        std=math.nan if n == 1 else 0.0 if equal else float(numbers.std(ddof=1)),
        median=median,
        minimum=float(numbers[0]),
        maximum=float(numbers[-1]),
        q1=q1,
        q3=q3,
        iqm=float(numbers[0]) if equal else float(numbers[cut : n - cut].mean()),
        low=interval.low,
        high=interval.high,
        method=interval.method,
    )


def t_interval(summary: Summary, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean, (low, high); (NaN, NaN) for fewer than two values."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be between 0 and 1, such as 0.95")
    if summary.n < 2:
        return math.nan, math.nan
    half = t_halfwidth(summary.n, summary.std, level)
    return summary.mean - half, summary.mean + half


def needs_more_seeds(
    values: Sequence[float | None], target_halfwidth: float, max_seeds: int, *, corrected: bool = False
) -> tuple[bool, str]:
    """Whether a setting needs another seed for the 95 % interval of its mean to be narrow enough, and the reason.

    `values` of shape (n,) has one entry for each finished seed, None or NaN for failed ones, which count against
    `max_seeds` but do not enter the interval (Student's t).  `target_halfwidth` is in the unit of the values.

    The final interval is optimistic: stopping at the first narrow interval favors samples that happen to lie close
    together.  In simulations with normal values, at most 20 seeds and targets of 0.3 to 2 standard deviations, it
    covers the mean in 88 to 93 % of cases instead of 95 %, least for a target of half a standard deviation.
    `corrected=True` divides the 5 % by the max_seeds - 1 possible looks (Bonferroni), so that all intervals together
    have at least 95 % confidence, whenever seeds stop.  This is conservative: 99 % in the same simulation, and 13
    instead of 6 seeds on average for a target of one standard deviation.  Report
    `t_interval(summary, stopping_level(max_seeds))` in that case.

    Raises ValueError for a target of 0 or less and for max_seeds below 2.
    """
    if not target_halfwidth > 0:
        raise ValueError(f"target_halfwidth is {target_halfwidth}, but must be above 0, such as 0.2 percentage points")
    if max_seeds < 2:
        raise ValueError(f"max_seeds is {max_seeds}, but an interval needs at least 2; raise it or run a fixed seed")
    numbers = finite(values)
    n = len(numbers)
    half = (
        t_halfwidth(n, float(numbers.std(ddof=1)), stopping_level(max_seeds) if corrected else 0.95) if n > 1 else 0.0
    )
    if n > 1 and half <= target_halfwidth:
        return False, f"half-width {half:.3g} of {n} values is within the target {target_halfwidth:g}"
    found = f"half-width {half:.3g} of {n} values" if n > 1 else f"{n} of 2 values for an interval"
    if len(values) >= max_seeds:
        return False, f"{found}, but all {max_seeds} seeds are used (target {target_halfwidth:g})"
    return True, f"{found}, above the target {target_halfwidth:g}; {len(values)} of at most {max_seeds} seeds used"


def stopping_level(max_seeds: int) -> float:
    """Level of each interval after 2, 3, ..., max_seeds seeds, so that together they have 95 % (Bonferroni)."""
    return 1 - 0.05 / (max_seeds - 1)


def summarize_settings(searches: pd.DataFrame) -> list[SettingSummary]:
    """One summary for each setting of a searches table, in `setting_order`: one-shot accuracies do not rank settings.

    The interval of a setting depends on its own values alone.
    """
    ranked = dict(list(rank_searches(searches).groupby("setting")))
    nothing = searches.iloc[:0]
    statuses = dict(list(searches.groupby("setting")["status"]))
    return [
        _summarize_setting(setting, statuses[setting], ranked.get(setting, nothing))
        for setting in setting_order(searches)
    ]


def setting_order(searches: pd.DataFrame) -> dict[str, int]:
    """The settings and their places, sorted by their values in SETTING_COLUMNS: k=2 comes before k=16."""
    values = searches.groupby("setting")[SETTING_COLUMNS].first().reset_index()
    return {str(name): place for place, name in enumerate(values.sort_values([*SETTING_COLUMNS, "setting"])["setting"])}


def stopped_by_hand(searches: pd.DataFrame) -> "pd.Series[bool]":
    """Which searches a person ended, not a collapse rule: with a result, or before their first epoch without one."""
    return (searches["status"] == "canceled") | (
        (searches["status"] == "stopped") & (searches["stop_reason"] == STOPPED_BY_HAND)
    )


def rule_fired(searches: pd.DataFrame) -> "pd.Series[bool]":
    """Which searches a collapse rule stopped or warned about."""
    stopped = (searches["status"] == "stopped") & ~stopped_by_hand(searches)
    return stopped | (searches["warnings"].fillna("") != "")


def rank_searches(searches: pd.DataFrame) -> pd.DataFrame:
    """The searches with a result, best validation accuracy first; ties by name, NaN last."""
    ended = searches[searches["status"].isin(WITH_RESULT)]
    return ended.sort_values(["valid_accuracy", "search_id"], ascending=[False, True], na_position="last")


def _summarize_setting(setting: str, statuses: "pd.Series[str]", ranked: pd.DataFrame) -> SettingSummary:
    counts = statuses.value_counts()
    scored = ranked[np.isfinite(ranked["valid_accuracy"].astype(float))]
    seconds = finite(ranked["seconds"])
    return SettingSummary(
        setting=setting,
        completed=int(counts.get("completed", 0)),
        failed=int(counts.get("failed", 0)),
        stopped=int(counts.get("stopped", 0)),
        valid_accuracy=summarize(ranked["valid_accuracy"]),
        seconds=float(seconds.mean()) if len(seconds) else math.nan,
        cells=tuple(sorted(ranked["genotype_digest"].dropna().unique())),
        worst_seed=int(scored["seed"].iloc[-1]) if len(scored) else None,
    )
