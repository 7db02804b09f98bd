"""Statistics of a study over seeds: pure functions on arrays and data frames.

Missing values (None, NaN, infinities: failed seeds have no value) are left out and never counted in n.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.statistics.bootstrap import finite, interquartile_mean, mean_bootstrap
from pcdarts.config import NOT_IDENTITY, SearchConfig

WITH_RESULT = ("completed", "stopped")
"""Statuses of searches that have a result: all epochs trained, or ended by a collapse rule that names a cell."""
SETTING_COLUMNS = [
    field.name for field in dataclasses.fields(SearchConfig) if field.name not in NOT_IDENTITY | {"seed"}
]
"""Columns of `searches` in which settings can differ."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Summary of the values of several seeds; NaN where a number is not defined."""

    n: int
    """How many values there are; missing ones and NaN are left out."""
    mean: float
    """Mean."""
    std: float
    """Sample standard deviation (n - 1 in the denominator); NaN below two values."""
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
    """Interquartile mean: mean without the n // 4 smallest and the n // 4 largest values."""
    low: float
    """Lower end of the 95 % interval of the mean; NaN below two values, and where all are equal."""
    high: float
    """Upper end of the 95 % interval of the mean; NaN below two values, and where all are equal."""
    method: str
    """How the interval was made, and how far to trust it."""


@dataclass(frozen=True, kw_only=True)
class SettingSummary:
    """The searches of one setting, over all of its seeds."""

    setting: str
    """Name of the setting, such as k=4."""
    place: int
    """Place in `setting_order`."""
    completed: int
    """Searches that trained all of their epochs."""
    failed: int
    """Searches that ended with an error."""
    stopped: int
    """Searches that a collapse rule ended; they have a result, and count below like completed ones."""
    valid_accuracy: Summary
    """Accuracy of the super-network on the validation half, over the seeds with a result; percent."""
    seconds: float
    """Mean wall-clock time of a search with a result; seconds, NaN where there is none."""
    cells: tuple[str, ...]
    """Digests of the different cells that were found, sorted; isomorphic ones count once."""
    best_genotype: str | None
    """Cells of the search with the best validation accuracy, of equal ones the first by name, in the official notation;
    None where there is none."""
    worst_seed: int | None
    """Seed of the search with the worst validation accuracy, of equal ones the last by name; None where there is
    none."""

    @property
    def ended(self) -> int:
        """Searches with a result: completed and stopped ones."""
        return self.completed + self.stopped

    @property
    def distinct_cells(self) -> int:
        """How many different cells the searches found."""
        return len(self.cells)


def summarize(values: Iterable[float | None], generator: np.random.Generator | None = None) -> Summary:
    """Summary of values of shape (n,); missing ones are left out, no values give n = 0 and NaN.

    The interval is Student's t or, of 20 to 500 values, a BCa bootstrap of the mean (Efron: Better Bootstrap Confidence
    Intervals, 1987), as `Summary.method` says.  Without a generator the same values give the same interval.
    """
    numbers = finite(values)
    n = len(numbers)
    if n == 0:
        nothing = dict.fromkeys(("mean", "std", "median", "minimum", "maximum", "q1", "q3", "iqm"), math.nan)
        return Summary(n=0, low=math.nan, high=math.nan, method="no value", **nothing)
    q1, median, q3 = (float(q) for q in np.quantile(numbers, (0.25, 0.5, 0.75)))
    low, high, method = mean_bootstrap(numbers, generator or np.random.default_rng(0))
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
        iqm=float(numbers[0]) if equal else float(interquartile_mean(numbers)),
        low=low,
        high=high,
        method=method,
    )


def mean_interval(summary: Summary, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean, (low, high); (NaN, NaN) below two values."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be between 0 and 1, such as 0.95")
    if summary.n < 2:
        return math.nan, math.nan
    half = _halfwidth(summary.n, summary.std, level)
    return summary.mean - half, summary.mean + half


def intervals_overlap(first: Summary, second: Summary) -> bool:
    """Whether the 95 % t intervals of two means overlap; true where one is not defined, as nothing tells them apart."""
    (low, high), (other_low, other_high) = mean_interval(first), mean_interval(second)
    return not (high < other_low or other_high < low)


