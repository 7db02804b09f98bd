"""The moving average of a network's weights."""

import pytest
import torch

from pcdarts.training.kept_weights import Averager


def test_the_moving_average_by_hand():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = Averager(network, decay=0.25)
    for value in (1.0, 2.0):
        torch.nn.init.constant_(network.weight, value)
        average.update()
    first = 1 - 2 / 11  # the decay ramps up: 2/11, then 3/12
    assert average.network.weight.item() == pytest.approx(0.25 * first + 0.75 * 2)
