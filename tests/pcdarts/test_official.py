"""The official state-dict layout: a round trip, errors, and the official code itself where a checkout is given."""

import importlib
import sys

import pytest
import torch
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.official import supernet_from_official, to_official
from pcdarts.supernet import Supernet


def make(**values):
    config = SearchConfig(**({"channels": 4, "layers": 3, "k": 2} | values))
    return Supernet(config, 5, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("values", [{}, {"k": 4, "layers": 4}, {"stem": "imagenet"}, {"k": 1, "channels": 8}])
def test_a_round_trip_gives_the_same_network_with_sizes_read_off_the_shapes(values):
    supernet = make(**values)
    again = supernet_from_official(*to_official(supernet))
    state = again.state_dict()
    for name, value in supernet.state_dict().items():
        assert torch.equal(state[name], value), name
    size = 64 if values.get("stem") == "imagenet" else 8
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.eval()(images), supernet.eval()(images))


def test_the_layout_is_the_official_one():
    state, arch = to_official(make())
    assert "cells.0._ops.5._ops.5.op.1.weight" in state and "cells.1.preprocess0.op.1.weight" in state
    assert set(arch) == {"alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce"}


def test_missing_unexpected_and_misshapen_keys_are_listed():
    state, arch = to_official(make())
    del state["cells.0._ops.5._ops.5.op.1.weight"]
    state["extra"] = torch.zeros(1)
    arch["betas_normal"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"missing: cells\.0\._ops\.5.*unexpected: extra.*misshapen: betas_normal"):
        supernet_from_official(state, arch)
    with pytest.raises(ValueError, match="not an official state dict"):
        supernet_from_official({}, {})


def test_options_that_the_official_code_lacks_are_refused():
    with pytest.raises(ValueError, match="spatial_stride"):
        to_official(make(spatial_stride=2))


def test_the_official_code_computes_the_same(request, monkeypatch):
    folder = request.config.getoption("--official")
    if not folder:
        pytest.skip("needs a checkout of the official code: --official DIR")
    monkeypatch.syspath_prepend(folder)
    for kind in (torch.Tensor, torch.nn.Module):
        monkeypatch.setattr(kind, "cuda", lambda self, *a, **k: self)
    official = importlib.import_module("model_search")
    try:
        ours = make(channels=16, layers=3, k=4)
        theirs = official.Network(16, 5, 3, torch.nn.CrossEntropyLoss()).double()
        state, arch = to_official(ours)
        theirs.load_state_dict(state)
        for name, value in arch.items():
            getattr(theirs, name).data = value
        generator = torch.Generator().manual_seed(2)
        images = torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=generator)
        labels = torch.randint(5, (4,), generator=generator)
        losses = [functional.cross_entropy(network(images), labels) for network in (ours, theirs)]
        for loss in losses:
            loss.backward()
        assert torch.allclose(*losses, rtol=1e-9, atol=0)
        for name in arch:
            expected, actual = getattr(theirs, name).grad, getattr(ours.architecture, name).grad
            assert (actual - expected).abs().max() <= 1e-9 * expected.abs().max(), name
        state, _ = to_official(ours)
        for name, value in theirs.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-9, atol=1e-12), name  # running statistics
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), rtol=1e-9)
    finally:
        for name in ("model_search", "operations", "genotypes"):
            sys.modules.pop(name, None)
