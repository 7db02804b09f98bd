"""Tests of analysis.statistics.comparison."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.comparison import (
    compare_settings,
    critical_difference,
    holm,
    probability_of_improvement,
    seed_table,
    signed_rank,
)
from analysis.tables import SEARCHES
from tests.analysis.synthetic import search_row


def rng():
    return np.random.default_rng(0)


def frame(accuracies):
    """Searches with the accuracies {k: by seed}; None failed."""
    rows = [search_row(k, seed, value) for k, values in accuracies.items() for seed, value in enumerate(values)]
    return SEARCHES.to_arrow(rows).to_pandas()


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1], 0.5), ([1, 3], [2, 3], 1.5 / 4)],
)
def test_probability_of_improvement_counts_pairs(first, second, value):
    estimate = probability_of_improvement(first, second, rng())
    assert estimate.value == value and math.isnan(estimate.low) and math.isnan(estimate.high)


def test_a_probability_of_improvement_has_an_interval_from_5_values_on_unless_all_pairs_end_alike():
    values = [0.0, 1.0, 2.0, 3.0, 4.0]
    estimate = probability_of_improvement(values, values, rng())
    assert estimate.value == 0.5 and 0 < estimate.low < 0.5 < estimate.high < 1
    assert math.isnan(probability_of_improvement(values[:4], values, rng()).low)
    for other, value in (([9.0] * 5, 0.0), ([-9.0] * 5, 1.0)):
        estimate = probability_of_improvement(values, other, rng())
        assert estimate.value == value and math.isnan(estimate.low)


def test_probability_of_improvement_is_mann_whitney():
    a, b = rng().normal(1, 1, 12), rng().normal(size=9)
    estimate = probability_of_improvement(a, b, rng())
    assert estimate.value == pytest.approx(stats.mannwhitneyu(a, b).statistic / (12 * 9))
    assert 0 < estimate.low < estimate.value < estimate.high <= 1


def test_many_values_give_the_interval_that_resampling_would(monkeypatch):
    a, b = np.round(rng().normal(0.3, 1, 700), 1), np.round(rng().normal(0, 1.5, 600), 1)  # many ties
    fast = probability_of_improvement(a, b, rng())
    monkeypatch.setattr("analysis.statistics.comparison.MANY", 10_000)
    slow = probability_of_improvement(a, b, rng())
    assert fast.value == pytest.approx(slow.value, abs=1e-12)
    assert [fast.low, fast.high] == pytest.approx([slow.low, slow.high], abs=0.05 * (slow.high - slow.low))
    for many in (10_000, 500):
        monkeypatch.setattr("analysis.statistics.comparison.MANY", many)
        apart = probability_of_improvement(a + 100, b, rng())
        assert apart.value == 1 and math.isnan(apart.low) and math.isnan(apart.high)


def test_probability_of_improvement_of_too_little():
    assert math.isnan(probability_of_improvement([None, math.nan], [1.0], rng()).value)
    single = probability_of_improvement([2.0], [1.0, 3.0, 0.0], rng())
    assert single.value == pytest.approx(2 / 3) and math.isnan(single.low) and math.isnan(single.high)


def test_signed_rank_of_known_differences():
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (2 / 2**6, 1.0)  # all positive: the most extreme of 2^6 signs
    p_value, effect = signed_rank([-1.0, 2.0, 3.0])
    assert (p_value, effect) == (4 / 8, (5 - 1) / 6)  # rank sums 0, 1 and 5, 6 of 8 are as extreme


def test_signed_rank_is_exact_with_ties():
    assert signed_rank([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == (2 / 2**6, 1.0)


def test_signed_rank_of_nothing():
    assert signed_rank([0.0, 0.0]) == (1.0, 0.0)
    assert all(map(math.isnan, signed_rank([math.nan])))
    assert signed_rank([0.0, 3.0]) == (1.0, 1.0)  # the zero is left out, and one pair proves nothing


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([math.nan, 0.02])
    assert math.isnan(adjusted[0]) and adjusted[1] == 0.02


def test_settings_are_paired_by_seed():
    common = [80.0, 85.0, 70.0, 75.0, 90.0, 65.0]
    searches = frame({2: common, 16: [v + 0.1 * (i + 1) for i, v in enumerate(common)], 4: [None, 60.0]})
    comparisons = compare_settings(searches, rng())
    assert [(c.first, c.second, c.n) for c in comparisons] == [
        ("k=2", "k=4", 1),
        ("k=2", "k=16", 6),
        ("k=4", "k=16", 1),
    ]
    better = comparisons[1]
    assert better.difference.value == pytest.approx(-0.35)
    assert -0.6 < better.difference.low < -0.35 < better.difference.high < -0.1
    assert (better.effect_size, better.p_value) == (-1.0, 2 / 2**6)
    assert better.p_adjusted == 3 * better.p_value
    assert 0.3 < better.improvement.value < 0.5  # unpaired: the seeds differ far more than the settings
    assert comparisons[0].p_value == 1.0


def test_a_reference_is_compared_with_every_other():
    searches = frame({k: [80.0 + k, 81.0 + k] for k in (1, 2, 4)})
    assert [(c.first, c.second) for c in compare_settings(searches, rng(), "k=2")] == [("k=1", "k=2"), ("k=4", "k=2")]
    with pytest.raises(ValueError, match="reference is 'k=3', but must be a setting with results: k=1, k=2, k=4"):
        compare_settings(searches, rng(), "k=3")


def test_rounding_makes_no_differences():
    # 80.1 - 80 and 70.1 - 70 differ in the last bits: as ties they give the exact distribution of equal ranks
    first = [80.0, 70.0, 60.0, 50.0, 40.0]
    searches = frame({1: first, 2: [v + 0.1 * (-1) ** i for i, v in enumerate(first)]})
    (comparison,) = compare_settings(searches, rng())
    assert (comparison.p_value, comparison.effect_size) == (1.0, pytest.approx(-0.2))


def test_settings_without_common_seeds():
    searches = frame({1: [80.0, None], 2: [None, 81.0]})
    (comparison,) = compare_settings(searches, rng())
    assert comparison.n == 0 and math.isnan(comparison.p_adjusted) and math.isnan(comparison.difference.value)
    assert comparison.improvement.value == 0.0
    assert compare_settings(frame({1: [None]}), rng()) == []
    assert compare_settings(frame({}), rng()) == [] and critical_difference(frame({})) is None


def test_equal_settings_are_not_told_apart():
    searches = frame({k: [80.0] * 6 for k in (1, 2, 4)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparisons = compare_settings(searches, rng())
        critical = critical_difference(searches)
    assert {(c.p_adjusted, c.effect_size, c.improvement.value, c.difference.value) for c in comparisons} == {
        (1, 0, 0.5, 0)
    }
    assert all(math.isnan(c.difference.high) and math.isnan(c.improvement.high) for c in comparisons)
    assert (critical.p_value, critical.mean_ranks) == (1.0, (2.0, 2.0, 2.0))
    assert critical.groups == (("k=1", "k=2", "k=4"),)


def test_one_row_a_seed():
    table = seed_table(frame({4: [80.0, None, math.nan], 2: [70.0, 71.0, math.inf]}))
    assert list(table.columns) == ["k=2", "k=4"] and list(table.index) == [0, 1]
    assert table["k=4"][0] == 80.0 and math.isnan(table["k=4"][1])
    twice = frame({4: [80.0]})
    twice = twice.loc[[0, 0]].assign(valid_accuracy=[80.0, 82.0], status=["completed", "stopped"])
    assert seed_table(twice)["k=4"].tolist() == [81.0]


def test_critical_difference_of_known_ranks():
    searches = frame({k: [80.0 + 10 * k + seed for seed in range(6)] for k in (1, 2, 4)} | {8: [99.0] * 4})
    critical = critical_difference(searches)
    assert critical.settings == ("k=4", "k=2", "k=1") and critical.mean_ranks == (1.0, 2.0, 3.0)
    assert (critical.n, critical.left_out) == (6, ("k=8",))
    # Friedman: chi2 = 12 n / (k (k+1)) * sum of (rank - 2)^2 = 12; its tail with 2 degrees of freedom is exp(-6)
    assert critical.p_value == pytest.approx(math.exp(-6))
    assert critical.difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 6)), abs=1e-3)  # 2.343: Demsar's table
    assert critical.groups == (("k=4", "k=2"), ("k=2", "k=1"))


@pytest.mark.parametrize("accuracies", [{1: [1.0] * 9, 2: [2.0] * 9}, {k: [1.0 * k] * 4 for k in (1, 2, 4)}])
def test_no_critical_difference_of_too_little(accuracies):
    assert critical_difference(frame(accuracies)) is None
