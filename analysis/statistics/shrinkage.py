"""True values of several cells from a few noisy trainings each: shrunk toward their mean, so that the best is not
overestimated.

The best of several measured values is too good on average (the winner's curse), as chance helped to make it the best.
The remedy is a hierarchical model.  Cell i has the mean y_i of n_i trainings,

    y_i ~ N(theta_i, sigma^2 / n_i + v_i),    theta_i ~ N(mu, tau^2),

with a known sampling variance v_i.  Priors: flat for mu and log sigma, and for tau uniform shrinkage (Daniels: A prior
for the variance in hierarchical models, 1999), which is proper and needs no more than two cells.  sigma and tau are
integrated out over a fixed grid, so that no random numbers are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.statistics.bootstrap import LEVEL, Estimate, Floats

SIGMAS, TAUS = 32, 64
"""Grid points of the two integrals."""


@dataclass(frozen=True, kw_only=True)
class ShrunkMeans:
    """Posterior of the true values: a mixture of normal distributions, one for each grid point (g).

    The errors of two cells have in common that of mu, with a weight for each cell; the rest is independent.
    """

    weights: Floats
    """Weights of the grid points, (g,)."""
    means: Floats
    """Means of the true values, (g, cells)."""
    own: Floats
    """Variances of their independent errors, (g, cells)."""
    common: Floats
    """Their common errors, in units of the same standard normal variable, (g, cells)."""

    def mean(self, cell: int) -> float:
        """Posterior mean of a cell's true value."""
        return float(self.weights @ self.means[:, cell])

    def estimate(self, cell: int) -> Estimate:
        """Posterior mean and 95 % interval of a cell's true value."""
        deviations = np.sqrt(self.own[:, cell] + self.common[:, cell] ** 2)
        value = self.mean(cell)
        low, high = (self._quantile(self.means[:, cell], deviations, level) for level in LEVEL)
        return Estimate(value=value, low=low, high=high)

    def beats(self, first: int, second: int) -> float:
        """Probability that the true value of the first cell is above that of the second."""
        common = self.common[:, first] - self.common[:, second]
        variances = self.own[:, first] + self.own[:, second] + common**2
        differences = self.means[:, first] - self.means[:, second]
        return float(self.weights @ special.ndtr(differences / np.sqrt(variances)))

    def _quantile(self, means: Floats, deviations: Floats, level: float) -> float:
        low, high = float((means - 40 * deviations).min()), float((means + 40 * deviations).max())
        for _ in range(60):  # bisection to the last bit
            middle = (low + high) / 2
            below = self.weights @ special.ndtr((middle - means) / deviations) < level
            low, high = (middle, high) if below else (low, middle)
        return (low + high) / 2


def shrunk_means(values: Sequence[Sequence[float]], sampling: Sequence[float]) -> ShrunkMeans | None:
    """Posterior of the true values of cells, from the values of their trainings and the sampling variance of each cell.

    None if no cell was trained twice, or if all trainings of a cell agree: sigma is unknown then.
    """
    groups = [np.asarray(each, dtype=float) for each in values]
    freedom = sum(len(each) - 1 for each in groups)
    squares = float(sum(((each - each.mean()) ** 2).sum() for each in groups))
    if freedom < 1 or squares == 0:
        return None
    y = np.array([each.mean() for each in groups])
    counts = np.array([len(each) for each in groups], dtype=float)
    middles = (np.arange(SIGMAS) + 0.5) / SIGMAS
    sigmas = squares / special.chdtri(freedom, middles)  # quantiles of the posterior of sigma^2 given the deviations
    noise = sigmas[:, None, None] / counts + np.asarray(sampling, dtype=float)  # (sigmas, 1, cells)
    shrinkage = (np.arange(TAUS) + 0.5) / TAUS
    taus = (1 / (1 / noise).mean(axis=2)) * (1 - shrinkage) / shrinkage  # (sigmas, taus): tau^2
    noise = np.broadcast_to(noise, (SIGMAS, TAUS, len(y))).reshape(-1, len(y))
    taus = taus.reshape(-1, 1)
    precision = 1 / (noise + taus)
    total = precision.sum(axis=1, keepdims=True)
    mu = (precision * y).sum(axis=1, keepdims=True) / total
    log_likelihood = (np.log(precision).sum(axis=1) - np.log(total[:, 0]) - (precision * (y - mu) ** 2).sum(axis=1)) / 2
    weights = np.exp(log_likelihood - log_likelihood.max())
    pull = noise * precision
    return ShrunkMeans(
        weights=weights / weights.sum(),
        means=pull * mu + (1 - pull) * y,
        own=noise * (1 - pull),
        common=pull / np.sqrt(total),
    )
