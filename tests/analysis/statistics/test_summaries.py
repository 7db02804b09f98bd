"""Tests of analysis.statistics.summaries."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from analysis.statistics.summaries import (
    needs_more_seeds,
    rank_searches,
    rule_fired,
    setting_order,
    stopped_by_hand,
    stopping_level,
    summarize,
    summarize_settings,
    t_interval,
)
from analysis.tables import SEARCHES
from tests.analysis.synthetic import search_row


def frame(*rows):
    return SEARCHES.to_arrow(rows).to_pandas()


def test_summary_of_known_values():
    summary = summarize([1.0, 2.0, 3.0, 6.0])
    assert (summary.n, summary.mean, summary.median, summary.minimum, summary.maximum) == (4, 3.0, 2.5, 1.0, 6.0)
    assert summary.std == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))


def test_one_value_has_no_deviation():
    summary = summarize([5.0])
    assert (summary.n, summary.mean) == (1, 5.0) and math.isnan(summary.std)


def test_missing_values_are_left_out():
    assert summarize([None, math.nan, 4.0, 2.0]).n == 2
    empty = summarize([None, math.nan])
    assert empty.n == 0 and math.isnan(empty.mean) and math.isnan(empty.maximum)


def test_order_does_not_matter():
    values = [0.1, 0.7, 0.3, 1e9]
    assert summarize(values) == summarize(values[::-1])


def test_interval_of_the_mean():
    low, high = t_interval(summarize([0.0, 2.0]))  # t(0.975, 1) = 12.706, std / sqrt(2) = 1
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)
    assert all(map(math.isnan, t_interval(summarize([1.0]))))
    with pytest.raises(ValueError, match="level is 95"):
        t_interval(summarize([1.0, 2.0]), level=95)


def test_quartiles_and_interquartile_mean():
    summary = summarize([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (summary.q1, summary.median, summary.q3, summary.iqm) == (2.0, 3.0, 4.0, 3.0)
    assert summarize([1.0, 2.0, 3.0]).iqm == 2.0  # 3 // 4 = 0 values are cut
    values = np.random.default_rng(1).normal(size=11)
    assert summarize(values).iqm == pytest.approx(stats.trim_mean(values, 0.25))


# t(0.975, n - 1) = 12.7062, 4.3027 and 3.1824; half-width t * std / sqrt(n)
@pytest.mark.parametrize(
    ("values", "half"),
    [
        ([1.0, 3.0], 12.7062),
        ([1.0, 2.0, 3.0], 4.3027 / math.sqrt(3)),
        ([0.0, 2.0, 2.0, 4.0], 3.1824 * math.sqrt(8 / 3) / 2),
    ],
)
def test_few_values_have_the_t_interval(values, half):
    summary = summarize(values)
    assert (summary.low, summary.high) == pytest.approx((2 - half, 2 + half), abs=1e-4)
    assert (summary.low, summary.high) == pytest.approx(t_interval(summary))  # what settings are told apart by
    assert summary.method == "Student's t (n < 20)"


def test_the_interval_of_few_normal_values_holds_the_mean_in_95_percent():
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    held = np.mean([summary.low <= 0 <= summary.high for summary in map(summarize, draws)])
    assert held == pytest.approx(0.95, abs=0.015)  # 3 standard errors; the range holds it in 75 %


def test_no_interval_is_invented():
    one, none = summarize([5.0]), summarize([])
    assert math.isnan(one.low) and math.isnan(one.high) and one.method == "none: a single value"
    assert math.isnan(none.low) and none.method == "none: no values"


@pytest.mark.parametrize("n", [2, 5, 30])
def test_equal_values_have_no_interval(n):
    summary = summarize([0.1] * n)
    assert (summary.mean, summary.std, summary.iqm) == (0.1, 0.0, 0.1)
    assert math.isnan(summary.low) and math.isnan(summary.high)
    assert summary.method.startswith("none: all values are equal")


def test_without_a_generator_the_interval_is_the_same_every_time():
    values = [80.1, 80.4, 79.9, 81.0, 80.2] * 4
    assert summarize(values) == summarize(values) == summarize(values, np.random.default_rng(0))
    assert summarize(values) != summarize(values, np.random.default_rng(1))


def test_settings_in_the_order_of_their_values_not_of_their_accuracies():
    summaries = summarize_settings(
        frame(
            search_row(2, 0, 70.0),
            search_row(2, 1, 72.0, cell="DARTS_V2"),
            search_row(2, 2, None),
            search_row(4, 0, 80.0),
            search_row(8, 0, None),
        )
    )
    assert [s.setting for s in summaries] == ["k=2", "k=4", "k=8"]
    k2, k4, k8 = summaries
    assert (k2.completed, k2.failed, k2.stopped, k2.distinct_cells) == (2, 1, 0, 2)
    assert (k2.valid_accuracy.mean, k2.valid_accuracy.std) == (71.0, pytest.approx(math.sqrt(2)))
    assert k2.seconds == 121.0
    assert k2.valid_accuracy.maximum == 72.0
    assert k4.completed == 1 and math.isnan(k4.valid_accuracy.std)
    assert (k8.completed, k8.failed, k8.distinct_cells) == (0, 1, 0)
    assert math.isnan(k8.valid_accuracy.maximum) and math.isnan(k8.seconds)


def test_the_order_of_the_rows_does_not_matter():
    rows = [search_row(k, seed, 80.0) for k in (16, 2) for seed in (1, 0)]
    summaries = summarize_settings(frame(*rows))
    assert [s.setting for s in summaries] == ["k=2", "k=16"]
    assert summaries[0].worst_seed == 1
    assert summaries == summarize_settings(frame(*rows[::-1]))


def test_an_accuracy_that_is_not_a_number_is_never_best():
    (summary,) = summarize_settings(frame(search_row(4, 0, math.nan), search_row(4, 1, 10.0)))
    assert (summary.completed, summary.valid_accuracy.n, summary.valid_accuracy.maximum) == (2, 1, 10.0)
    (summary,) = summarize_settings(frame(search_row(4, 0, math.nan)))
    assert summary.completed == 1 and summary.worst_seed is None


def test_stopped_searches_count_like_completed_ones():
    stopped = search_row(4, 0, 82.0) | {"status": "stopped"}
    (summary,) = summarize_settings(frame(stopped, search_row(4, 1, 80.0), search_row(4, 2, None)))
    assert (summary.stopped, summary.completed, summary.ended, summary.failed) == (1, 1, 2, 1)
    assert (summary.valid_accuracy.mean, summary.valid_accuracy.maximum) == (81.0, 82.0)
    assert list(rank_searches(frame(stopped))["search_id"]) == [stopped["search_id"]]


def test_a_rule_and_a_person_are_told_apart():
    rows = frame(
        search_row(4, 0, 80.0) | {"status": "stopped", "stop_reason": "frozen rule: same", "warnings": ""},
        search_row(4, 1, 80.0) | {"status": "stopped", "stop_reason": "stopped by hand", "warnings": ""},
        search_row(4, 3, None) | {"status": "canceled"},
        search_row(4, 4, 80.0),
        search_row(4, 5, 80.0) | {"status": "stopped", "stop_reason": "stopped by hand", "warnings": "skip rule: 5"},
    )
    assert stopped_by_hand(rows).tolist() == [False, True, True, False, True]
    assert rule_fired(rows).tolist() == [True, False, False, False, True]


def test_the_worst_seed():
    (summary,) = summarize_settings(frame(*(search_row(4, seed, 80.0 + seed) for seed in (3, 1, 2))))
    assert (summary.worst_seed, summary.valid_accuracy.minimum) == (1, 81.0)
    (failed,) = summarize_settings(frame(search_row(4, 0, None)))
    assert failed.worst_seed is None


def test_the_interval_of_a_setting_depends_on_its_own_values():
    rows = [search_row(4, seed, 80 + math.sin(seed)) for seed in range(20)]
    (alone,) = summarize_settings(frame(*rows))
    beside = summarize_settings(frame(*rows, *(search_row(2, seed, 70 + math.cos(seed)) for seed in range(20))))
    assert alone == beside[1]


def test_nothing_at_all():
    assert summarize_settings(frame()) == []
    assert isinstance(rank_searches(frame()), pd.DataFrame)


def test_settings_are_ordered_by_their_values():
    rows = [
        search_row(k, 0, accuracy) | {"setting": f"k={k}, drop_path={p}", "drop_path": p, "search_id": f"{k}-{p}"}
        for k in (16, 2)
        for p, accuracy in ((1e-4, None), (0.2, 80.0))
    ]
    rows.append(search_row(2, 0, 80.0) | {"setting": "method=darts", "method": "darts", "search_id": "darts"})
    names = ["method=darts", "k=2, drop_path=0.0001", "k=2, drop_path=0.2", "k=16, drop_path=0.0001"]
    assert setting_order(frame(*rows)) == {name: place for place, name in enumerate([*names, "k=16, drop_path=0.2"])}
    assert setting_order(frame()) == {}


def test_seeds_are_added_until_the_interval_is_narrow():
    # t(0.975, 2) = 4.3027: the half-width of 0, 1, 2 is 4.3027 / sqrt(3) = 2.484
    assert needs_more_seeds([0.0, 1.0, 2.0], 2.49, 20) == (
        False,
        "half-width 2.48 of 3 values is within the target 2.49",
    )
    more, reason = needs_more_seeds([0.0, 1.0, 2.0], 2.48, 20)
    assert more and reason == "half-width 2.48 of 3 values, above the target 2.48; 3 of at most 20 seeds used"


def test_failed_seeds_use_up_the_allowance():
    assert needs_more_seeds([], 0.2, 4) == (
        True, "0 of 2 values for an interval, above the target 0.2; 0 of at most 4 seeds used",
    )  # fmt: skip
    assert needs_more_seeds([80.0, None, math.nan], 0.2, 4)[0]
    stop, reason = needs_more_seeds([80.0, None, math.nan, None], 0.2, 4)
    assert not stop and reason == "1 of 2 values for an interval, but all 4 seeds are used (target 0.2)"
    assert not needs_more_seeds([0.0, 9.0, 5.0, 1.0], 0.2, 4)[0]


def test_equal_seeds_need_no_more():
    assert needs_more_seeds([80.0, 80.0], 0.2, 20) == (False, "half-width 0 of 2 values is within the target 0.2")


@pytest.mark.parametrize(
    ("target", "most", "said"), [(0, 5, "target_halfwidth is 0"), (math.nan, 5, "nan"), (1, 1, "max_seeds is 1")]
)
def test_impossible_targets(target, most, said):
    with pytest.raises(ValueError, match=said):
        needs_more_seeds([1.0, 2.0], target, most)


def test_the_correction_asks_for_more_seeds():
    assert stopping_level(2) == 0.95 and stopping_level(20) == pytest.approx(1 - 0.05 / 19)
    values = [0.0, 1.0, 2.0]
    assert not needs_more_seeds(values, 3.0, 20)[0] and needs_more_seeds(values, 3.0, 20, corrected=True)[0]


@pytest.mark.parametrize("corrected", [False, True])
def test_coverage_after_optional_stopping_is_as_documented(corrected):
    rng, trials, most, covered = np.random.default_rng(0), 400, 20, 0
    for _ in range(trials):
        values = list(rng.normal(size=2))
        while needs_more_seeds(values, 1.0, most, corrected=corrected)[0]:
            values.append(rng.normal())
        level = stopping_level(most) if corrected else 0.95
        half = special.stdtrit(len(values) - 1, (1 + level) / 2) * np.std(values, ddof=1) / math.sqrt(len(values))
        covered += abs(np.mean(values)) <= half
    share = covered / trials
    assert share >= 0.98 if corrected else 0.86 < share < 0.93


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in ([], [1.0], [1.0, 1.0], [0.0] * 9 + [1e-17], [1.0] * 4 + [1.0 + 2e-16], [1e100, 1e-100] * 4):
            summary = summarize(values)
            assert summary.n < 2 or summary.std == 0 or summary.low <= summary.high
