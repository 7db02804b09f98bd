"""Tests of analysis.statistics.bootstrap."""

import math
import warnings

import numpy as np
import pytest

from analysis.statistics.bootstrap import finite, mean_interval, stratified_bootstrap


def rng():
    return np.random.default_rng(0)


def test_finite_values_are_sorted_and_missing_ones_left_out():
    assert finite([3, None, math.nan, math.inf, 1.0]).tolist() == [1.0, 3.0]
    assert finite([]).shape == (0,)


def test_interval_of_many_normal_values_is_that_of_the_mean():
    values = np.sort(np.random.default_rng(2).normal(size=400))
    low, high, method = mean_interval(values, rng())
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert method.startswith("BCa")


def test_interval_of_skewed_values_leans_to_the_long_tail():
    values = np.array([0.0, 0.1, 0.2, 0.3, 0.4] * 4 + [5.0])
    values.sort()
    low, high, _ = mean_interval(values, rng())
    assert high - values.mean() > values.mean() - low > 0


def test_an_interval_that_bca_cannot_give_is_the_percentile_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high, _ = mean_interval(np.array([0.0] * 30 + [1e-320]), rng())
    assert 0 <= low <= high <= 1e-320


def test_strata_keep_their_sizes():
    # between the settings lies 100, within them nothing: resamples of either mix would vary, strata do not
    estimate = stratified_bootstrap([[0.0] * 20, [100.0] * 20], rng())
    assert (estimate.value, estimate.low, estimate.high) == (50.0, 50.0, 50.0)


def test_one_stratum_is_the_plain_percentile_bootstrap():
    values = np.arange(40.0)
    estimate = stratified_bootstrap([values], rng())
    half = 1.96 * values.std() / math.sqrt(40)
    assert (estimate.low, estimate.high) == pytest.approx((19.5 - half, 19.5 + half), abs=0.1 * half)


def test_missing_values_and_empty_settings_are_left_out():
    groups = [[1.0, 2.0, None], [3.0, math.nan, 100.0], [], [4.0]]
    assert stratified_bootstrap(groups, rng()).value == 22.0


def test_too_few_values():
    empty, few = stratified_bootstrap([[None], []], rng()), stratified_bootstrap([[1.0], [2.0, 3.0]], rng())
    assert math.isnan(empty.value) and few.value == 2.0 and math.isnan(few.low)
    alone = stratified_bootstrap([np.arange(40.0), [20.0]], rng())  # a single value shows no spread of its own
    assert math.isnan(alone.low) and math.isnan(alone.high)


def test_many_values_give_the_interval_that_resampling_would(monkeypatch):
    values = np.sort(np.random.default_rng(0).gamma(4, 1, 600))
    low, high, method = mean_interval(values, np.random.default_rng(0))
    assert method == "Student's t (n > 500)"
    monkeypatch.setattr("analysis.statistics.bootstrap.MANY", 1000)
    resampled = mean_interval(values, np.random.default_rng(0))
    assert "BCa" in resampled[2]
    assert [low, high] == pytest.approx(resampled[:2], abs=0.05 * (high - low))
