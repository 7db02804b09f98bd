"""Learning rates in closed form."""

import math
from itertools import pairwise

import pytest

from pcdarts.training.schedules import cosine_rate, linear_rate, warmup_rate


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
