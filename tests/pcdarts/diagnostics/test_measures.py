"""Measures of alpha, beta and cells, against closed forms."""

import math

import pytest
import torch
from scipy import stats

from pcdarts.diagnostics.measures import (
    alpha_margin,
    beta_entropy,
    depth,
    edge_margin,
    kendall_tau,
    kept_edges,
    norm,
    time_columns,
    width,
)
from pcdarts.genotype import PRIMITIVES, PUBLISHED
from pcdarts.spaces import SPACES

CHAIN = [("skip_connect", s) for s in (0, 1, 0, 2, 0, 3, 0, 4)]
FLAT = [("sep_conv_3x3", s) for s in (0, 1) * 4]
SKIP, SEP = PRIMITIVES.index("skip_connect"), PRIMITIVES.index("sep_conv_3x3")


def test_depth_and_width():
    assert (depth(CHAIN), depth(FLAT), depth(PUBLISHED["DARTS_V2"].normal)) == (4, 1, 2)
    assert (width(CHAIN), width(FLAT), width(PUBLISHED["DARTS_V2"].normal)) == (2.5, 4.0, 3.5)


def test_kept_edges_stand_in_the_order_of_the_14_edges():
    assert kept_edges(FLAT) == [0, 1, 2, 3, 5, 6, 9, 10]
    assert kept_edges(CHAIN) == [0, 1, 2, 4, 5, 8, 9, 13]


def test_alpha_margin_is_the_lead_over_the_next_operation_that_is_not_none():
    weights = torch.zeros(14, 8)
    weights[:, 0], weights[:, SEP], weights[:, SKIP] = 0.5, 0.3, 0.1
    assert alpha_margin(weights, FLAT, SPACES["darts"].normal) == pytest.approx(0.2)
    weights[0, SKIP] = 0.3  # a tie on one of eight edges
    assert alpha_margin(weights, FLAT, SPACES["darts"].normal) == pytest.approx(0.2 * 7 / 8)


def test_an_operation_without_a_rival_leads_by_its_whole_weight():
    names = (("none", "sep_conv_3x3"),) * 14
    assert alpha_margin(torch.tensor([[0.6, 0.4]]).expand(14, 2), FLAT, names) == pytest.approx(0.4)


def test_edge_margin_is_the_lead_of_the_worst_kept_edge_over_the_best_dropped_one():
    scores = torch.zeros(14, 8)
    scores[:, 0] = 1  # none does not count
    scores[kept_edges(FLAT), SEP] = 0.5
    scores[[4, 7, 8, 11, 12, 13], SKIP] = torch.tensor([0.5, 0.1, 0.2, 0.0, 0.0, 0.1])
    assert edge_margin(scores, FLAT, SPACES["darts"].normal) == pytest.approx((0 + 0.3 + 0.4) / 3)


def test_beta_entropy_of_equal_and_of_single_edges():
    equal = torch.cat([torch.full((n,), 1 / n) for n in (2, 3, 4, 5)])
    assert beta_entropy(equal) == pytest.approx(1)
    single = torch.zeros(14)
    single[[0, 2, 5, 9]] = 1
    assert beta_entropy(single) == 0


def test_kendall_tau_b():
    a = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, 2, 4], [1, 1, 1, 1], [math.nan, 1, 2, 3]])
    b = torch.tensor([[2.0, 3, 5, 9], [9, 5, 3, 2], [1, 3, 2, 2], [1, 2, 3, 4], [1, 2, 3, 4]])
    found = kendall_tau(a, b)
    assert found[:2].tolist() == [1, -1]
    assert float(found[2]) == pytest.approx(stats.kendalltau(a[2], b[2]).statistic)
    assert found[3:].isnan().all()
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(4, (20, 8), generator=generator).double() for _ in range(2))
    expected = [stats.kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert kendall_tau(a, b).tolist() == pytest.approx(expected)


def test_norm_is_that_of_all_values_together():
    assert norm([torch.tensor([[3.0]]), torch.tensor([0.0, 4.0])]) == 5


def test_images_per_second_counts_training_alone():
    columns = time_columns({"data": 1.0, "weights": 2.0, "validation": 5.0}, 6)
    assert columns == {
        "seconds_data": 1.0,
        "seconds_weights": 2.0,
        "seconds_alpha": 0.0,
        "seconds_validation": 5.0,
        "seconds_metrics": 0.0,
        "images_per_second": 2.0,
    }