def needs_more_seeds(
    values: Sequence[float | None], target_halfwidth: float, max_seeds: int, *, corrected: bool = False
) -> tuple[bool, str]:
    """Whether a setting needs another seed until the 95 % interval of its mean is narrow, and why or why not.

    `values` of shape (n,) holds one entry a seed that ended, None or NaN where it failed: failed seeds count against
    `max_seeds` but not in the interval, which is Student's t.  The half-width is in the unit of the values.

    The interval at the end is optimistic: looking after every seed and stopping at the first narrow interval favours
    samples that happen to lie close together.  For normal values, 20 seeds at most and targets of 0.3 to 2 standard
    deviations, simulation gives it a coverage of 88 to 93 % in place of 95 %, least where the target is half a standard
    deviation.  `corrected=True` divides the 5 % by the max_seeds - 1 looks that there can be (Bonferroni): then all of
    the intervals hold together with at least 95 %, whenever the rule stops.  It is cautious, 99 % in the same
    simulation, and costs seeds: 13 in place of 6 on average where the target is one standard deviation.  Report
    `mean_interval(summary, stopping_level(max_seeds))` in that case.
    """
    if not target_halfwidth > 0:
        raise ValueError(f"target_halfwidth is {target_halfwidth}, but must be above 0, such as 0.2 percentage points")
    if max_seeds < 2:
        raise ValueError(f"max_seeds is {max_seeds}, but an interval needs at least 2; raise it or run a fixed seed")
    numbers = finite(values)
    n = len(numbers)
    half = _halfwidth(n, float(numbers.std(ddof=1)), stopping_level(max_seeds) if corrected else 0.95) if n > 1 else 0.0
    if n > 1 and half <= target_halfwidth:
        return False, f"half-width {half:.3g} of {n} values is within the target {target_halfwidth:g}"
    found = f"half-width {half:.3g} of {n} values" if n > 1 else f"{n} of 2 values for an interval"
    if len(values) >= max_seeds:
        return False, f"{found}, but all {max_seeds} seeds are used (target {target_halfwidth:g})"
    return True, f"{found}, above the target {target_halfwidth:g}; {len(values)} of at most {max_seeds} seeds used"


def stopping_level(max_seeds: int) -> float:
    """Level of one interval so that those after 2, 3, ..., max_seeds seeds hold together with 95 % (Bonferroni)."""
    return 1 - 0.05 / (max_seeds - 1)


def summarize_settings(searches: pd.DataFrame) -> list[SettingSummary]:
    """One summary for every setting of a searches table, by mean validation accuracy, best first.

    Settings without a result come last; ties are in `setting_order`.  The interval of a setting depends on its own
    values alone.
    """
    ranked = dict(list(rank_searches(searches).groupby("setting")))
    nothing = searches.iloc[:0]
    statuses = dict(list(searches.groupby("setting")["status"]))
    summaries = [
        _summarize_setting(setting, place, statuses[setting], ranked.get(setting, nothing))
        for setting, place in setting_order(searches).items()
    ]
    return sorted(summaries, key=_best_first)


def setting_order(searches: pd.DataFrame) -> dict[str, int]:
    """The settings and their places, sorted by their values in SETTING_COLUMNS: k=2 comes before k=16."""
    values = searches.groupby("setting")[SETTING_COLUMNS].first().reset_index()
    return {str(name): place for place, name in enumerate(values.sort_values([*SETTING_COLUMNS, "setting"])["setting"])}


def rank_searches(searches: pd.DataFrame) -> pd.DataFrame:
    """The searches with a result, best validation accuracy first; equal ones by name, NaN last."""
    ended = searches[searches["status"].isin(WITH_RESULT)]
    return ended.sort_values(["valid_accuracy", "search_id"], ascending=[False, True], na_position="last")


def final_jobs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `queue` or `retrains` of full retrainings: no proxies."""
    return rows[rows["stage"] != "proxy"]


def _summarize_setting(setting: str, place: int, statuses: "pd.Series[str]", ranked: pd.DataFrame) -> SettingSummary:
    counts = statuses.value_counts()
    scored = ranked[np.isfinite(ranked["valid_accuracy"].astype(float))]
    best, worst = (scored.iloc[0], scored.iloc[-1]) if len(scored) else (None, None)
    seconds = finite(ranked["seconds"])
    return SettingSummary(
        setting=setting,
        place=place,
        completed=int(counts.get("completed", 0)),
        failed=int(counts.get("failed", 0)),
        stopped=int(counts.get("stopped", 0)),
        valid_accuracy=summarize(ranked["valid_accuracy"]),
        seconds=float(seconds.mean()) if len(seconds) else math.nan,
        cells=tuple(sorted(ranked["genotype_digest"].dropna().unique())),
        best_genotype=None if best is None else str(best["genotype"]),
        worst_seed=None if worst is None else int(worst["seed"]),
    )


def _halfwidth(n: int, std: float, level: float) -> float:
    """Half the width of Student's t interval of the mean of n >= 2 values."""
    return float(special.stdtrit(n - 1, (1 + level) / 2)) * std / math.sqrt(n)


def _best_first(summary: SettingSummary) -> tuple[bool, float, int]:
    mean = summary.valid_accuracy.mean
    return math.isnan(mean), 0.0 if math.isnan(mean) else -mean, summary.place
