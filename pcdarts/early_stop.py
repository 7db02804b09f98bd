"""The eigenvalue rule: when a search should have stopped.  Needs the standard library alone.

Source: Zela et al., "Understanding and Robustifying Differentiable Architecture Search" (ICLR 2020), section 5.
"""

from collections.abc import Sequence
from statistics import fmean

WINDOW = 5
"""Measurements in an average; it stands at the epoch of the middle one."""
DELTA = 4
"""Measurements between the averages that are compared."""
FACTOR = 1.3
"""Growth of the average that stops a search."""
FIRST_EPOCH = 10
"""First epoch that can be returned."""


def early_stop_epoch(epochs: Sequence[int], eigenvalues: Sequence[float]) -> int | None:
    """The epoch whose cell the rule returns, or None where it does not stop the search.

    `epochs` are those at which the dominant eigenvalues were measured, ascending.  The rule compares centred averages;
    it stops as soon as one exceeds 1.3 times the average 4 measurements earlier, and returns that one's epoch, which
    must be 10 or later.  Averages that are negative or NaN stop nothing.  Raises ValueError for unequal lengths.
    """
    if len(epochs) != len(eigenvalues):
        raise ValueError(f"there are {len(eigenvalues)} eigenvalues for {len(epochs)} epochs; give one for each")
    averages = [fmean(eigenvalues[start : start + WINDOW]) for start in range(len(eigenvalues) - WINDOW + 1)]
    for epoch, before, after in zip(epochs[WINDOW // 2 :], averages, averages[DELTA:], strict=False):
        if epoch >= FIRST_EPOCH and before > 0 and after > FACTOR * before:
            return epoch
    return None
