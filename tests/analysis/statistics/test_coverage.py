"""Simulated coverage of the intervals behind the report's conclusions; `tests.benchmarks.coverage` has more cases.

With 200 samples the share that covers varies by 1.5 points.
"""

import pytest

from tests.benchmarks.coverage import chosen_best, correlation, equal_means


@pytest.mark.parametrize(("cells", "groups"), [(6, 1), (20, 1), (8, 3)])
@pytest.mark.parametrize("pearson", [0.0, 0.5])
def test_rank_correlations(cells, groups, pearson):
    assert correlation(200, cells=cells, groups=groups, pearson=pearson).share >= 0.93


@pytest.mark.parametrize("between", [0.0, 0.5, 1.7])
def test_the_true_value_of_the_best_of_several_cells_and_whether_it_beats_the_next(between):
    value, beats = chosen_best(200, cells=8, seeds=3, between=between)
    assert value.share >= 0.93
    if between:  # equal cells are never better than each other
        assert beats.share == pytest.approx(beats.expected / beats.total, abs=0.08)


@pytest.mark.parametrize("settings", [2, 3, 4])
def test_equal_settings_are_called_different_in_5_percent_of_studies_at_most(settings):
    verdicts, intervals = equal_means(60, settings=settings, pairs=8)
    assert verdicts.share >= 0.93 and intervals.share >= 0.93
