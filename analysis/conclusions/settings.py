"""What is known of each setting: one row of the first table of the report, and the level at which settings compare."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.conclusions.levels import COMPARED, Level
from analysis.statistics.bootstrap import Estimate, finite
from analysis.statistics.proportions import sampling_interval
from analysis.statistics.ranking import pooled_deviation
from analysis.statistics.summaries import WITH_RESULT, rule_fired, setting_order, stopped_by_hand


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting: its searches, and the test error of its retrained cells at the level of the comparison.

    Numbers that are not known are NaN.
    """

    setting: str
    """Name of the setting, such as k=4."""
    method: str
    """Search method, such as pcdarts; empty if not recorded."""
    space: str
    """Search space; empty if not recorded."""
    searches: int
    """Searches with a result, including those stopped by a collapse rule or by hand."""
    failed: int
    """Searches that ended with an error."""
    collapsed: int
    """Searches that a collapse rule stopped or warned about."""
    stopped_by_hand: int
    """Searches that a person ended early, with or without a result."""
    canceled: int
    """Those of them that had not trained an epoch, and have no result."""
    rules_recorded: bool
    """Whether collapse rules were recorded for any search; False for random cells and imported logs."""
    distinct_cells: int
    """Distinct cells that the searches found; isomorphic ones count once."""
    selected: int
    """Distinct cells selected for retraining."""
    retrained: int
    """Distinct cells with a completed training at the level of the comparison."""
    retrained_searches: int
    """Searches that found these cells: the number of values behind mean, std and worst."""
    trainings: int
    """Completed trainings of these cells at this level."""
    test_error: float
    """Mean test error over the searches, each with the mean over the trainings of its cell; percent."""
    test_error_std: float
    """Sample standard deviation of these errors between searches; NaN for fewer than two."""
    seed_std: float
    """Standard deviation of the test error between trainings of one cell, pooled; NaN if no cell was trained twice."""
    sampling: Estimate
    """The mean test error with the 95 % interval for the number of test images alone (Wilson); percent."""
    worst: float
    """Largest test error of its cells, each the mean over trainings; percent."""
    test_top5_error: float
    """Mean top-5 test error, as `test_error`; NaN if not measured."""
    parameters: Estimate
    """Mean parameters of the networks of its cells, with the smallest and the largest as low and high."""
    multiply_adds: Estimate
    """Mean multiply-adds of the networks of its cells, with the smallest and the largest as low and high."""
    gpu_days: float
    """Mean GPU-days of a search; NaN without a GPU."""
    cpu_hours: float
    """Mean CPU-hours of a search, wall-clock hours x threads; NaN on a GPU."""
    device: str
    """Devices of the searches; empty if not recorded."""
    gain: Estimate
    """Mean test error of the random cells minus that of this setting, paired by search seed, with the interval of the
    comparison; percentage points, positive if the setting is better."""


@dataclass(frozen=True, kw_only=True)
class ComparisonLevel:
    """The level at which settings compare, and which of them."""

    level: Level | None
    """The longest level at which most settings have all of their selected cells trained; None if nothing is."""
    complete: tuple[str, ...]
    """Settings with all selected cells trained at this level, in `setting_order`."""
    left_out: Mapping[str, str]
    """The other settings with a result, and why they cannot be compared."""


def found_cells(searches: pd.DataFrame) -> pd.DataFrame:
    """The searches with a result and a cell."""
    return searches[searches["status"].isin(WITH_RESULT)].dropna(subset=["genotype_digest"])


