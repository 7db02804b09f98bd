"""Tests of analysis.statistics.bootstrap."""

import math
import warnings

import numpy as np
import pytest

from analysis.statistics.bootstrap import finite, mean_interval


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


def test_many_values_give_the_interval_that_resampling_would(monkeypatch):
    values = np.sort(np.random.default_rng(0).gamma(4, 1, 600))
    low, high, method = mean_interval(values, np.random.default_rng(0))
    assert method == "Student's t (n > 500)"
    monkeypatch.setattr("analysis.statistics.bootstrap.MANY", 1000)
    resampled = mean_interval(values, np.random.default_rng(0))
    assert "BCa" in resampled[2]
    assert [low, high] == pytest.approx(resampled[:2], abs=0.05 * (high - low))
