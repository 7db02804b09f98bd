"""What is known of each setting: one row of the first table of the report."""

from dataclasses import dataclass

from analysis.statistics.bootstrap import Estimate


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting: its searches, and the test error of its retrained cells at the level of the comparison.

    Numbers that are not known are NaN.
    """

    setting: str
    """Name of the setting, such as k=4."""
    method: str
    """Search method, such as pcdarts; empty if not recorded."""
    searches: int
    """Searches with a result, including those stopped by a collapse rule."""
    failed: int
    """Searches that ended with an error."""
    collapsed: int
    """Searches that a collapse rule stopped or warned about."""
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
    """Mean top-5 test error, as `test_error`; NaN where there is none."""
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
