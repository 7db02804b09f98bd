"""Tests of analysis.conclusions.comparisons."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.conclusions.comparisons import compare, paired_mean
from analysis.conclusions.levels import trainings
from analysis.conclusions.settings import errors_by_search, found_cells
from analysis.statistics.comparison import holm
from tests.analysis.conclusions.tables import Tables, settings_with

GAINS = [0.3, 0.5, 0.4, 0.6, 0.2, 0.4]


def compared(tables, settings):
    searches, _, retrains = tables.frames()
    return compare(errors_by_search(found_cells(searches), trainings(retrains)), settings)


def test_settings_are_paired_by_search_seed():
    base = [3.0, 4.0, 5.0, 3.5, 4.5, 5.5]
    tables = settings_with({"k=2": base, "k=4": [error + gain for error, gain in zip(base, GAINS, strict=True)]})
    (found,) = compared(tables, ["k=2", "k=4"])
    expected = stats.ttest_1samp(GAINS, 0).confidence_interval(0.95)
    assert (found.first, found.second, found.pairs, found.outcome) == ("k=2", "k=4", 6, "first")
    assert found.difference.value == pytest.approx(0.4) and found.level == 0.95
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected))
    assert found.wilcoxon == 2 / 2**6
    (reverse,) = compared(tables, ["k=4", "k=2"])
    assert reverse.outcome == "second" and reverse.difference.value == pytest.approx(-0.4)


def test_fewer_pairs_than_a_test_without_assumptions_needs_decide_nothing():
    tables = settings_with({"k=2": [3.0] * 5, "k=4": [3.5, 3.5, 3.6, 3.5, 3.5]})
    (found,) = compared(tables, ["k=2", "k=4"])
    assert found.difference.low > 0 and found.outcome == "too few" and found.pairs_wanted == 6


def test_the_intervals_are_at_the_levels_of_holms_steps():
    """An interval excludes 0 exactly if Holm's method rejects equality."""
    generator = np.random.default_rng(0)
    shifts = {"k=1": 0.0, "k=2": 0.1, "k=4": 0.35, "k=8": 0.4}
    for _ in range(2):
        errors = {name: (3 + shift + 0.2 * generator.standard_normal(8)).tolist() for name, shift in shifts.items()}
        found = compared(settings_with(errors), list(errors))
        p_values = [stats.ttest_rel(errors[each.first], errors[each.second]).pvalue for each in found]
        rejected = [adjusted <= 0.05 for adjusted in holm(p_values)]
        assert [each.outcome in ("first", "second") for each in found] == rejected
        assert {round(1 / (1 - each.level) / 20) for each in found} <= set(range(1, 7))
        assert max(each.level for each in found) == pytest.approx(1 - 0.05 / 6)


def test_the_unit_is_the_cell_of_a_search_not_a_training():
    tables = settings_with({"k=2": [3.0, 3.1, 3.2, 3.3, 3.4, 3.5], "k=4": [4.0, 4.2, 4.1, 4.3, 4.2, 4.4]})
    before = compared(tables, ["k=2", "k=4"])
    for cell in range(6):
        tables.train(cell, [3.0 + 0.1 * cell] * 3)  # the same error three times more
    assert compared(tables, ["k=2", "k=4"])[0].difference == pytest.approx(before[0].difference)


def test_pairs_that_share_a_cell_are_not_independent():
    values = np.array([0.1, 0.2, 0.3, 0.4])
    usual = paired_mean(values, list("abcd"), list("efgh"))
    assert usual.error == pytest.approx(stats.sem(values)) and usual.pairs == 4
    shared = paired_mean(values, list("aabb"), list("efgh"))
    means = np.array([0.15, 0.35])
    assert (shared.mean, shared.error, shared.pairs) == pytest.approx((0.25, stats.sem(means), 2))
    chained = paired_mean(values, list("aabc"), list("effg"))  # a-e, a-f, b-f are one cluster
    assert chained.pairs == 2


def test_differences_that_do_not_vary_prove_nothing():
    """All seeds of a collapsed setting find one cell: its trainings were not repeated six times."""
    tables = Tables()
    tables.train(0, [5.0])
    tables.train(1, [3.0])
    for seed in range(6):
        tables.search("k=2", seed, 0)
        tables.search("k=4", seed, 1)
    (found,) = compared(tables, ["k=2", "k=4"])
    assert (found.pairs, found.outcome) == (1, "too few") and math.isnan(found.difference.low)
    equal = paired_mean(np.array([0.5] * 6), list("abcdef"), list("ghijkl"))
    assert equal.pairs == 6 and math.isnan(equal.error) and math.isnan(equal.p_value)


def test_settings_without_a_common_seed_cannot_be_paired():
    tables = Tables()
    for seed in range(6):
        tables.search("k=2", seed, seed)
        tables.search("k=4", seed + 6, seed + 6)
        tables.train(seed, [3.0])
        tables.train(seed + 6, [4.0])
    (found,) = compared(tables, ["k=2", "k=4"])
    assert found.pairs == 0 and found.outcome == "too few" and math.isnan(found.difference.value)
    assert math.isnan(found.detectable)


def test_a_detectable_difference_is_found_with_80_percent_power():
    base = [3.0, 4.0, 5.0, 3.5, 4.5, 5.5, 4.0, 3.0, 4.2, 3.8]
    tables = settings_with({"k=2": base, "k=4": [e + (-1) ** i for i, e in enumerate(base)]})
    (found,) = compared(tables, ["k=2", "k=4"])
    assert found.outcome == "none"
    assert found.detectable == pytest.approx(np.sqrt(10 / 9), rel=0.01)  # an effect of 1 needs 10 pairs


def test_differences_of_percentages_are_within_100_points():
    (found,) = compared(settings_with({"k=2": [10.0, 90.0], "k=4": [50.0, 20.0]}), ["k=2", "k=4"])
    assert (found.difference.low, found.difference.high) == (-100, 100) and math.isnan(found.detectable)


def test_a_single_setting_has_no_comparisons():
    assert compared(settings_with({"k=2": [3.0]}), ["k=2"]) == ()
