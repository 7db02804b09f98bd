"""The bilevel problem of a search in the linear super-network: how alpha changes the validation loss of solved weights.

Model: that of `analysis.theory.penalty`, where operation o reads only some features of a channel: r_od is 1 or 0, and
the mixture is u_ecd = sum_o p_eo r_od w_eocd with p_e = softmax(alpha_e).  The weights theta, which are w and, with a
side operation, b, solve the training problem, and alpha is judged on validation data:

    theta*(alpha) = argmin E_m[training loss] + decay |theta|^2,      F(alpha) = E_m[validation loss] at theta*(alpha).

Both expected losses are |A z - t|^2 in z = (u, b); the rows of A that hold the penalty are absent if masks do not vary.
A mixture u needs a decay of |u_ecd|^2 / s_ed at least, with s_ed = sum_o p_eo^2 r_od, for the weights
w_eocd = p_eo r_od u_ecd / s_ed.  So alpha acts through s alone:

    z* = H^-1 A^T t,   H = A^T A + decay diag(1 / s, 1),
    dF/ds_ed = decay / s_ed^2 sum_c (H^-1 dF/dz)_ecd u*_ecd,   ds_ed/dalpha_ej = 2 p_ej (p_ej r_jd - s_ed).

`hypergradient` computes that.  `implicit_gradients` differentiates implicitly, in theta and without these steps:

    dF/dalpha = partial F / partial alpha - (d2 L / d alpha d theta) (d2 L / d theta2)^-1 partial F / partial theta,

where L is the training objective.  The first term alone is the gradient of first-order DARTS.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from scipy.special import softmax

from analysis.theory.penalty import Array, expected_squares


@dataclass(frozen=True, kw_only=True)
class BilevelProblem:
    """Data and settings: N training and V validation examples, E edges, O operations, C channels, D features."""

    train_x: Array
    """Training features, (N, E, C, D)."""
    train_y: Array
    """Training targets, (N,)."""
    valid_x: Array
    """Validation features, (V, E, C, D)."""
    valid_y: Array
    """Validation targets, (V,)."""
    reads: Array
    """r: 1 where an operation reads a feature, else 0, (O, D); every feature is read by at least one operation."""
    alpha: Array
    """Architecture parameters before the softmax, (E, O)."""
    bypass: Array | None
    """Fixed weights of the bypass, (E, C, D); None: a side operation, whose weights are trained."""
    k: int
    """Partial channel connection: C / k channels are sampled."""
    masks_vary: bool
    """Whether channels are drawn at random in training and validation; else every mask has its mean, 1 / k."""
    decay: float = 0.1
    """Factor of the squared weights in the training objective, above 0."""

    def __post_init__(self) -> None:
        if not self.reads.any(axis=0).all():
            raise ValueError(f"reads is {self.reads.tolist()}, but every feature must be read by an operation")
        if self.decay <= 0:
            raise ValueError(f"decay is {self.decay}, but must be above 0, or the weights are not unique")


def validation_loss(problem: BilevelProblem) -> float:
    """F(alpha): the expected validation loss of the weights that solve the training problem."""
    z, _ = _solve(problem)
    a, t = _squares(problem, "valid")
    return float(((a @ z - t) ** 2).sum())


def hypergradient(problem: BilevelProblem) -> Array:
    """dF/dalpha, (E, O), in closed form: through the decay that a mixture needs."""
    z, curvature = _solve(problem)
    a, t = _squares(problem, "valid")
    adjoint = np.linalg.solve(curvature, 2 * a.T @ (a @ z - t))
    p, share = softmax(problem.alpha, axis=-1), _share(problem)
    by_mixture = _mixture(problem, adjoint * z).sum(axis=1)
    by_share = problem.decay / share**2 * by_mixture
    chain = 2 * p[:, :, None] * (p[:, :, None] * problem.reads - share[:, None])
    gradient: Array = np.einsum("ejd,ed->ej", chain, by_share)
    return gradient


def implicit_gradients(problem: BilevelProblem) -> tuple[Array, Array]:
    """The gradient of first-order DARTS at the solved weights, and dF/dalpha by implicit differentiation; (E, O)."""
    e, c, d = problem.train_x.shape[1:]
    p = softmax(problem.alpha, axis=-1)
    mixing = np.einsum("eo,od,ef,cg,dh->ecdfogh", p, problem.reads, np.eye(e), np.eye(c), np.eye(d))
    mixing = mixing.reshape(e * c * d, -1)
    z_of = mixing if problem.bypass is not None else block_diag(mixing, np.eye(e * c * d))
    (a, t), (valid_a, valid_t) = _squares(problem, "train"), _squares(problem, "valid")
    gram, moment = a.T @ a, a.T @ t
    hessian = 2 * (z_of.T @ gram @ z_of + problem.decay * np.eye(z_of.shape[1]))
    theta = np.linalg.solve(hessian, 2 * z_of.T @ moment)
    outer = 2 * valid_a.T @ (valid_a @ (z_of @ theta) - valid_t)
    direction = np.linalg.solve(hessian, z_of.T @ outer)

    def along(weights: Array, slope: Array) -> Array:
        """Derivative of slope . z in alpha, where z is the mixture of these weights."""
        own = weights[: mixing.shape[1]].reshape(e, -1, c, d) * problem.reads[:, None]
        change = own - _mixture(problem, z_of @ weights)[:, None]
        derivative: Array = p * np.einsum("ecd,eocd->eo", _mixture(problem, slope), change)
        return derivative

    first_order = along(theta, outer)
    mixed = along(direction, 2 * (gram @ z_of @ theta - moment)) + along(theta, 2 * gram @ z_of @ direction)
    return first_order, first_order - mixed


def example(generator: np.random.Generator, *, k: int, side_operation: bool, masks_vary: bool) -> BilevelProblem:
    """Random data like that of `analysis.theory.penalty.example`, half of it for validation.

    The operations read no, one, two and all features, as `none`, `skip_connect` and small and large convolutions would.
    Equal generators give equal data, whatever the other arguments.
    """
    n, e, c, d = 256, 2, 16, 3
    x = generator.normal(size=(2, n, e, c, d))
    y = np.einsum("snecd,ecd->sn", x, generator.normal(size=(e, c, d)) / d)
    y += 0.5 * generator.normal(size=y.shape)
    return BilevelProblem(
        train_x=x[0],
        train_y=y[0],
        valid_x=x[1],
        valid_y=y[1],
        reads=np.tril(np.ones((4, d)), -1),
        alpha=generator.normal(size=(e, 4)),
        bypass=None if side_operation else np.full((e, c, d), 1 / d),
        k=k,
        masks_vary=masks_vary,
    )


def _squares(problem: BilevelProblem, part: str) -> tuple[Array, Array]:
    x, y = getattr(problem, f"{part}_x"), getattr(problem, f"{part}_y")
    return expected_squares(x, y, problem.k, problem.bypass, masks_vary=problem.masks_vary)


def _share(problem: BilevelProblem) -> Array:
    """The s of the module's docstring, (E, D)."""
    share: Array = softmax(problem.alpha, axis=-1) ** 2 @ problem.reads
    return share


def _mixture(problem: BilevelProblem, z: Array) -> Array:
    """The part of z that belongs to the mixture, (E, C, D)."""
    shape = problem.train_x.shape[1:]
    return z[: math.prod(shape)].reshape(shape)


def _solve(problem: BilevelProblem) -> tuple[Array, Array]:
    """z* and H of the module's docstring."""
    a, t = _squares(problem, "train")
    costs = np.ones(a.shape[1])
    _mixture(problem, costs)[:] = 1 / _share(problem)[:, None]
    curvature = a.T @ a + problem.decay * np.diag(costs)
    return np.asarray(np.linalg.solve(curvature, a.T @ t), dtype=float), curvature
