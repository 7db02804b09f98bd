"""The gradient in alpha of solved weights: closed form, implicit differentiation, finite differences."""

import dataclasses

import numpy as np
import pytest

from analysis.theory.bilevel import BilevelProblem, hypergradient, implicit_gradients, validation_loss

READS = np.array([[0, 0], [1, 0], [1, 1]])
"""Like none, a skip connection and a convolution."""


def tiny(seed=0, **values):
    """7 training and 6 validation examples, 2 edges, 3 operations, 4 channels with 2 features."""
    rng = np.random.default_rng(seed)
    data = dict(
        train_x=rng.normal(size=(7, 2, 4, 2)),
        train_y=rng.normal(size=7),
        valid_x=rng.normal(size=(6, 2, 4, 2)),
        valid_y=rng.normal(size=6),
        alpha=rng.normal(size=(2, 3)),
        bypass=rng.normal(size=(2, 4, 2)),
    )
    return BilevelProblem(**{**data, "reads": READS, "k": 2, "masks_vary": True, **values})


CASES = [
    {"k": k, "masks_vary": masks_vary, **({"bypass": None} if side_operation else {})}
    for k in (1, 2, 4)
    for masks_vary in (True, False)
    for side_operation in (True, False)
]


@pytest.mark.parametrize("values", CASES, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_closed_form_and_implicit_differentiation_agree(values, seed):
    problem = tiny(seed, **values)
    _, implicit = implicit_gradients(problem)
    assert hypergradient(problem) == pytest.approx(implicit, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("values", CASES, ids=str)
def test_they_equal_finite_differences_of_the_solved_problem(values):
    problem, step = tiny(**values), 1e-5
    gradient = hypergradient(problem)
    for place in np.ndindex(problem.alpha.shape):
        shift = np.zeros_like(problem.alpha)
        shift[place] = step
        high, low = (
            validation_loss(dataclasses.replace(problem, alpha=problem.alpha + sign * shift)) for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((high - low) / (2 * step), abs=1e-7)
    assert gradient.sum(axis=1) == pytest.approx(np.zeros(2), abs=1e-12)  # a softmax ignores a common shift


def test_the_penalty_changes_the_gradient_of_partial_channels_and_nothing_at_full_sampling():
    with_penalty, without = (hypergradient(tiny(masks_vary=masks_vary)) for masks_vary in (True, False))
    assert np.linalg.norm(with_penalty - without) > 0.1 * np.linalg.norm(without)
    full = [hypergradient(tiny(k=1, masks_vary=masks_vary)) for masks_vary in (True, False)]
    assert np.array_equal(*full)


def test_the_first_order_gradient_lacks_what_the_weights_do():
    first_order, whole = implicit_gradients(tiny())
    assert np.linalg.norm(whole - first_order) > 0.1 * np.linalg.norm(whole)


def test_alpha_has_no_effect_where_the_weights_cost_nothing():
    """More examples than weights, and hardly any decay: every alpha allows the same mixtures."""
    rng = np.random.default_rng(0)
    many = dict(train_x=rng.normal(size=(64, 2, 4, 2)), train_y=rng.normal(size=64))
    norms = [np.linalg.norm(hypergradient(tiny(**many, decay=decay))) for decay in (1e-2, 1e-4, 1e-6)]
    assert norms[1] / norms[0] == pytest.approx(1e-2, rel=0.2) and norms[2] / norms[1] == pytest.approx(1e-2, rel=0.01)


def test_what_cannot_be_solved_is_named():
    with pytest.raises(ValueError, match="every feature must be read by an operation"):
        tiny(reads=np.array([[0, 0], [1, 0], [1, 0]]))
    with pytest.raises(ValueError, match="decay is 0, but must be above 0"):
        tiny(decay=0)
    with pytest.raises(ValueError, match=r"k is 3, but must divide the channels \(4\)"):
        hypergradient(tiny(k=3))
