"""Tests of analysis.statistics.comparison."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.comparison import holm, signed_rank


def test_signed_rank_of_known_differences():
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 2 / 2**6  # all positive: the most extreme of 2^6 signs
    assert signed_rank([-1.0, 2.0, 3.0]) == 4 / 8  # rank sums 0, 1 and 5, 6 of 8 are as extreme


def test_signed_rank_is_exact_with_ties():
    assert signed_rank([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == 2 / 2**6
    assert signed_rank([1.0, -1.0, 2.0]) == 6 / 8  # rank sums 4.5, 4.5 and 6 of 8 are as large


@pytest.mark.parametrize("n", [5, 14, 60])
def test_signed_rank_is_that_of_scipy(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-9)


def test_signed_rank_of_nothing():
    assert signed_rank([0.0, 0.0]) == 1.0 and math.isnan(signed_rank([math.nan]))
    assert signed_rank([0.0, 3.0]) == 1.0  # the zero is left out, and one pair proves nothing


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []
    adjusted = holm([math.nan, 0.02])
    assert math.isnan(adjusted[0]) and adjusted[1] == 0.02
