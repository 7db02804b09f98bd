"""The order of cells by the validation accuracy of their retrainings: what the race promotes cells by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean


@dataclass(frozen=True, kw_only=True)
class RankedCell:
    """A cell and what its trainings of one recipe say; percent."""

    digest: str
    """Digest of the cell, equal for isomorphic cells."""
    trainings: int
    """Trainings that the mean is over."""
    mean: float
    """Mean validation accuracy."""
    standard_error: float
    """Standard error of the mean, see `standard_error`."""

    @property
    def value(self) -> float:
        """What cells are ranked by: mean minus standard error."""
        return self.mean - self.standard_error


def rank_cells(accuracies: Mapping[str, Sequence[float]], validation_images: int | None) -> list[RankedCell]:
    """Cells by mean validation accuracy minus its standard error, the best first; equal ones keep their order.

    `accuracies` holds percentages by digest, of trainings by one recipe; cells without any are left out.
    """
    deviation = pooled_deviation(accuracies.values())
    cells = [
        RankedCell(
            digest=digest,
            trainings=len(values),
            mean=fmean(values),
            standard_error=standard_error(values, deviation, validation_images),
        )
        for digest, values in accuracies.items()
        if values
    ]
    return sorted(cells, key=lambda cell: -cell.value)


def standard_error(values: Sequence[float], deviation: float, validation_images: int | None) -> float:
    """Standard error of a mean validation accuracy, sqrt(s^2 / n + p (1 - p) / images); percentage points.

    s is the deviation between trainings.  The second term is the sampling error of the validation images, which more
    trainings do not reduce: all of them are validated on the same images.  It is left out if their number is unknown.
    """
    share = fmean(values) / 100
    sampling = share * (1 - share) / validation_images if validation_images else 0.0
    return sqrt(deviation**2 / len(values) + 100**2 * sampling)


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation of values about the means of their groups; 0 if no group has two."""
    groups = [group for group in groups if group]
    squares = sum((x - fmean(group)) ** 2 for group in groups for x in group)
    freedom = sum(len(group) - 1 for group in groups)
    return sqrt(squares / freedom) if freedom else 0.0
