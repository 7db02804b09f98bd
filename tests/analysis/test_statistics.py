"""Tests of analysis.statistics."""

import math

import pandas as pd
import pytest

from analysis.statistics import (
    intervals_overlap,
    mean_interval,
    natural_key,
    rank_searches,
    summarize,
    summarize_settings,
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
    low, high = mean_interval(summarize([0.0, 2.0]))  # t(0.975, 1) = 12.706, std / sqrt(2) = 1
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)
    assert all(map(math.isnan, mean_interval(summarize([1.0]))))
    with pytest.raises(ValueError, match="level is 95"):
        mean_interval(summarize([1.0, 2.0]), level=95)


def test_overlap():
    near, far = summarize([1.0, 1.1, 0.9]), summarize([9.0, 9.1, 8.9])
    assert intervals_overlap(near, near)
    assert not intervals_overlap(near, far) and not intervals_overlap(far, near)
    assert intervals_overlap(near, summarize([9.0]))  # one value: nothing tells them apart


def test_settings_by_mean_best_first():
    summaries = summarize_settings(
        frame(
            search_row(2, 0, 70.0),
            search_row(2, 1, 72.0, cell="DARTS_V2"),
            search_row(2, 2, None),
            search_row(4, 0, 80.0),
            search_row(8, 0, None),
        )
    )
    assert [s.setting for s in summaries] == ["k=4", "k=2", "k=8"]
    k4, k2, k8 = summaries
    assert (k2.completed, k2.failed, k2.stopped, k2.distinct_cells) == (2, 1, 0, 2)
    assert (k2.valid_accuracy.mean, k2.valid_accuracy.std) == (71.0, pytest.approx(math.sqrt(2)))
    assert k2.seconds == 121.0
    assert (k2.best_accuracy, k2.best_search_id) == (72.0, search_row(2, 1, 72.0)["search_id"])
    assert k4.completed == 1 and math.isnan(k4.valid_accuracy.std)
    assert (k8.completed, k8.failed, k8.distinct_cells, k8.best_search_id) == (0, 1, 0, None)
    assert math.isnan(k8.best_accuracy) and math.isnan(k8.seconds)


def test_ties_go_by_name():
    rows = [search_row(k, seed, 80.0) for k in (16, 2) for seed in (1, 0)]
    summaries = summarize_settings(frame(*rows))
    assert [s.setting for s in summaries] == ["k=2", "k=16"]
    assert summaries[0].best_search_id == min(row["search_id"] for row in rows if row["k"] == 2)
    assert summaries == summarize_settings(frame(*rows[::-1]))


def test_an_accuracy_that_is_not_a_number_is_never_best():
    (summary,) = summarize_settings(frame(search_row(4, 0, math.nan), search_row(4, 1, 10.0)))
    assert (summary.completed, summary.valid_accuracy.n, summary.best_accuracy) == (2, 1, 10.0)
    (summary,) = summarize_settings(frame(search_row(4, 0, math.nan)))
    assert summary.completed == 1 and summary.best_genotype is None


def test_stopped_searches_do_not_count():
    stopped = search_row(4, 0, 99.0) | {"status": "stopped"}
    (summary,) = summarize_settings(frame(stopped, search_row(4, 1, 80.0)))
    assert (summary.stopped, summary.completed, summary.best_accuracy) == (1, 1, 80.0)
    assert rank_searches(frame(stopped)).empty


def test_nothing_at_all():
    assert summarize_settings(frame()) == []
    assert isinstance(rank_searches(frame()), pd.DataFrame)


def test_natural_order():
    assert sorted(["k=16", "k=2", "k=4, x=10", "k=4, x=9", "a"], key=natural_key) == [
        "a", "k=2", "k=4, x=9", "k=4, x=10", "k=16",
    ]  # fmt: skip
