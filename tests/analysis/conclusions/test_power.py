"""Tests of analysis.conclusions.power."""

import numpy as np
import pytest
from scipy import stats

from analysis.conclusions.power import detectable_difference, fewest_pairs, seeds_needed


def test_fewest_pairs_are_those_at_which_wilcoxon_can_reach_holms_first_level():
    for comparisons in range(1, 30):
        pairs = fewest_pairs(comparisons)
        assert comparisons * stats.wilcoxon(np.arange(1, pairs + 1)).pvalue <= 0.05
        assert comparisons * stats.wilcoxon(np.arange(1, pairs)).pvalue > 0.05


@pytest.mark.parametrize(("effect", "pairs"), [(1.0, 10), (0.5, 34), (0.2, 199)])
def test_seeds_needed_are_those_of_the_tables_of_the_paired_t_test(effect, pairs):
    assert seeds_needed(1 / effect, 1.0) == pairs  # Cohen: Statistical Power Analysis, two-sided 5 %, power 80 %


def test_more_comparisons_and_more_power_need_more_seeds():
    assert seeds_needed(0.26, 0.2) == 16 < seeds_needed(0.26, 0.2, 3) == 21 < seeds_needed(0.26, 0.2, 3, power=0.95)


def test_a_large_difference_still_needs_the_fewest_pairs():
    assert seeds_needed(0.0, 1.0) == seeds_needed(0.01, 100.0) == fewest_pairs(1)
    assert seeds_needed(0.01, 100.0, 6) == fewest_pairs(6)
    assert seeds_needed(0.28, 0.8, 6) == seeds_needed(0.28, 2.4, 6) == fewest_pairs(6)


@pytest.mark.parametrize(
    ("pairs", "comparisons", "difference"), [(6, 1, 0.41), (7, 3, 0.46), (8, 6, 0.47), (11, 28, 0.45)]
)
def test_the_detectable_difference_is_found_with_the_given_power(pairs, comparisons, difference):
    assert detectable_difference(0.2 * 2**0.5, pairs, comparisons) == pytest.approx(difference, abs=0.005)


def test_the_detectable_difference_grows_with_the_deviation():
    assert detectable_difference(0.6, 8, 3) == 3 * detectable_difference(0.2, 8, 3)
    assert detectable_difference(0.0, 8, 3) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fewest_pairs(0), "comparisons is 0, but must be at least 1"),
        (lambda: seeds_needed(-1, 1), "deviation is -1, but must be at least 0"),
        (lambda: seeds_needed(1, 0), "difference is 0, but must be above 0"),
        (lambda: seeds_needed(1, 1, power=1), "power is 1, but must be between 0 and 1"),
    ],
)
def test_impossible_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
