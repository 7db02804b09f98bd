"""The discretized network against one of its parts, and its running statistics estimated again."""

import dataclasses

import pytest
import torch

from pcdarts.diagnostics.discretization import (
    RANDOM_CELLS,
    discrete_mixtures,
    discretization_columns,
    discretized,
    kept_statistics,
    recalibrate,
)
from pcdarts.diagnostics.measures import kept_edges
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.genotype import Genotype
from pcdarts.presets import smoke
from pcdarts.search import SearchState
from pcdarts.spaces import EDGES_INTO, SPACES, random_genotype
from pcdarts.supernet import Supernet, softmax_into_nodes
from pcdarts.training.device import seeded_generator
from pcdarts.training.evaluation import evaluate
from tests.pcdarts.diagnostics.test_eigenvalue import batch, make

FLAT = Genotype([("sep_conv_3x3", s) for s in (0, 1) * 4], range(2, 6), [("skip_connect", s) for s in (0, 1) * 4], [2])


def test_only_kept_edges_and_chosen_operations_have_weight():
    supernet = make()
    operations, edges = discrete_mixtures(supernet, FLAT)[False]
    kept = kept_edges(FLAT.normal)
    only = [None] * 4 + [1.0] + [None] * 3  # the fifth primitive is sep_conv_3x3
    assert operations == [only if e in kept else [None] * 8 for e in range(14)]
    betas = softmax_into_nodes(supernet.architecture.betas_normal.detach())
    for into in EDGES_INTO:
        first, second, *dropped = into
        assert float(edges[first] / edges[second]) == pytest.approx(float(betas[first] / betas[second]))
        assert float(edges[first] + edges[second]) == pytest.approx(1)
        assert [edges[e] for e in dropped] == [None] * len(dropped)


def test_without_edge_normalization_kept_edges_are_added_up():
    _, edges = discrete_mixtures(make(edge_normalization=False), FLAT)[True]
    assert edges == [1.0 if e in kept_edges(FLAT.reduce) else None for e in range(14)]


@pytest.mark.parametrize("values", [{}, {"k": 1}, {"side_operation": "conv_1x1", "channel_sampling": "fixed"}], ids=str)
def test_the_discretized_network_is_the_mixture_with_weights_of_one_and_zero(values):
    supernet = make(FastSupernet, **values)
    supernet(batch(2)[0])  # running statistics that are not the initial ones
    supernet.eval()

    def zeros(weights):
        return torch.stack([torch.zeros((), dtype=torch.float64) if w is None else w for w in weights])

    mixtures = discrete_mixtures(supernet, FLAT)
    full = {r: (torch.stack([zeros(row) for row in rows]), zeros(edges)) for r, (rows, edges) in mixtures.items()}
    with torch.no_grad():
        with supernet.mixed_by(full):
            expected = supernet(batch()[0])
        with discretized(supernet, FLAT):
            assert torch.allclose(supernet(batch()[0]), expected, rtol=0, atol=1e-9)


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


def state_of(supernet):
    tensors = {name: value.clone() for name, value in supernet.state_dict().items()}
    return tensors, supernet.generator.get_state(), supernet.training, supernet.drop_path, supernet.stem[1].momentum


def assert_same_state(supernet, before):
    after = state_of(supernet)
    assert after[2:] == before[2:] and torch.equal(after[1], before[1])
    assert all(torch.equal(value, before[0][name]) for name, value in after[0].items())


@pytest.mark.parametrize("implementation", [FastSupernet, Supernet])
def test_recalibrated_statistics_are_means_over_the_batches(implementation):
    supernet = make(implementation).eval()
    supernet.drop_path = 0.5
    before, batches = state_of(supernet), [batch(seed) for seed in (1, 2)]
    with kept_statistics(supernet), discretized(supernet, FLAT):
        recalibrate(supernet, batches)
        norm = supernet.stem[1]
        with torch.no_grad():
            outputs = [supernet.stem[0](images) for images, _ in batches]
        means, variances = (
            torch.stack([f(x) for x in outputs]).mean(dim=0)
            for f in (lambda x: x.mean(dim=(0, 2, 3)), lambda x: x.transpose(0, 1).flatten(1).var(dim=1))
        )
        assert torch.allclose(norm.running_mean, means) and torch.allclose(norm.running_var, variances)
        edge = supernet.cells[0].edges[0]  # kept with a separable convolution
        assert edge.operations[4][0][3].num_batches_tracked == 2 and edge.operations[5][0][3].num_batches_tracked == 0
    assert_same_state(supernet, before)


def test_a_compiled_super_network_is_not_compiled_for_every_cell():
    supernet, graphs = make(), []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    supernet.compile(backend=count)
    with torch.no_grad(), discretized(supernet, FLAT):
        supernet(batch()[0])
    assert graphs == []


@pytest.mark.parametrize("values", [{}, {"channel_sampling": "random"}, {"space": "s4"}], ids=str)
def test_the_columns_are_measured_without_a_trace(values):
    config = dataclasses.replace(smoke(), max_images=100, train_portion=0.4, **values)
    state = SearchState(config)
    supernet, cell = state.supernet, random_genotype(SPACES[config.space], 99)
    before = state_of(supernet)
    columns, again = (
        discretization_columns(config, supernet, (state.train, state.valid), cell, 70.0) for _ in range(2)
    )
    assert columns == again
    assert_same_state(supernet, before)
    assert columns["discretization_gap"] == 70 - columns["discretized_accuracy"]
    if values:
        return
    generator = seeded_generator(config.seed, "discretization")
    seeds = torch.randint(2**31, (RANDOM_CELLS,), generator=generator).tolist()
    accuracies = []
    for one in [cell, *(random_genotype(SPACES["darts"], seed) for seed in seeds)]:
        with kept_statistics(supernet), discretized(supernet, one):
            recalibrate(supernet, state.train.in_order(40, torch.arange(39, -1, -1)))
            accuracies.append(evaluate(supernet, state.valid.in_order(60), state.device).accuracy)
    assert columns["discretized_accuracy_recalibrated"] == accuracies[0]
    assert columns["random_cells_accuracy_recalibrated"] == pytest.approx(sum(accuracies[1:]) / 8)
