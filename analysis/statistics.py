"""Statistics of a study over seeds: pure functions on arrays and data frames."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special


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


@dataclass(frozen=True, kw_only=True)
class SettingSummary:
    """The searches of one setting, over all of its seeds."""

    setting: str
    """Name of the setting, such as k=4."""
    completed: int
    """Searches that trained all of their epochs; only these enter the numbers below."""
    failed: int
    """Searches that ended with an error."""
    stopped: int
    """Searches that were stopped before their last epoch."""
    valid_accuracy: Summary
    """Accuracy of the super-network on the validation half, over the completed seeds; percent."""
    seconds: float
    """Mean wall-clock time of a completed search; seconds, NaN where there is none."""
    cells: tuple[str, ...]
    """Digests of the different cells among the completed searches, sorted; isomorphic ones count once."""
    best_search_id: str | None
    """Completed search with the best validation accuracy, of equal ones the first by name; None where there is none."""
    best_genotype: str | None
    """Cells of that search, in the official notation."""
    best_accuracy: float
    """Validation accuracy of that search; percent, NaN where there is none."""

    @property
    def distinct_cells(self) -> int:
        """How many different cells the completed searches found."""
        return len(self.cells)


def summarize(values: Iterable[float | None]) -> Summary:
    """Summary of values of shape (n,); None and NaN are left out, no values give n = 0 and NaN."""
    numbers = np.array([value for value in values if value is not None], dtype=float)
    numbers = np.sort(numbers[~np.isnan(numbers)])  # sorted: the same sum whatever the order of the seeds
    n = len(numbers)
    if n == 0:
        return Summary(n=0, mean=math.nan, std=math.nan, median=math.nan, minimum=math.nan, maximum=math.nan)
    return Summary(
        n=n,
        mean=float(numbers.mean()),
        std=float(numbers.std(ddof=1)) if n > 1 else math.nan,
        median=float(np.median(numbers)),
        minimum=float(numbers[0]),
        maximum=float(numbers[-1]),
    )


def mean_interval(summary: Summary, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean, (low, high); (NaN, NaN) below two values."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be between 0 and 1, such as 0.95")
    if summary.n < 2:
        return math.nan, math.nan
    half = float(special.stdtrit(summary.n - 1, (1 + level) / 2)) * summary.std / math.sqrt(summary.n)
    return summary.mean - half, summary.mean + half


def intervals_overlap(first: Summary, second: Summary, level: float = 0.95) -> bool:
    """Whether the t intervals of two means overlap; true where one is not defined, as nothing tells them apart."""
    (low, high), (other_low, other_high) = mean_interval(first, level), mean_interval(second, level)
    return not (high < other_low or other_high < low)


def summarize_settings(searches: pd.DataFrame) -> list[SettingSummary]:
    """One summary for every setting of a searches table, by mean validation accuracy, best first.

    Settings without a completed search stand last; equal ones are in the order of their names.
    """
    summaries = [_summarize_setting(str(setting), rows) for setting, rows in searches.groupby("setting")]
    return sorted(summaries, key=_best_first)


def rank_searches(searches: pd.DataFrame) -> pd.DataFrame:
    """The completed searches, best validation accuracy first; equal ones by name, NaN last."""
    completed = searches[searches["status"] == "completed"]
    return completed.sort_values(["valid_accuracy", "search_id"], ascending=[False, True], na_position="last")


def natural_key(text: str) -> list[Any]:
    """Sort key that puts k=2 before k=16."""
    return [(0, int(n), "") if n else (1, 0, other) for n, other in re.findall(r"([0-9]+)|([^0-9]+)", text)]


def _summarize_setting(setting: str, rows: pd.DataFrame) -> SettingSummary:
    ranked = rank_searches(rows)
    best = ranked.iloc[0] if len(ranked) and not pd.isna(ranked.iloc[0]["valid_accuracy"]) else None
    return SettingSummary(
        setting=setting,
        completed=len(ranked),
        failed=int((rows["status"] == "failed").sum()),
        stopped=int((rows["status"] == "stopped").sum()),
        valid_accuracy=summarize(ranked["valid_accuracy"]),
        seconds=summarize(ranked["seconds"]).mean,
        cells=tuple(sorted(ranked["genotype_digest"].dropna().unique())),
        best_search_id=None if best is None else str(best["search_id"]),
        best_genotype=None if best is None else str(best["genotype"]),
        best_accuracy=math.nan if best is None else float(best["valid_accuracy"]),
    )


def _best_first(summary: SettingSummary) -> tuple[bool, float, list[Any]]:
    mean = summary.valid_accuracy.mean
    return math.isnan(mean), 0.0 if math.isnan(mean) else -mean, natural_key(summary.setting)
