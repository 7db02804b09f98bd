"""Tests of analysis.statistics.shrinkage."""

import math

import numpy as np
import pytest

from analysis.statistics.shrinkage import shrunk_means


def rng():
    return np.random.default_rng(0)


def test_a_single_cell_is_not_shrunk_and_has_students_t_interval():
    found = shrunk_means([[96.0, 97.0, 98.0]], [0.0]).estimate(0)
    assert found.value == pytest.approx(97)
    assert found.high - 97 == pytest.approx(4.303 / math.sqrt(3), rel=0.05)  # t of 2 degrees of freedom, on a grid
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_the_best_of_equal_cells_is_pulled_to_their_mean():
    found = shrunk_means([[96.9, 97.1], [96.8, 97.0], [97.0, 97.2]], [0.0] * 3)
    assert 97.0 < found.mean(2) < 97.07 and found.mean(0) == pytest.approx(97.0)
    assert found.mean(1) == pytest.approx(2 * 97.0 - found.mean(2))


def test_cells_far_apart_are_hardly_shrunk():
    found = shrunk_means([[90.0, 90.1], [95.0, 95.1], [85.0, 85.1]], [0.0] * 3)
    assert found.mean(1) == pytest.approx(95.05, abs=0.05)
    assert found.beats(1, 0) > 0.999


def test_equal_means_beat_each_other_with_probability_one_half():
    found = shrunk_means([[96.0, 97.0], [96.5, 96.5]], [0.0, 0.0])
    assert found.beats(0, 1) == pytest.approx(0.5)
    other = shrunk_means([[96.0, 97.0], [95.0, 96.0]], [0.0, 0.0])
    assert other.beats(0, 1) == pytest.approx(1 - other.beats(1, 0)) and other.beats(0, 1) > 0.6


def test_sampling_variance_makes_a_lead_less_sure():
    values = [[97.0, 97.1], [96.8, 96.9], [96.7, 96.8]]
    sure, unsure = (shrunk_means(values, [variance] * 3).beats(0, 1) for variance in (0.0, 0.04))
    assert 0.5 < unsure < sure


def test_the_deviation_between_trainings_must_be_known():
    assert shrunk_means([[97.0], [96.0]], [0.0, 0.0]) is None
    assert shrunk_means([[97.0, 97.0], [96.0]], [0.0, 0.0]) is None


def test_intervals_of_a_chosen_best_cover_its_true_value():
    """The interval of the plain mean of the best of ten equal cells misses it in most cases."""
    generator, covered, bias = rng(), 0, []
    for _ in range(100):
        values = 97 + 0.1 * generator.standard_normal((10, 3))
        best = int(values.mean(axis=1).argmax())
        found = shrunk_means(values.tolist(), [0.0] * 10).estimate(best)
        covered += found.low <= 97 <= found.high
        bias.append(values[best].mean() - 97)
    assert covered >= 93 and np.mean(bias) > 0.07
