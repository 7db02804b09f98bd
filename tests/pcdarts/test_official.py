"""The official state-dict layout: a round trip, errors, and the official code itself where a checkout is given."""

import importlib
import sys

import pytest
import torch
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.fast_supernet import FastSupernet
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
    with pytest.raises(ValueError, match="no such space"):
        to_official(make(space="s2"))


FIGURES = {
    "cifar": [
        1.9238262110850037,
        0.2272122557267948,
        0.22469475294921037,
        0.3474168601015683,
        0.4715625879064862,
        15.322475352896186,
    ],
    "imagenet": [
        1.794768612376525,
        0.4919434694998511,
        0.2874721517965422,
        0.9681423260803996,
        0.3520944637584838,
        62.42529321537889,
    ],
}
"""Loss, norms of the gradients of both alphas and both betas, and of all weights, as the official code gave them."""


def closed_form(shape, offset):
    """Values that need no generator: 0.3 sin(1 + offset), 0.3 sin(2 + offset), ..."""
    count = torch.Size(shape).numel()
    return 0.3 * torch.sin(torch.arange(1, count + 1, dtype=torch.float64) + offset).view(shape)


@pytest.mark.parametrize("implementation", [Supernet, FastSupernet])
@pytest.mark.parametrize(("stem", "k", "size"), [("cifar", 4, 12), ("imagenet", 2, 64)])
def test_figures_that_the_official_code_gave(stem, k, size, implementation):
    config = SearchConfig(channels=8, layers=3, k=k, stem=stem)
    supernet = implementation(config, 5, generator=torch.Generator()).double()
    state, arch = to_official(supernet)
    weights = sorted(name for name in state if name.endswith(("weight", "bias")))
    for offset, name in enumerate([*weights, *sorted(arch)]):
        values = state if name in state else arch
        values[name] = closed_form(values[name].shape, offset)
    supernet.load_state_dict(supernet_from_official(state, arch).state_dict())
    loss = functional.cross_entropy(supernet(closed_form((3, 3, size, size), 0.5)), torch.arange(3))
    loss.backward()
    gradients = [p.grad.norm() for _, p in sorted(supernet.architecture.named_parameters())]
    gradients.append(torch.stack([p.grad.norm() for p in supernet.weights().values()]).norm())
    assert [loss.item(), *(norm.item() for norm in gradients)] == pytest.approx(FIGURES[stem], rel=1e-9)


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
