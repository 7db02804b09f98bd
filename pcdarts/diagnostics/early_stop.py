"""The eigenvalue rule: when a search should have stopped.  Needs the standard library alone.

Source: "Understanding and Robustifying Differentiable Architecture Search", Zela et al., ICLR 2020 (arXiv 1909.09656).
"""

from collections.abc import Sequence

WINDOW = 5
"""Entries of the moving average, which stands at the middle one."""
DISTANCE = 4
"""Entries between the two averages that are compared: 8 epochs where every second one is measured."""
FACTOR = 1.3
"""Growth of the average that stops a search."""
FIRST_EPOCH = 10
"""The cell of an earlier epoch than this is never returned."""


def early_stop_epoch(epochs: Sequence[int], eigenvalues: Sequence[float]) -> int | None:
    """The epoch whose cell the eigenvalue rule returns; None where it lets the search run to its end.

    `epochs` are those at which the dominant eigenvalue of the Hessian of the validation loss in alpha was measured, and
    `eigenvalues` its values there, both of shape (n,).  A moving average over 5 entries stands at the middle one.  The
    search stops at the first average above 1.3 times the one 4 entries earlier, if that one stands at epoch 10 or
    later; the cell of that earlier epoch is returned.  The rule looks at finished windows alone, so it says the same
    while a search runs.  Averages that are NaN or not above 0 stop nothing.  Raises ValueError for lists of different
    lengths and for epochs that do not increase.
    """
    if len(epochs) != len(eigenvalues):
        raise ValueError(f"there are {len(epochs)} epochs and {len(eigenvalues)} eigenvalues, but must be one for each")
    for before, after in zip(epochs, epochs[1:], strict=False):
        if after <= before:
            raise ValueError(f"epoch {after} follows epoch {before}, but epochs must increase; sort both lists")
    averages = [sum(eigenvalues[start : start + WINDOW]) / WINDOW for start in range(len(eigenvalues) - WINDOW + 1)]
    middles = epochs[WINDOW // 2 :]
    for epoch, earlier, current in zip(middles, averages, averages[DISTANCE:], strict=False):
        if epoch >= FIRST_EPOCH and earlier > 0 and current > FACTOR * earlier:
            return epoch
    return None
