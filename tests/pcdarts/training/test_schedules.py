"""Learning rates in closed form."""

import math
from itertools import pairwise

import pytest
import torch

from pcdarts.training.schedules import cosine_rate, learning_rate_on, linear_rate, set_learning_rate, warmup_rate


def test_cosine_rate():
    assert [cosine_rate(epoch, 4, 1.0) for epoch in range(4)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert cosine_rate(4, 4, 1.0, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("epochs", "shares"),
    [
        (1, [1]),
        (4, [1, 0.75, 0.5, 0.25]),
        (5, [1, 0.8, 0.6, 0.4, 0.2]),
        (6, [1, 1, 0.8, 0.6, 0.4, 0.2]),
        (9, [1, 0.75, 0.5, 0.25, 0.25, 0.2, 0.15, 0.1, 0.05]),
    ],
)
def test_linear_rate(epochs, shares):
    assert [linear_rate(epoch, epochs, 0.5) for epoch in range(epochs)] == pytest.approx([0.5 * s for s in shares])


def test_linear_rate_of_the_official_retraining():
    rates = [linear_rate(epoch, 250, 0.5) for epoch in range(250)]
    steps = [before - after for before, after in pairwise(rates)]
    assert steps[:244] == pytest.approx([0.5 / 245] * 244)
    assert rates[244] == pytest.approx(rates[245]) == pytest.approx(0.5 / 245)  # the official code pauses here
    assert [*steps[245:], rates[-1]] == pytest.approx([0.1 / 245] * 5)


def test_warmup_rate():
    assert [warmup_rate(epoch, 4, 2.0) for epoch in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_a_learning_rate_is_a_number_on_a_cpu():
    assert learning_rate_on(torch.device("cpu"), 0.1) == 0.1
    assert type(learning_rate_on(torch.device("meta"), 0.1)) is float


def test_a_number_is_replaced_and_a_tensor_filled_in_place():
    rate, groups = torch.tensor(0.5), [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    optimizer.param_groups[1]["lr"] = rate
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[1]["lr"] is rate and rate.item() == 0.25