def errors_by_search(found: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """The searches whose cell has a training in `done`, with the mean test errors of their cells."""
    means = done.groupby("genotype_digest")[["test_error", "test_top5_error"]].mean()
    return found[["setting", "seed", "search_id", "genotype_digest"]].merge(
        means, left_on="genotype_digest", right_index=True
    )


def selected_cells(found: pd.DataFrame, queue: pd.DataFrame, done: pd.DataFrame) -> dict[str, set[str]]:
    """Digests of the cells that each setting has in the race or the final stage, trained or not."""
    wanted = queue[queue["stage"].isin(COMPARED) & (queue["state"] != "dropped")]["genotype_digest"]
    wanted = set(wanted) | set(done[done["stage"].isin(COMPARED)]["genotype_digest"])
    return {str(name): set(rows["genotype_digest"]) & wanted for name, rows in found.groupby("setting")}


def comparison_level(
    found: pd.DataFrame, queue: pd.DataFrame, done: pd.DataFrame, levels: Sequence[Level]
) -> ComparisonLevel:
    """The longest of the levels at which most settings have all of their selected cells trained.

    So a race, which trains only the best cells for longer, does not bias a comparison.  A cell whose training failed
    for good counts as trained: it will have no result.
    """
    selected = selected_cells(found, queue, done)
    names = [name for name in setting_order(found) if name in selected] if len(found) else []
    best: tuple[list[str], Level | None, dict[str, set[str]]] = ([], None, {})
    for level in levels:  # the longest last
        if level.stage not in COMPARED:
            continue
        trained = set(done[done["level"] == level.number]["genotype_digest"])
        given_up = set(queue[_at(queue, level) & (queue["state"] == "failed")]["genotype_digest"])
        cells = {name: selected[name] & trained for name in names}
        complete = [name for name in names if cells[name] and selected[name] <= trained | given_up]
        if best[1] is None or len(complete) >= len(best[0]):
            best = (complete, level, cells)
    complete, at, cells = best
    left_out = {
        name: f"{len(cells[name])} of {len(selected[name])} selected cells are trained"
        if cells.get(name)
        else "no cell was retrained"
        for name in names
        if name not in complete
    }
    return ComparisonLevel(level=at, complete=tuple(complete), left_out=left_out)


def setting_row(
    searches: pd.DataFrame, selected: set[str], done: pd.DataFrame, level: Level | None, gain: Estimate
) -> SettingRow:
    """The row of a setting; `searches` holds its searches, `done` the trainings of the level."""
    ended = searches[searches["status"].isin(WITH_RESULT)]
    errors = errors_by_search(found_cells(searches), done)
    cells = done.loc[done["genotype_digest"].isin(errors["genotype_digest"]), ["genotype_digest", "test_error"]]
    trained = [each.tolist() for _, each in cells.groupby("genotype_digest")["test_error"]]
    values = errors["test_error"].to_numpy(dtype=float)
    mean = float(values.mean()) if len(values) else math.nan
    method = str(next(iter(searches["method"].dropna()), ""))
    cpu = ended[ended["gpu_days"].isna()]
    return SettingRow(
        setting=str(searches["setting"].iloc[0]),
        method=method,
        space=str(next(iter(searches["space"].dropna()), "")),
        searches=len(ended),
        failed=int((searches["status"] == "failed").sum()),
        collapsed=int(rule_fired(ended).sum()),
        stopped_by_hand=int(stopped_by_hand(searches).sum()),
        canceled=int((searches["status"] == "canceled").sum()),
        rules_recorded=method != "random" and bool(ended["warnings"].notna().any()),
        distinct_cells=int(ended["genotype_digest"].nunique()),
        selected=len(selected),
        retrained=int(errors["genotype_digest"].nunique()),
        retrained_searches=len(errors),
        trainings=len(cells),
        test_error=mean,
        test_error_std=float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        seed_std=pooled_deviation(trained) if any(len(each) > 1 for each in trained) else math.nan,
        sampling=sampling_interval(mean, level.test_images if level else None),
        worst=float(values.max()) if len(values) else math.nan,
        test_top5_error=float(errors["test_top5_error"].mean()) if len(errors) else math.nan,
        parameters=_range(ended["network_parameters"]),
        multiply_adds=_range(ended["network_macs"]),
        gpu_days=_mean(ended["gpu_days"]),
        cpu_hours=_mean(cpu["seconds"].astype(float) * cpu["threads"].astype(float) / 3600),
        device=", ".join(sorted(map(str, ended["device_name"].dropna().unique()))),
        gain=gain,
    )


def _at(queue: pd.DataFrame, level: Level) -> "pd.Series[bool]":
    same_rung = queue["rung"] == level.rung if level.rung is not None else queue["rung"].isna()
    return (queue["stage"] == level.stage) & same_rung


def _mean(values: "pd.Series[float]") -> float:
    numbers = finite(values)
    return float(numbers.mean()) if len(numbers) else math.nan


def _range(values: "pd.Series[float]") -> Estimate:
    numbers = finite(values)
    if not len(numbers):
        return Estimate()
    return Estimate(value=float(numbers.mean()), low=float(numbers[0]), high=float(numbers[-1]))
