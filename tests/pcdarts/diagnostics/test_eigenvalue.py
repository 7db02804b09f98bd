"""The dominant eigenvalue against the full Hessian, and over several batches."""

import math

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.diagnostics import eigenvalue
from pcdarts.diagnostics.eigenvalue import dominant_eigenvalue
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.supernet import Supernet, derive_genotype


def make(implementation=Supernet, scale=100.0, **values):
    config = SearchConfig(**{"dataset": "synthetic", "channels": 2, "layers": 3, "k": 2, **values})
    supernet = implementation(config, 3, 1, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in supernet.architecture.parameters():
            parameter.mul_(scale)  # far from uniform
    return supernet


def batch(seed=1, count=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (count,), generator=generator)


def measure(supernet, tolerance=1e-10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dominant_eigenvalue(supernet, *batch(), tolerance=tolerance, generator=generator)


def full_hessian(supernet):
    """The Hessian of the loss in all alphas (224, 224)."""
    images, labels = batch()
    names = ("architecture.alphas_normal", "architecture.alphas_reduce")
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    parameters = dict(supernet.named_parameters())

    def loss(flat):
        split = {name: part.view(14, 8) for name, part in zip(names, flat.split(112), strict=True)}
        return functional.cross_entropy(functional_call(supernet, {**buffers, **split}, (images,)), labels)

    flat = torch.cat([parameters[name].detach().flatten() for name in names]).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(flat), flat, create_graph=True)
    return torch.autograd.grad(gradient, flat, torch.eye(224, dtype=torch.float64), is_grads_batched=True)[0]


@pytest.mark.slow
@pytest.mark.parametrize("values", [{}, {"k": 1, "edge_normalization": False}], ids=str)
def test_it_is_the_largest_eigenvalue_of_the_full_hessian(values):
    supernet = make(**values)
    hessian = full_hessian(supernet)
    assert torch.allclose(hessian, hessian.t(), atol=1e-10)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert largest > 1e-3
    assert measure(supernet) == pytest.approx(largest, rel=1e-6)
    assert measure(supernet, tolerance=1e-2, seed=5) == pytest.approx(largest, rel=2e-2)


def test_the_fast_super_network_has_the_same_eigenvalue():
    assert measure(make(FastSupernet)) == pytest.approx(measure(make()), rel=1e-9)


@pytest.mark.parametrize("values", [pytest.param({}, marks=pytest.mark.slow), {"channel_sampling": "random"}], ids=str)
def test_measuring_leaves_no_trace_and_repeats(values):
    supernet = make(FastSupernet, **values).eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    state = supernet.generator.get_state()
    assert measure(supernet) == measure(supernet)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert torch.equal(supernet.generator.get_state(), state)
    assert not supernet.training and all(p.grad is None for p in supernet.parameters())
    assert all(cell.fast for cell in supernet.cells)


def test_weights_or_alphas_that_are_not_finite_give_nan():
    supernet = make()
    with torch.no_grad():
        supernet.architecture.alphas_normal[0, 0] = math.nan
    assert math.isnan(measure(supernet))
    genotype = derive_genotype(dict(supernet.architecture.named_parameters()))
    assert len(genotype.normal) == 8


def test_the_eigenvalue_is_that_of_the_whole_network_whatever_paths_training_drops():
    plain, dropping = make(), make()
    dropping.drop_path = 0.5
    assert measure(plain, tolerance=0.1) == measure(dropping, tolerance=0.1)
    assert dropping.drop_path == 0.5


class Batches:
    """Twelve images, the same order in every pass."""

    def epoch(self, batch_size, generator):
        yield from zip(*(part.split(batch_size) for part in batch(count=12)), strict=True)


def test_several_batches_give_the_mean_and_the_sample_standard_deviation(monkeypatch):
    seen = []

    def fake(supernet, images, labels, **options):
        seen.append(images)
        return float(2 ** len(seen))

    monkeypatch.setattr(eigenvalue, "dominant_eigenvalue", fake)
    columns = eigenvalue.eigenvalue_columns(SearchConfig(eigenvalue_batch=4, eigenvalue_batches=3), None, Batches())
    assert columns.pop("eigenvalue_seconds") > 0
    assert columns == pytest.approx({"dominant_eigenvalue": 14 / 3, "dominant_eigenvalue_std": math.sqrt(28 / 3)})
    assert torch.equal(torch.cat(seen), batch(count=12)[0])
    columns = eigenvalue.eigenvalue_columns(SearchConfig(eigenvalue_batch=4), None, Batches())
    assert (columns["dominant_eigenvalue"], columns["dominant_eigenvalue_std"]) == (16, None)
