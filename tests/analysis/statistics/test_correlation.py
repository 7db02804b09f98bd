"""Tests of analysis.statistics.correlation."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.correlation import alpha_rank_correlation, mean_spearman, spearman


def test_alpha_rank_correlation_is_kendalls_tau():
    alphas = np.random.default_rng(0).normal(size=(3, 4, 8)).round(1)  # rounded: some are tied
    expected = np.mean(
        [stats.kendalltau(alphas[a, e], alphas[b, e]).statistic for a, b in ((0, 1), (0, 2), (1, 2)) for e in range(4)]
    )
    assert alpha_rank_correlation(alphas) == pytest.approx(expected)


def test_alpha_rank_correlation_of_order_alone():
    order = np.arange(8.0)
    assert alpha_rank_correlation(np.stack([[order], [np.exp(order)]])) == 1
    assert alpha_rank_correlation(np.stack([[order], [-order]])) == -1


def test_alphas_without_order_are_left_out():
    order, missing = np.arange(8.0), np.full(8, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert alpha_rank_correlation(np.stack([[order, order], [order, np.zeros(8)], [missing, -order]])) == 0
        assert math.isnan(alpha_rank_correlation(np.zeros((3, 14, 8))))
        assert math.isnan(alpha_rank_correlation(np.zeros((1, 14, 8)))) and math.isnan(
            alpha_rank_correlation(np.zeros((0, 14, 8)))
        )
    with pytest.raises(ValueError, match="shape"):
        alpha_rank_correlation(np.zeros((14, 8)))


def test_the_interval_of_a_rank_correlation_is_that_of_bonett_and_wright():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    others = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0, 7.0]
    found = spearman(values, others)
    assert found.value == pytest.approx(1 - 6 * 6 / (7 * 48))
    half = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 4)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - half))
    assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + half))


def test_a_perfect_order_has_an_interval_below_it():
    values = [float(n) for n in range(8)]
    found, reverse = spearman(values, values), spearman(values, values[::-1])
    assert found.value == found.high == 1 and 0.5 < found.low < 1
    assert (reverse.value, reverse.low, reverse.high) == (-1, -1, -found.low)


def test_fewer_than_six_pairs_have_no_correlation():
    assert math.isnan(spearman([1.0] * 5, [1.0] * 5).value)
    assert math.isnan(spearman([1.0, 2, 3, 4, 5, None], [1.0, 2, 3, 4, 5, 6]).value)
    assert math.isnan(spearman([1.0] * 6, [1.0, 2, 3, 4, 5, 6]).value)
    with pytest.raises(ValueError, match="got 1 first and 2 second values"):
        spearman([1.0], [1.0, 2.0])


def test_a_mean_within_groups_ignores_what_differs_between_them():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    mixed = [2.0, 1.0, 4.0, 3.0, 6.0, 5.0, 7.0]
    shifted = [value + 100 for value in mixed]
    one, two = mean_spearman([(values, mixed)]), mean_spearman([(values, mixed), (values, shifted)])
    assert two.value == pytest.approx(one.value) and two.high - two.low < one.high - one.low
    assert mean_spearman([(values, mixed), ([1.0], [2.0])]) == one
    assert math.isnan(mean_spearman([]).value)
