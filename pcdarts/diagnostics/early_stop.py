"""The eigenvalue rule: the epoch at which a search should stop, and whether the rule can fire at all.

Needs the standard library alone.

Source: "Understanding and Robustifying Differentiable Architecture Search", Zela et al., ICLR 2020 (arXiv 1909.09656).
"""

import math
from collections.abc import Iterator, Sequence

WINDOW = 5
"""Entries of the moving average, which is centered."""
DISTANCE = 4
"""Entries between the two averages that are compared: 8 epochs if every second epoch is measured."""
FACTOR = 1.3
"""Growth of the average that stops a search."""
FIRST_EPOCH = 10
"""First epoch whose cell can be returned."""
MEASUREMENTS = WINDOW + DISTANCE
"""Measurements without which nothing can be compared: 9."""


def early_stop_epoch(epochs: Sequence[int], eigenvalues: Sequence[float]) -> int | None:
    """The epoch whose cell the eigenvalue rule returns; None if the rule does not fire.

    `eigenvalues` are the dominant eigenvalues of the Hessian of the validation loss in alpha, measured at `epochs`,
    both of shape (n,).  They are smoothed by a centered moving average over 5 entries.  The rule fires at the first
    average above 1.3 times the average 4 entries earlier, if that one is at epoch 10 or later, and returns this earlier
    epoch.  Only complete windows count, so the result does not change while a search runs on.  Averages that are NaN or
    not above 0 are ignored.

    Raises ValueError for sequences of different lengths and for epochs that do not increase.
    """
    for epoch, earlier, current in _comparisons(epochs, eigenvalues):
        if current > FACTOR * earlier:
            return epoch
    return None


def eigenvalue_shortage(epochs: Sequence[int], eigenvalues: Sequence[float] | None = None) -> str | None:
    """What the eigenvalue rule lacked to fire, such as "needs 9 measurements with trained alpha, has 3".

    None if the rule compared at least two averages, so that its silence means something.  `epochs` and `eigenvalues`
    are as in `early_stop_epoch`, of epochs with trained alpha only; without eigenvalues all are taken as sound.

    Raises ValueError as `early_stop_epoch` does.
    """
    if next(_comparisons(epochs, [1.0] * len(epochs) if eigenvalues is None else eigenvalues), None) is not None:
        return None
    if len(epochs) < MEASUREMENTS:
        return f"needs {MEASUREMENTS} measurements with trained alpha, has {len(epochs)}"
    latest = epochs[len(epochs) - 1 - DISTANCE - WINDOW // 2]
    if latest < FIRST_EPOCH:
        return f"compares with an average around epoch {FIRST_EPOCH} or later, but the latest one is around {latest}"
    return "needs averages above 0, but found none to compare"


def _comparisons(epochs: Sequence[int], eigenvalues: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """(epoch, average around it, average DISTANCE entries later) of all that the rule compares."""
    if len(epochs) != len(eigenvalues):
        raise ValueError(
            f"{len(epochs)} epochs and {len(eigenvalues)} eigenvalues were given, but their numbers must be equal"
        )
    for before, after in zip(epochs, epochs[1:], strict=False):
        if after <= before:
            raise ValueError(f"epoch {after} follows epoch {before}, but epochs must increase; sort both lists")
    averages = [sum(eigenvalues[start : start + WINDOW]) / WINDOW for start in range(len(eigenvalues) - WINDOW + 1)]
    middles = epochs[WINDOW // 2 :]
    for epoch, earlier, current in zip(middles, averages, averages[DISTANCE:], strict=False):
        if epoch >= FIRST_EPOCH and earlier > 0 and not math.isnan(current):
            yield epoch, earlier, current
