"""Partial channel connection as a regularizer: closed form for a linear super-network, checked by sampling.

Model: one node sums E edges, which start at different nodes.  Edge e carries C channels with D features each, x_ec.
Operation o and the read-out after the node act on channel c as w_eoc . x_ec, the bypass as b_ec . x_ec.  With the
mixture weights p_e = softmax(alpha_e) and masks m_ec of 0 and 1,

    y_hat(m) = sum_ec [ m_ec sum_o p_eo w_eoc . x_ec + (1 - m_ec) b_ec . x_ec ],    loss = mean of (y - y_hat)^2.

Without a side operation b_ec is the same fixed read-out for all channels; a parameterized side operation makes it a
weight that is trained (`with_solved_bypass`, `solved_loss`).

Assumptions: operations, side operation and read-out are linear and act on each channel separately; each edge draws
C / K of its C channels uniformly without replacement, independently of the other edges and of the data.

Result: with d_ec = (sum_o p_eo w_eoc - b_ec) . x_ec, the difference between mixture and bypass on channel c, and its
mean over the channels d_e,

    E_m[loss] = loss at m = 1 / K  +  (K - 1) / K^2 * C / (C - 1) * mean over the data of sum_ec (d_ec - d_e)^2.

It follows from E[(y - y_hat)^2] = (y - E y_hat)^2 + Var(y_hat), Var(m_ec) = (1 / K)(1 - 1 / K) and, for two channels of
an edge, Cov = -Var / (C - 1).  The penalty is quadratic in the mixture-weighted weights sum_o p_eo w_eoc, so it
regularizes the weights and, through softmax(alpha), the architecture parameters.  K = 1 has none, and neither have
masks that do not vary: `channel_sampling` must be random.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

Array = npt.NDArray[np.float64]

CHUNK = 1 << 16
"""Masks that are evaluated in one batch."""


@dataclass(frozen=True, kw_only=True)
class LinearSupernet:
    """A linear super-network and its data: N examples, E edges, O operations, C channels, D features."""

    x: Array
    """Input features, (N, E, C, D)."""
    y: Array
    """Targets, (N,)."""
    alpha: Array
    """Architecture parameters before the softmax, (E, O)."""
    weights: Array
    """Weights of operations and read-out, (E, O, C, D)."""
    bypass: Array
    """Weights of bypass and read-out, (E, C, D)."""

    def __post_init__(self) -> None:
        n, e, c, d = self.x.shape
        expected = {"y": (n,), "weights": (e, self.alpha.shape[-1], c, d), "bypass": (e, c, d)}
        expected["alpha"] = (e, self.alpha.shape[-1])
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, but must have {shape} to fit x")


@dataclass(frozen=True, kw_only=True)
class ExpectedLoss:
    """The expected loss at one sampling rate, in closed form and by sampling."""

    k: int
    """Partial channel connection: C / k channels are sampled."""
    mean_mask_loss: float
    """Loss with the mask replaced by its mean, 1 / k."""
    penalty: float
    """Expected loss minus mean_mask_loss, in closed form."""
    alpha_gradient_norm: float
    """L2 norm of the gradient of the penalty in alpha."""
    sampled: float
    """Mean loss over sampled masks (Monte Carlo)."""
    standard_error: float
    """Standard error of `sampled`."""

    @property
    def closed_form(self) -> float:
        """Loss at the mean mask plus penalty."""
        return self.mean_mask_loss + self.penalty

    @property
    def relative_difference(self) -> float:
        """(sampled - closed_form) / closed_form."""
        return (self.sampled - self.closed_form) / self.closed_form


def losses(net: LinearSupernet, masks: Array) -> Array:
    """Mean squared error over the examples for each of M masks, (M, E, C) -> (M,)."""
    difference, bypassed = _difference(net), np.einsum("necd,ecd->n", net.x, net.bypass)
    flat = difference.reshape(len(net.y), -1)
    residuals = (net.y - bypassed) - masks.reshape(len(masks), -1) @ flat.T
    errors: Array = (residuals**2).mean(axis=1)
    return errors


def mean_mask_loss(net: LinearSupernet, k: int) -> float:
    """Loss with every mask value replaced by its mean, 1 / k.  Raises ValueError for a k that does not divide C."""
    _, e, c, _ = net.x.shape
    _sampled(c, k)
    return float(losses(net, np.full((1, e, c), 1 / k))[0])


def penalty(net: LinearSupernet, k: int) -> float:
    """The expected loss over random masks minus the loss at the mean mask, in closed form; see the module."""
    centered = _centered(_difference(net))
    return _factor(net.x.shape[2], k) * float((centered**2).sum(axis=(1, 2)).mean())


def penalty_gradient(net: LinearSupernet, k: int) -> Array:
    """Gradient of the penalty in alpha, (E, O)."""
    centered = _centered(_difference(net))
    outputs = np.einsum("necd,eocd->neoc", net.x, net.weights)
    by_mixture = 2 * _factor(net.x.shape[2], k) * np.einsum("nec,neoc->eo", centered, outputs) / len(net.y)
    p = softmax(net.alpha, axis=-1)
    gradient: Array = p * (by_mixture - (p * by_mixture).sum(axis=1, keepdims=True))
    return gradient


def expected_squares(
    x: Array, y: Array, k: int, bypass: Array | None = None, *, masks_vary: bool = True
) -> tuple[Array, Array]:
    """A and t with which the expected loss is |A z - t|^2, for features (N, E, C, D) and targets (N,).

    z holds the mixture sum_o p_eo w_eoc (E C D) and, unless `bypass` (E, C, D) is fixed, the weights of the bypass
    (E C D).  The first N rows are the loss at the mean mask, the other N E C the penalty, if masks vary.
    """
    n, e, c, d = x.shape
    flat = x.reshape(n, -1) / math.sqrt(n)
    mixture, other = flat / k, (1 - 1 / k) * flat
    targets = y / math.sqrt(n)
    factor = _factor(c, k)
    if masks_vary and factor:
        centered = np.zeros((n, e, c, e, c, d))
        for edge in range(e):
            centered[:, edge, :, edge] = (np.eye(c) - 1 / c)[:, :, None] * x[:, edge, None]
        rows = math.sqrt(factor / n) * centered.reshape(n * e * c, -1)
        mixture, other = np.vstack([mixture, rows]), np.vstack([other, -rows])
        targets = np.concatenate([targets, np.zeros(len(rows))])
    if bypass is not None:
        return mixture, targets - other @ bypass.ravel()
    return np.hstack([mixture, other]), targets


def with_solved_bypass(net: LinearSupernet, k: int) -> LinearSupernet:
    """The super-network whose bypass weights minimize the expected loss: least squares, of least norm if not unique."""
    mixture = np.einsum("eo,eocd->ecd", softmax(net.alpha, axis=-1), net.weights).ravel()
    a, t = expected_squares(net.x, net.y, k)
    own, other = np.hsplit(a, 2)
    return dataclasses.replace(net, bypass=_least_squares(other, t - own @ mixture).reshape(net.bypass.shape))


def solved_loss(net: LinearSupernet, k: int, *, side_operation: bool) -> tuple[float, float]:
    """Loss at the mean mask and penalty at the weights that minimize their sum: w and, with a side operation, b."""
    a, t = expected_squares(net.x, net.y, k, None if side_operation else net.bypass)
    squares = (a @ _least_squares(a, t) - t) ** 2
    return float(squares[: len(net.y)].sum()), float(squares[len(net.y) :].sum())


def draw_masks(generator: np.random.Generator, shape: tuple[int, int, int], k: int) -> Array:
    """Random masks of a shape (M, E, C), C / k channels of each edge drawn uniformly without replacement."""
    mask = np.zeros(shape)
    mask[..., : _sampled(shape[2], k)] = 1
    return generator.permuted(mask, axis=2)


def sample_loss(net: LinearSupernet, k: int, draws: int, generator: np.random.Generator) -> tuple[float, float]:
    """Mean loss over random masks, and its standard error.

    The part of a loss that is linear in the mask is a control variate: its mean is known, as that of a mask is 1 / k.
    """
    _, e, c, _ = net.x.shape
    slope = _slope(net, k)
    values = []
    for start in range(0, draws, CHUNK):
        masks = draw_masks(generator, (min(CHUNK, draws - start), e, c), k)
        values.append(losses(net, masks) - (masks - 1 / k).reshape(len(masks), -1) @ slope)
    found = np.concatenate(values)
    return float(found.mean()), float(found.std(ddof=1)) / math.sqrt(draws)


def expected_loss(net: LinearSupernet, k: int, draws: int, generator: np.random.Generator) -> ExpectedLoss:
    """The expected loss at one sampling rate, in closed form and over `draws` sampled masks."""
    sampled, error = sample_loss(net, k, draws, generator)
    return ExpectedLoss(
        k=k,
        mean_mask_loss=mean_mask_loss(net, k),
        penalty=penalty(net, k),
        alpha_gradient_norm=float(np.linalg.norm(penalty_gradient(net, k))),
        sampled=sampled,
        standard_error=error,
    )


def example(generator: np.random.Generator) -> LinearSupernet:
    """A random super-network without a side operation: 256 examples, 2 edges, 4 operations, 16 channels of 3 features.

    The targets are linear in the features, plus noise; the bypass is the mean of the features of a channel.
    """
    n, e, o, c, d = 256, 2, 4, 16, 3
    x = generator.normal(size=(n, e, c, d))
    y = np.einsum("necd,ecd->n", x, generator.normal(size=(e, c, d)) / d)
    return LinearSupernet(
        x=x,
        y=y + 0.5 * generator.normal(size=n),
        alpha=generator.normal(size=(e, o)),
        weights=generator.normal(size=(e, o, c, d)) / d,
        bypass=np.full((e, c, d), 1 / d),
    )


def _difference(net: LinearSupernet) -> Array:
    """Mixture minus bypass on every channel, (N, E, C)."""
    mixture = np.einsum("eo,eocd->ecd", softmax(net.alpha, axis=-1), net.weights)
    difference: Array = np.einsum("necd,ecd->nec", net.x, mixture - net.bypass)
    return difference


def _slope(net: LinearSupernet, k: int) -> Array:
    """Gradient of the loss in the mask at the mean mask, (E * C,)."""
    difference = _difference(net)
    residuals = net.y - np.einsum("necd,ecd->n", net.x, net.bypass) - difference.sum(axis=(1, 2)) / k
    slope: Array = -2 * np.einsum("n,nec->ec", residuals, difference).ravel() / len(net.y)
    return slope


def _least_squares(a: Array, t: Array) -> Array:
    """The z of least norm that minimizes |a z - t|^2, by the normal equations, as a has many rows."""
    return np.asarray(np.linalg.lstsq(a.T @ a, a.T @ t, rcond=1e-10)[0], dtype=float)


def _centered(difference: Array) -> Array:
    centered: Array = difference - difference.mean(axis=2, keepdims=True)
    return centered


def _factor(channels: int, k: int) -> float:
    """(K - 1) / K^2 * C / (C - 1); 0 for K = 1, where a single channel is allowed."""
    _sampled(channels, k)
    return 0.0 if k == 1 else (k - 1) / k**2 * channels / (channels - 1)


def _sampled(channels: int, k: int) -> int:
    if k < 1 or channels % k:
        raise ValueError(f"k is {k}, but must divide the channels ({channels})")
    return channels // k
