"""The eigenvalue rule."""

import math

import pytest

from pcdarts.diagnostics.early_stop import early_stop_epoch, eigenvalue_shortage

EPOCHS = [*range(0, 50, 2), 49]


def jump(at, height):
    return [height if epoch >= at else 1.0 for epoch in EPOCHS]


def test_a_jump_is_noticed_once_the_average_has_grown_enough():
    # Of five measurements from epoch 20 on, m are twice as large: the average is 1 + m / 5, above 1.3 with m = 2. The
    # fifth is at 22 then, the middle at 18, and the average 4 measurements earlier stands at epoch 10.
    assert early_stop_epoch(EPOCHS, jump(20, 2.0)) == 10
    assert early_stop_epoch(EPOCHS, jump(30, 2.0)) == 20
    assert early_stop_epoch(EPOCHS, jump(30, 3.0)) == 18


def test_the_averages_must_differ_by_more_than_1_3_times():
    # With m = 4 of five measurements after the jump to h, the averages are (1 + 4 h) / 5 and 1: h must exceed 1.375.
    # With m = 5 the earlier average holds one of them, too: 5 h / (4 + h) exceeds 1.3 for a larger h alone.
    assert early_stop_epoch(EPOCHS, jump(20, 1.37)) is None
    assert early_stop_epoch(EPOCHS, jump(20, 1.38)) == 14


def test_epochs_before_10_are_never_returned():
    assert early_stop_epoch(EPOCHS, jump(18, 2.0)) == 10
    assert early_stop_epoch(EPOCHS, jump(2, 9.0)) is None


def test_short_negative_and_undefined_series_stop_nothing():
    assert early_stop_epoch([], []) is None
    assert early_stop_epoch(EPOCHS[:8], [1.0] * 8) is None
    assert early_stop_epoch(EPOCHS, [-1.0 - i for i in range(26)]) is None
    assert early_stop_epoch(EPOCHS, [math.nan] * 26) is None
    with pytest.raises(ValueError, match="2 epochs and 1 eigenvalues"):
        early_stop_epoch([0, 2], [1.0])


@pytest.mark.parametrize(
    ("epochs", "says"),
    [
        (EPOCHS, None),
        ([*range(15, 51, 2)], None),
        ([], "needs 9 measurements with trained alpha, has 0"),
        ([*range(35, 51, 2)], "needs 9 measurements with trained alpha, has 8"),
        ([*range(6, 15)], "compares with an average around epoch 10 or later, but the latest one is around 8"),
        ([*range(8, 17)], None),  # averages around 10 and 14
    ],
)
def test_the_rule_needs_nine_measurements_and_an_average_from_epoch_10_on(epochs, says):
    assert eigenvalue_shortage(epochs) == says
    grown = [2.0**epoch for epoch in epochs]  # fires wherever it can
    assert (early_stop_epoch(epochs, grown) is None) == (says is not None)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_averages_that_the_rule_ignores_are_no_measurements(value):
    epochs = [*range(10, 19)]
    assert eigenvalue_shortage(epochs, [value] * 9) == "needs averages above 0, but found none to compare"
    assert eigenvalue_shortage(epochs, [1.0] * 9) is None
