"""Whether one measure of cells orders them like another: one-shot against retrained, one recipe against another."""

from dataclasses import dataclass
from typing import Literal

from analysis.statistics.bootstrap import Estimate

Judgement = Literal["same order", "related", "weakly related", "not related", "not known"]
"""What an interval of a rank correlation says, see `judge`."""


@dataclass(frozen=True, kw_only=True)
class OrderCheck:
    """Rank correlation between two measures of the same cells."""

    kind: Literal["one-shot", "size", "rung", "recipe"]
    """one-shot, size: one-shot accuracy or multiply-adds against the retrained accuracy of a setting's cells; rung: a
    rung of the race against the final training; recipe: another recipe against the final training."""
    subject: str
    """The setting, or the level that is compared with the final training."""
    reference: str
    """What it is compared with."""
    cells: int
    """Cells with both values."""
    correlation: Estimate
    """Spearman's rank correlation with its 95 % interval; NaN below 6 cells."""
    judgement: Judgement
    """What the interval says."""
    sentence: str
    """The conclusion in one sentence."""
