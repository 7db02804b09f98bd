"""The penalty of random masks: the closed form against every mask, sampling and finite differences."""

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import softmax

from analysis.theory.penalty import (
    LinearSupernet,
    draw_masks,
    example,
    expected_loss,
    expected_squares,
    losses,
    mean_mask_loss,
    penalty,
    penalty_gradient,
    solved_loss,
    with_solved_bypass,
)


def tiny(seed=0, edges=2, channels=4, features=2):
    rng = np.random.default_rng(seed)
    return LinearSupernet(
        x=rng.normal(size=(5, edges, channels, features)),
        y=rng.normal(size=5),
        alpha=rng.normal(size=(edges, 3)),
        weights=rng.normal(size=(edges, 3, channels, features)),
        bypass=rng.normal(size=(edges, channels, features)),
    )


def every_mask(edges, channels, k):
    """All masks of shape (E, C) that sample C / k channels of each edge; there are binomial(C, C / k) ** E."""
    subsets = list(itertools.combinations(range(channels), channels // k))
    for chosen in itertools.product(subsets, repeat=edges):
        mask = np.zeros((edges, channels))
        for edge, subset in enumerate(chosen):
            mask[edge, list(subset)] = 1
        yield mask


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_closed_form_equals_the_mean_over_every_mask(k, seed):
    net = tiny(seed)
    exact = losses(net, np.stack(list(every_mask(2, 4, k)))).mean()
    assert mean_mask_loss(net, k) + penalty(net, k) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(("k", "count"), [(1, 1), (2, 6**2), (4, 4**2)])
def test_every_mask_occurs_once(k, count):
    masks = np.stack(list(every_mask(2, 4, k)))
    assert len(np.unique(masks.reshape(count, -1), axis=0)) == len(masks) == count
    assert (masks.sum(axis=2) == 4 / k).all()


def test_drawn_masks_have_the_mean_and_covariance_of_the_formula():
    masks = draw_masks(np.random.default_rng(0), (40_000, 1, 4), 2)[:, 0]
    assert (masks.sum(axis=1) == 2).all()
    assert masks.mean(axis=0) == pytest.approx(np.full(4, 0.5), abs=0.01)
    expected = np.full((4, 4), -1 / 12) + np.eye(4) * (1 / 4 + 1 / 12)
    assert np.cov(masks.T) == pytest.approx(expected, abs=0.01)


def test_the_loss_of_a_mask_is_that_of_the_network():
    net = tiny()
    mask = draw_masks(np.random.default_rng(1), (1, 2, 4), 2)
    p, total = softmax(net.alpha, axis=-1), 0.0
    for n in range(5):
        y = 0.0
        for e in range(2):
            for c in range(4):
                mixture = sum(p[e, o] * net.weights[e, o, c] @ net.x[n, e, c] for o in range(3))
                y += mixture if mask[0, e, c] else net.bypass[e, c] @ net.x[n, e, c]
        total += (net.y[n] - y) ** 2 / 5
    assert losses(net, mask)[0] == pytest.approx(total, rel=1e-12)


def test_full_sampling_has_no_penalty():
    assert penalty(tiny(), 1) == 0
    assert not penalty_gradient(tiny(), 1).any()


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_the_penalty_depends_on_k_as_the_variance_of_a_mask(k):
    net = example(np.random.default_rng(0))
    assert penalty(net, k) / penalty(net, 2) == pytest.approx(float(Fraction(k - 1, k**2) / Fraction(1, 4)), rel=1e-12)


def test_the_penalty_is_quadratic_in_the_weights():
    net = dataclasses.replace(tiny(), bypass=np.zeros((2, 4, 2)))
    assert penalty(dataclasses.replace(net, weights=3 * net.weights), 4) == pytest.approx(9 * penalty(net, 4))


def test_a_side_operation_equal_to_the_mixture_has_no_penalty():
    net = tiny()
    mixture = np.einsum("eo,eocd->ecd", softmax(net.alpha, axis=-1), net.weights)
    assert penalty(dataclasses.replace(net, bypass=mixture), 4) == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("k", [2, 4])
def test_gradient_in_alpha_equals_finite_differences(k):
    net, step = tiny(), 1e-6
    gradient = penalty_gradient(net, k)
    for place in np.ndindex(net.alpha.shape):
        shift = np.zeros_like(net.alpha)
        shift[place] = step
        high, low = (penalty(dataclasses.replace(net, alpha=net.alpha + s), k) for s in (shift, -shift))
        assert gradient[place] == pytest.approx((high - low) / (2 * step), abs=1e-7)
    assert gradient.sum(axis=1) == pytest.approx(np.zeros(2), abs=1e-12)  # a softmax ignores a common shift


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sampling_agrees(k):
    found = expected_loss(example(np.random.default_rng(3)), k, draws=20_000, generator=np.random.default_rng(4))
    assert found.closed_form == found.mean_mask_loss + found.penalty
    assert abs(found.sampled - found.closed_form) <= 4 * found.standard_error + 1e-12
    assert found.standard_error < 5e-3 * found.closed_form
    assert found.relative_difference == pytest.approx(0, abs=1e-2)


def mixture(net):
    return np.einsum("eo,eocd->ecd", softmax(net.alpha, axis=-1), net.weights)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_expected_loss_is_a_sum_of_squares(k):
    net = tiny()
    a, t = expected_squares(net.x, net.y, k)
    squares = (a @ np.concatenate([mixture(net).ravel(), net.bypass.ravel()]) - t) ** 2
    assert squares[:5].sum() == pytest.approx(mean_mask_loss(net, k), rel=1e-12)
    assert squares[5:].sum() == pytest.approx(penalty(net, k), rel=1e-12, abs=1e-15)
    fixed, target = expected_squares(net.x, net.y, k, net.bypass)
    assert (fixed @ mixture(net).ravel() - target) ** 2 == pytest.approx(squares, rel=1e-9, abs=1e-15)


def test_masks_that_do_not_vary_have_no_penalty():
    net = tiny()
    a, t = expected_squares(net.x, net.y, 2, masks_vary=False)
    assert a.shape == (5, 2 * 2 * 4 * 2)
    assert ((a @ np.concatenate([mixture(net).ravel(), net.bypass.ravel()]) - t) ** 2).sum() == pytest.approx(
        mean_mask_loss(net, 2)
    )


@pytest.mark.parametrize("k", [2, 4])
def test_no_other_bypass_has_a_smaller_expected_loss_than_the_solved_one(k):
    net, rng = with_solved_bypass(example(np.random.default_rng(0)), k), np.random.default_rng(1)

    def loss(step):
        moved = dataclasses.replace(net, bypass=net.bypass + step)
        return mean_mask_loss(moved, k) + penalty(moved, k)

    for _ in range(5):
        step = 1e-3 * rng.normal(size=net.bypass.shape)
        change = (loss(step) - loss(-step)) / loss(0 * step)
        assert change == pytest.approx(0, abs=1e-10)  # a minimum is flat
        assert loss(step) > loss(0 * step)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_with_a_side_operation_the_solved_weights_are_those_of_full_sampling_and_have_no_penalty(k):
    """Mixture and bypass can both be the least-squares fit, which no mask changes."""
    net = example(np.random.default_rng(0))
    full = solved_loss(net, 1, side_operation=False)
    assert solved_loss(net, k, side_operation=True) == pytest.approx(full, abs=1e-12) and full[1] == 0
    fixed = solved_loss(net, k, side_operation=False)
    assert fixed[0] > full[0] and fixed[1] > 1


def test_what_cannot_be_computed_is_named():
    with pytest.raises(ValueError, match="k is 3, but must divide the channels"):
        penalty(tiny(), 3)
    with pytest.raises(ValueError, match="k is 0"):
        mean_mask_loss(tiny(), 0)
    with pytest.raises(ValueError, match="bypass has shape"):
        dataclasses.replace(tiny(), bypass=np.zeros((2, 4, 3)))
