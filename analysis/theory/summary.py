"""What `pcdarts theory` prints: the formulas, and tables over K, in Markdown."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from analysis.theory import bilevel
from analysis.theory.penalty import (
    Array,
    ExpectedLoss,
    LinearSupernet,
    example,
    expected_loss,
    mean_mask_loss,
    penalty,
    solved_loss,
    with_solved_bypass,
)


def summary(seed: int = 0, draws: int = 1 << 18, rates: Sequence[int] = (1, 2, 4, 8, 16)) -> str:
    """The text of `pcdarts theory`: penalties of given and of solved weights, and gradients in alpha."""
    generator = np.random.default_rng(seed)
    net = example(np.random.default_rng(seed))
    lines = [
        "# Partial channel connection as a regularizer: a linear super-network with squared loss",
        "",
        "E_m[loss] = loss at the mean mask 1/K + (K-1)/K^2 * C/(C-1) * mean over the data of sum_ec (d_ec - d_e)^2",
        "d_ec = (sum_o softmax(alpha)_eo w_eoc - b_ec) . x_ec: mixture minus bypass on channel c; d_e: its mean",
        "The second term, the penalty, comes from the variance of the masks. With channel_sampling = shuffle, the",
        "default, and fixed they do not vary, so there is no penalty; with random there is.",
        f"256 examples, 2 edges, 4 operations, 16 channels; {draws} random masks for each K; seed {seed}",
        "",
        "## The closed form, with random w and a fixed bypass b",
        "",
        *_table(_HEADER, [_row(expected_loss(net, k, draws, generator)) for k in rates]),
        "",
    ]
    flat = [(scale, penalty(dataclasses.replace(net, alpha=scale * net.alpha), 4)) for scale in (0.0, 1.0, 4.0)]
    lines += [
        "Alpha multiplied by "
        + ", ".join(f"{scale:g}: penalty {value:.3f}" for scale, value in flat)
        + " (K = 4, fixed b): flat mixtures are penalized least here.",
        "",
        "## Loss at the mean mask + penalty, by the weights that minimize the sum",
        "",
        "w: weights of the operations; b: weights of the bypass, which a parameterized side operation trains.",
        "",
        *_table(_SOLVED_HEADER, [_solved_row(net, k) for k in rates]),
        "",
        "## The bilevel problem: gradient in alpha of the validation loss at weights that solve the training problem",
        "",
        "Masks that vary: the expected losses of training and validation include the penalty. Fixed: neither does.",
        "first-order: the part of it at fixed weights, as in first-order DARTS; cosines: with the hypergradient",
        "error: largest difference between the closed form and implicit differentiation",
        "",
    ]
    rows = [_bilevel_row(seed, k, side_operation) for side_operation in (False, True) for k in rates]
    return "\n".join([*lines, *_table(_BILEVEL_HEADER, rows)]) + "\n"


_HEADER = (
    "K",
    "loss at mean mask",
    "penalty",
    "exact sum",
    "Monte Carlo",
    "its standard error",
    "relative difference",
    "norm of d penalty / d alpha",
)
_SOLVED_HEADER = ("K", "none", "b", "w", "w and b")
_BILEVEL_HEADER = (
    "side operation",
    "K",
    "norm, masks fixed",
    "norm, masks vary",
    "cosine of the two",
    "first-order norm, masks vary",
    "its cosine",
    "error",
)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---:"] * len(header), *rows)]


def _row(loss: ExpectedLoss) -> list[str]:
    values = (loss.mean_mask_loss, loss.penalty, loss.closed_form, loss.sampled, loss.standard_error)
    cells = [f"{loss.k}", *(f"{value:.4f}" for value in values)]
    return [*cells, f"{loss.relative_difference:+.1e}", f"{loss.alpha_gradient_norm:.4f}"]


def _solved_row(net: LinearSupernet, k: int) -> list[str]:
    bypass = with_solved_bypass(net, k)
    losses = [(mean_mask_loss(given, k), penalty(given, k)) for given in (net, bypass)]
    losses += [solved_loss(net, k, side_operation=side_operation) for side_operation in (False, True)]
    return [f"{k}", *(f"{at_mean:.2f} + {added:.2f}" for at_mean, added in losses)]


def _bilevel_row(seed: int, k: int, side_operation: bool) -> list[str]:
    fixed, varying = (
        bilevel.example(np.random.default_rng(seed), k=k, side_operation=side_operation, masks_vary=masks_vary)
        for masks_vary in (False, True)
    )
    gradients = [bilevel.hypergradient(problem) for problem in (fixed, varying)]
    first_order, implicit = bilevel.implicit_gradients(varying)
    return [
        "yes" if side_operation else "no",
        f"{k}",
        *(f"{np.linalg.norm(gradient):.4f}" for gradient in gradients),
        f"{_cosine(*gradients):.3f}",
        f"{np.linalg.norm(first_order):.4f}",
        f"{_cosine(first_order, gradients[1]):.3f}",
        f"{np.abs(gradients[1] - implicit).max():.0e}",
    ]


def _cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
