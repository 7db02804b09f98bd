"""Comparisons between settings, by the test error of their retrained cells, under one decision rule."""

from dataclasses import dataclass
from typing import Literal

from analysis.statistics.bootstrap import Estimate

Outcome = Literal["first", "second", "none", "too few"]
"""first, second: this setting is better; none: no significant difference; too few: too few pairs to decide."""
DECISION_RULE = (
    "Decision rule, fixed before the data: settings are compared by the test error of their retrained cells, paired by "
    "search seed. A setting is called better only if Student's t interval of the mean difference, at Holm's level for "
    "all comparisons together, excludes 0, and if there are enough pairs for a test without assumptions on the "
    "distribution to confirm it."
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
    """Search seeds with a retrained cell in both settings."""
    difference: Estimate
    """Mean test error of the second minus that of the first, with its interval at `level`; percentage points, positive
    if the first is better."""
    level: float
    """Confidence level of the interval after Holm's correction, at least 0.95."""
    outcome: Outcome
    """What the decision rule says."""
    wilcoxon: float
    """Footnote: p-value of Wilcoxon's signed-rank test after Holm's correction."""
    pairs_needed: int | None
    """Pairs that would find a difference as large as the observed one with 80 % power; None if unknown."""
