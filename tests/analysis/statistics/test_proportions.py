"""Tests of analysis.statistics.proportions."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.bootstrap import Estimate
from analysis.statistics.proportions import (
    cell_share,
    combined_interval,
    image_difference,
    sampling_interval,
    sampling_variance,
    unpacked,
)


def networks(errors, images=100):
    """A network for each set of wrong images."""
    correct = np.ones((len(errors), images), dtype=bool)
    for row, wrong in zip(correct, errors, strict=True):
        row[list(wrong)] = False
    return correct


@pytest.mark.parametrize(("wrong", "images"), [(26, 1000), (0, 360), (360, 360)])
def test_the_sampling_interval_is_wilsons(wrong, images):
    found = sampling_interval(100 * wrong / images, images)
    low, high = stats.binomtest(wrong, images).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=1e-5)


def test_an_unknown_number_of_images_gives_no_interval():
    assert math.isnan(sampling_interval(2.6, None).low) and sampling_interval(2.6, None).value == 2.6
    assert math.isnan(sampling_interval(math.nan, 100).low)
    assert sampling_variance(2.6, None) == 0 and sampling_variance(50, 100) == 25  # 5 points squared


def test_independent_errors_add_up_in_squares():
    found = combined_interval(Estimate(value=2.0, low=1.7, high=2.3), Estimate(value=2.5, low=2.1, high=2.9))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.5, 2.5))
    alone = Estimate(value=2.0, low=1.7, high=2.3)
    assert dataclasses.astuple(combined_interval(alone, Estimate(value=2.0))) == pytest.approx((2.0, 1.7, 2.3))
    wide = combined_interval(Estimate(value=5.0, low=-3.0, high=13.0), Estimate(value=96.0, low=0.0, high=200.0))
    assert (wide.low, wide.high) == (0.0, 100.0)


def test_two_networks_are_compared_by_mcnemars_exact_test():
    first, second = networks([range(5)]), networks([range(3, 13)])  # 3 wrong in the first alone, 8 in the second
    found = image_difference(first, second)
    assert found.difference.value == pytest.approx(5.0)
    assert found.p_value == pytest.approx(stats.binomtest(3, 11).pvalue)
    assert found.difference.low < 0 < found.difference.value < found.difference.high


def test_two_images_of_360_are_no_difference():
    found = image_difference(networks([range(6)], 360), networks([range(8)], 360))
    assert found.difference.value == pytest.approx(100 * 2 / 360) and found.p_value == 0.5
    assert found.difference.low < 0


def test_several_networks_of_a_cell_count_with_their_mean():
    found = image_difference(networks([range(4), range(2)]), networks([range(10)]))
    assert found.difference.value == pytest.approx(10 - 3) and math.isnan(found.p_value)


def test_equal_networks_do_not_differ():
    found = image_difference(networks([range(4)]), networks([range(4)]))
    assert found.difference.value == 0 and found.p_value == 1
    assert found.difference.low == pytest.approx(-found.difference.high)


def test_the_share_of_a_cell_is_what_its_networks_have_in_common_beyond_others():
    alike = networks([range(10), range(10)])
    assert cell_share([alike, alike]) == pytest.approx(0, abs=1e-6)  # hard for all
    apart = networks([range(50, 60), range(50, 60)])
    assert cell_share([alike, apart]) == 1  # each cell has images of its own
    assert math.isnan(cell_share([alike[:1], apart[:1]])) and math.isnan(cell_share([alike]))


def test_unpacked_reverses_packbits():
    correct = networks([range(3)], 13)[0]
    assert (unpacked(np.packbits(correct).tobytes(), 13) == correct).all()
