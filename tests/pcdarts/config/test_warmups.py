"""Warm-ups for another number of epochs."""

import pytest

from pcdarts.config import RetrainConfig, scaled_warmups
from pcdarts.presets import cifar10, imagenet, retrain_imagenet


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, 0), (2, 1), (10, 3), (25, 8), (49, None), (50, None), (75, None), (150, None)]
)
def test_fewer_epochs_keep_the_share_and_more_keep_the_length(epochs, expected):
    assert scaled_warmups(vars(cifar10()), epochs) == ({} if expected is None else {"warmup_epochs": expected})


def test_both_warm_ups_are_scaled():
    assert scaled_warmups(vars(imagenet()), 10) == {"warmup_epochs": 7, "learning_rate_warmup_epochs": 1}
    assert scaled_warmups(vars(retrain_imagenet()), 50) == {"learning_rate_warmup_epochs": 1}
    assert scaled_warmups(vars(RetrainConfig()), 1) == {}
