"""Loading the official network from a checkout."""

import sys

import pytest
from torch import nn

from pcdarts.selftest.official_code import cuda_calls_do_nothing, official_supernet

SOURCE = """
from torch import nn
class Network(nn.Linear):
    def __init__(self, channels, classes, layers, criterion):
        super().__init__(channels, classes)
        self.layers, self.criterion = layers, criterion.cuda()
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "model_search.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "model_search", raising=False)
    yield tmp_path
    sys.modules.pop("model_search", None)


def test_the_official_network_is_made_without_a_gpu(checkout):
    network = official_supernet(checkout, channels=4, classes=3, layers=2)
    assert (network.in_features, network.out_features, network.layers) == (4, 3, 2)
    assert isinstance(network.criterion, nn.CrossEntropyLoss)


def test_cuda_does_nothing_only_inside():
    before, layer = nn.Module.cuda, nn.Linear(1, 1)
    with cuda_calls_do_nothing():
        assert layer.cuda() is layer
    assert nn.Module.cuda is before
