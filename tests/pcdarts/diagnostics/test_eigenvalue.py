"""Stability of a search: the eigenvalue against the full Hessian, the discretized network against one of its parts."""

import math

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.diagnostics.eigenvalue import discrete_mixtures, discretized, dominant_eigenvalue
from pcdarts.diagnostics.measures import kept_edges
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.genotype import Genotype
from pcdarts.supernet import EDGES_INTO, Supernet, derive_genotype, softmax_into_nodes

FLAT = Genotype([("sep_conv_3x3", s) for s in (0, 1) * 4], range(2, 6), [("skip_connect", s) for s in (0, 1) * 4], [2])


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


def test_only_kept_edges_and_chosen_operations_have_weight():
    supernet = make()
    operations, edges = discrete_mixtures(supernet, FLAT)[False]
    kept = kept_edges(FLAT.normal)
    assert operations.sum(1).tolist() == [float(e in kept) for e in range(14)]
    assert operations[kept, 4].tolist() == [1.0] * 8
    betas = softmax_into_nodes(supernet.architecture.betas_normal.detach())
    for into in EDGES_INTO:
        first, second, *dropped = into
        assert float(edges[first] / edges[second]) == pytest.approx(float(betas[first] / betas[second]))
        assert float(edges[first] + edges[second]) == pytest.approx(1)
        assert not edges[dropped].any()


def test_without_edge_normalization_kept_edges_are_added_up():
    _, edges = discrete_mixtures(make(edge_normalization=False), FLAT)[True]
    assert edges.tolist() == [float(e in kept_edges(FLAT.reduce)) for e in range(14)]


@pytest.mark.parametrize("values", [{}, {"k": 1}, {"side_operation": "conv_1x1", "channel_sampling": "fixed"}], ids=str)
def test_both_implementations_agree_on_the_discretized_network(values):
    outputs = []
    for implementation in (Supernet, FastSupernet):
        supernet = make(implementation, **values)
        supernet(batch(2)[0])  # running statistics that are not the initial ones
        with torch.no_grad(), discretized(supernet.eval(), FLAT):
            outputs.append(supernet(batch()[0]))
    assert torch.allclose(*outputs, rtol=0, atol=1e-9)


def test_what_is_dropped_has_no_influence_and_what_is_kept_has():
    supernet = make().eval()
    images = batch()[0]

    def outputs():
        with torch.no_grad(), discretized(supernet, FLAT):
            return supernet(images)

    before = outputs()
    edge = supernet.cells[0].edges[0]
    with torch.no_grad():
        for weight in supernet.cells[0].edges[4].parameters():  # a dropped edge
            weight.fill_(1e3)
        for weight in edge.operations[5].parameters():  # another operation of a kept edge
            weight.fill_(1e3)
    assert torch.equal(outputs(), before)
    with torch.no_grad():
        for weight in edge.operations[4].parameters():
            weight.mul_(2)
    assert not torch.equal(outputs(), before)
    with torch.no_grad():
        assert not torch.equal(supernet(images), before)  # outside the context it is itself again


def test_the_eigenvalue_is_that_of_the_whole_network_whatever_paths_training_drops():
    plain, dropping = make(), make()
    dropping.drop_path = 0.5
    assert measure(plain, tolerance=0.1) == measure(dropping, tolerance=0.1)
    assert dropping.drop_path == 0.5
