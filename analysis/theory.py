"""Partial channel connection as a regularizer: closed form for a linear super-network, checked by sampling.

Model: one node sums E edges, which start at different nodes.  Edge e carries C channels with D features each, x_ec.
Operation o and the read-out after the node act on channel c as w_eoc . x_ec, the bypass as b_ec . x_ec.  With the
mixture weights p_e = softmax(alpha_e) and masks m_ec of 0 and 1,

    y_hat(m) = sum_ec [ m_ec sum_o p_eo w_eoc . x_ec + (1 - m_ec) b_ec . x_ec ],    loss = mean of (y - y_hat)^2.

Without a side operation b_ec is the same fixed read-out for all channels; a parameterized side operation makes it a
weight that is trained.

Assumptions: operations, side operation and read-out are linear and act on each channel separately; each edge draws
C / K of its C channels uniformly without replacement, independently of the other edges and of the data.

Result: with d_ec = (sum_o p_eo w_eoc - b_ec) . x_ec, the difference between mixture and bypass on channel c, and its
mean over the channels d_e,

    E_m[loss] = loss at m = 1 / K  +  (K - 1) / K^2 * C / (C - 1) * mean over the data of sum_ec (d_ec - d_e)^2.

It follows from E[(y - y_hat)^2] = (y - E y_hat)^2 + Var(y_hat), Var(m_ec) = (1 / K)(1 - 1 / K) and, for two channels of
an edge, Cov = -Var / (C - 1).  The penalty is quadratic in the mixture-weighted weights sum_o p_eo w_eoc, so it
regularizes the weights and, through softmax(alpha), the architecture parameters.  K = 1 has none.
"""

import dataclasses
import math
from collections.abc import Sequence
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


def example(generator: np.random.Generator, side_operation: bool) -> LinearSupernet:
    """A random super-network: 64 examples, 2 edges, 4 operations, 16 channels with 3 features.

    Without a side operation the bypass is the mean of the features of a channel, the same for all channels.
    """
    n, e, o, c, d = 64, 2, 4, 16, 3
    weights, own = generator.normal(size=(e, o, c, d)) / d, generator.normal(size=(e, c, d)) / d
    return LinearSupernet(
        x=generator.normal(size=(n, e, c, d)),
        y=generator.normal(size=n),
        alpha=generator.normal(size=(e, o)),
        weights=weights,
        bypass=own if side_operation else np.full((e, c, d), 1 / d),
    )


def report(seed: int = 0, draws: int = 1 << 18, rates: Sequence[int] = (1, 2, 4, 8, 16)) -> str:
    """What `pcdarts theory` prints: the formula, and for both bypasses a table over K, in Markdown."""
    generator = np.random.default_rng(seed)
    lines = [
        "# Partial channel connection as a regularizer: a linear super-network with squared loss",
        "",
        "E_m[loss] = loss at the mean mask 1/K + (K-1)/K^2 * C/(C-1) * mean over the data of sum_ec (d_ec - d_e)^2",
        "d_ec = (sum_o softmax(alpha)_eo w_eoc - b_ec) . x_ec: mixture minus bypass on channel c; d_e: its mean",
        f"64 examples, 2 edges, 4 operations, 16 channels; {draws} random masks for each K; seed {seed}",
    ]
    for side_operation in (False, True):
        net = example(np.random.default_rng(seed), side_operation)
        title = "parameterized side operation, b is trained" if side_operation else "no side operation, b is fixed"
        lines += ["", f"## Bypass: {title}", "", _HEADER, "|---:" * 8 + "|"]
        lines += [_row(expected_loss(net, k, draws, generator)) for k in rates]
        tied = dataclasses.replace(net, bypass=np.einsum("eo,eocd->ecd", softmax(net.alpha, axis=-1), net.weights))
    flat = {scale: penalty(dataclasses.replace(net, alpha=scale * net.alpha), 4) for scale in (0.0, 1.0, 4.0)}
    lines += [
        "",
        f"Side operation equal to the mixture: penalty {penalty(tied, 4):.6f} at K = 4.",
        "Alpha multiplied by "
        + ", ".join(f"{scale:g}: penalty {value:.6f}" for scale, value in flat.items())
        + " at K = 4, with the side operation: flat mixtures are penalized least here.",
    ]
    return "\n".join(lines) + "\n"


_HEADER = (
    "| K | loss at mean mask | penalty | exact sum | Monte Carlo | its standard error | relative difference "
    "| norm of d penalty / d alpha |"
)


def _row(loss: ExpectedLoss) -> str:
    values = (loss.mean_mask_loss, loss.penalty, loss.closed_form, loss.sampled, loss.standard_error)
    cells = [f"{loss.k}", *(f"{value:.6f}" for value in values)]
    return "| " + " | ".join([*cells, f"{loss.relative_difference:+.1e}", f"{loss.alpha_gradient_norm:.6f}"]) + " |"


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
