"""The bench of a part, and the extrapolation of a search."""

import math
from types import SimpleNamespace

import pytest
import torch

from pcdarts.selftest.bench import SMALL, Bench, rows_of, tf32_products
from pcdarts.selftest.steps import extrapolated


def test_a_call_is_warmed_up_and_timed():
    calls = []
    bench = Bench(torch.device("cpu"), SMALL, deadline=math.inf)
    assert bench.seconds(lambda: calls.append(1), warmups=2, repetitions=3) >= 0
    assert len(calls) == 5


def test_rows_are_kept_in_a_file_too(tmp_path):
    bench = Bench(torch.device("cpu"), SMALL, deadline=math.inf, rows_file=tmp_path / "rows")
    bench.add("times", what="a", ms=1.5)
    bench.add("times", what="b", ms=math.inf)
    assert (
        rows_of(tmp_path / "rows")
        == bench.tables
        == {"times": [{"what": "a", "ms": 1.5}, {"what": "b", "ms": math.inf}]}
    )
    assert rows_of(tmp_path / "nothing") == {}


def test_random_numbers_follow_the_seed():
    bench = Bench(torch.device("cpu"), SMALL, deadline=math.inf)
    assert torch.equal(bench.normal(3, seed=1), bench.normal(3, seed=1))
    assert not torch.equal(bench.normal(3, seed=1), bench.normal(3, seed=2))
    assert bench.labels(50).min() >= 0 and bench.labels(50).max() < 10


def test_a_whole_search_is_extrapolated_from_three_epochs():
    def epoch(**fields):
        common = {"seconds_weights": 2.0, "seconds_alpha": 1.0, "seconds_data": 0.5, "seconds_validation": 0.25}
        return SimpleNamespace(**common | {"seconds": 4.0, "eigenvalue_seconds": None, "seconds_metrics": 0.0} | fields)

    last = epoch(seconds_weights=4.0, eigenvalue_seconds=6.0, seconds_metrics=7.0)
    parts = extrapolated([epoch(seconds=9.0), epoch(), last], images=12_500, batch=250)  # half of the official images
    assert parts == pytest.approx(
        {
            "weights": 2 * 50 * 3,
            "alpha": 2 * 35 * 1,
            "data": 2 * 50 * 0.5,
            "validation": 2 * 50 * 0.25,
            "discretized accuracy": 2 * 25 * 1,
            "eigenvalue": 25 * 6,
            "once": 5,
        }
    )


def test_tf32_is_allowed_only_inside():
    with tf32_products(True):
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
