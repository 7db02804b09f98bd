"""Ranking of cells, in closed form."""

from math import sqrt

import pytest

from analysis.statistics.ranking import pooled_deviation, rank_cells, standard_error


def test_the_standard_error_has_both_parts_in_closed_form():
    # Variances: 1 / 4 of the trainings; 0.9 x 0.1 / 900 of the images, (0.01 x 100 %)^2 = 1.
    assert standard_error([88.0, 90.0, 90.0, 92.0], 1.0, 900) == pytest.approx(sqrt(0.25 + 1.0))
    assert standard_error([90.0], 2.0, None) == pytest.approx(2.0)
    assert standard_error([100.0], 0.0, 10) == 0.0


def test_more_trainings_do_not_reduce_the_error_of_the_images():
    assert standard_error([90.0] * 1000, 0.0, 900) == pytest.approx(1.0)


def test_the_deviation_is_pooled_over_cells():
    assert pooled_deviation([[90.0, 92.0], [91.0, 91.0], [99.0], []]) == pytest.approx(1.0)  # squares 2, freedom 2
    assert pooled_deviation([[90.0], [95.0]]) == pooled_deviation([]) == 0.0


def test_cells_are_ranked_by_mean_minus_standard_error():
    # Deviation 1: the values are 91 - 1 / sqrt(2) and 91.2 - 1.
    ranking = rank_cells({"x": [90.0, 92.0], "z": [91.2], "y": [91.0, 91.0], "none": []}, None)
    assert [cell.digest for cell in ranking] == ["x", "y", "z"]
    assert [cell.value for cell in ranking] == pytest.approx([91 - sqrt(0.5), 91 - sqrt(0.5), 90.2])
    assert [cell.trainings for cell in ranking] == [2, 2, 1]


def test_single_trainings_are_ranked_by_their_accuracy():
    ranking = rank_cells({"low": [90.0], "high": [91.0]}, 5000)
    assert [cell.digest for cell in ranking] == ["high", "low"]
    assert ranking[0].standard_error == pytest.approx(100 * sqrt(0.91 * 0.09 / 5000))
