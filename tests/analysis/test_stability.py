"""Tests of analysis.stability: the eigenvalue rule of pcdarts.diagnostics.early_stop."""

import math

import pytest

from analysis.stability import early_stop_epoch

EPOCHS = range(0, 50, 2)


@pytest.mark.parametrize("values", [[], [1.0] * 4, [1.0] * 25, [0.0] * 25, [1 / (1 + i) for i in range(25)]])
def test_a_search_whose_eigenvalue_does_not_grow_runs_to_its_end(values):
    assert early_stop_epoch(EPOCHS[: len(values)], values) is None


@pytest.mark.parametrize(("rate", "stopped"), [(1.06, None), (1.07, 10)])
def test_averages_four_entries_apart_are_compared(rate, stopped):
    # Averages of a geometric series grow like the series itself: by rate ** 4, which is 1.262 and 1.311.
    assert early_stop_epoch(EPOCHS, [rate**i for i in range(25)]) == stopped


def test_the_first_stop_stands_at_epoch_10_and_needs_windows_up_to_epoch_22():
    # The average at epoch 10 covers epochs 6 to 14; the one compared with it stands at 18 and covers 14 to 22.
    values = [1.0] * 11 + [3.0]
    assert early_stop_epoch(EPOCHS[:12], values) == 10
    assert early_stop_epoch(EPOCHS[:11], values[:11]) is None


def test_the_threshold_itself_does_not_stop():
    values = [5.0] * 11 + [12.5] + [5.0] * 13  # average 6.5 = 1.3 x 5
    assert early_stop_epoch(EPOCHS, values) is None
    values[11] = 12.51
    assert early_stop_epoch(EPOCHS, values) == 10


def test_growth_before_epoch_10_is_ignored():
    # The average at epoch 10 covers entries 3 to 7: all have grown already, while that at epoch 8 has not.
    assert early_stop_epoch(EPOCHS, [1.0] * 3 + [100.0] * 22) is None


def test_a_rule_that_has_spoken_says_the_same_later():
    values = [1.0] * 11 + [2.0 + i for i in range(14)]
    told = [early_stop_epoch(EPOCHS[:n], values[:n]) for n in range(26)]
    first = next(epoch for epoch in told if epoch is not None)
    assert set(told[told.index(first) :]) == {first}


def test_nan_and_negative_eigenvalues():
    assert early_stop_epoch(EPOCHS, [math.nan] * 25) is None
    assert early_stop_epoch(EPOCHS, [-1.0] * 25) is None
    assert early_stop_epoch(EPOCHS, [-1.0 - i for i in range(25)]) is None
    assert early_stop_epoch(EPOCHS, [-4.0 + i for i in range(25)]) == 10  # the average there is 1
    assert early_stop_epoch(EPOCHS, [-5.0 + i for i in range(25)]) == 12  # and here 0, 1 two epochs later


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 epochs and 1 eigenvalues"):
        early_stop_epoch([0, 2], [1.0])
    with pytest.raises(ValueError, match="epoch 2 follows epoch 2"):
        early_stop_epoch([0, 2, 2], [1.0, 1.0, 1.0])
