"""The recommended cell: the best by validation at the longest training, and how sure that is."""

from dataclasses import dataclass

from analysis.conclusions.levels import Level
from analysis.statistics.bootstrap import Estimate


@dataclass(frozen=True, kw_only=True)
class CellComparison:
    """The networks of two cells on the same test images."""

    first: str
    """Digest of the first cell."""
    second: str
    """Digest of the second cell."""
    difference: Estimate
    """Test error of the second minus that of the first, paired by image, with the 95 % interval for the choice of test
    images alone; percentage points."""
    p_value: float
    """McNemar's exact test; NaN if a cell was trained more than once."""
    images: int
    """Test images."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The recommended cell."""

    digest: str
    """Digest of the cell."""
    genotype: str
    """The cells in the official notation."""
    found_by: tuple[str, ...]
    """Searches that found it, as "k=4, seed 2"; empty for a cell added by hand."""
    chosen_at: Level
    """Level at which validation accuracy chose it."""
    candidates: int
    """Cells with a result at this level."""
    valid_accuracy: float
    """Mean validation accuracy at this level; percent."""
    next_best: str
    """Digest of the next cell by the same rule; empty if there is one candidate."""
    beats_next: float
    """Probability that its true accuracy is above that of the next cell; NaN if unknown."""
    tied: tuple[str, ...]
    """Digests of the other cells that are better with a probability of 5 % or more, best first."""
    reported_at: Level
    """Level of the reported test error: fresh trainings by the published protocol, or else `chosen_at`."""
    fresh: bool
    """Whether these trainings were made after the choice."""
    test_error: Estimate
    """Test error with its 95 % interval, for seeds and test images together; corrected for the choice if `corrected`;
    percent.  The interval is NaN if the cell was trained once."""
    corrected: bool
    """Whether the error was corrected for the choice of the best of several cells (shrinkage)."""
    test_error_mean: float
    """Plain mean of the trainings; percent."""
    seed_std: float
    """Sample standard deviation of the test error between the trainings; NaN for a single one."""
    trainings: int
    """Number of these trainings."""
    sampling: Estimate
    """Plain mean with the 95 % interval for the number of test images alone (Wilson); percent."""
    test_top5_error: float
    """Mean top-5 test error of these trainings; NaN where there is none."""
    parameters: int | None
    """Weights of the network, without the auxiliary head."""
    multiply_adds: int | None
    """Multiply-adds of one image in convolutions and linear layers."""
    against_next: CellComparison | None
    """The two best cells on the same test images; None if predictions were not kept."""
