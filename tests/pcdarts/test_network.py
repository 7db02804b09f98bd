"""The discrete network: counts of the papers' networks, drop-path, auxiliary heads, ways to compute a pass."""

import copy
import dataclasses

import pytest
import torch

from pcdarts.complexity import count_macs, count_parameters
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.network import AuxiliaryHead, CellNetwork, NetworkCell, _compiled, leaves_inputs_unused

CIFAR = {"channels": 36, "layers": 20, "classes": 10, "stem": "cifar"}
IMAGENET = {"channels": 48, "layers": 14, "classes": 1000, "stem": "imagenet"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Layers this small lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(genotype="PC_DARTS_cifar", seed=0, **values):
    sizes = {"channels": 4, "layers": 3, "classes": 5} | values
    return CellNetwork(PUBLISHED[genotype], **sizes, generator=seeded(seed))


def images(size, count=2):
    return torch.randn(count, 3, size, size, generator=seeded(1))


@pytest.mark.parametrize(
    ("genotype", "sizes", "parameters", "with_auxiliary"),
    [
        ("PC_DARTS_cifar", CIFAR, 3_634_678, 4_111_104),
        ("PC_DARTS_image", IMAGENET, 5_342_464, 6_603_240),
        ("PC_DARTS_cifar", IMAGENET, 5_270_560, 6_531_336),
        ("DARTS_V2", CIFAR, 3_349_342, None),
        ("DARTS_V2", IMAGENET, 4_718_752, None),
        ("NASNet", CIFAR, 3_830_950, 4_288_944),
        ("NASNet", IMAGENET, 5_564_320, 6_800_520),
        ("AmoebaNet", CIFAR, 3_145_078, 3_603_072),
        ("AmoebaNet", IMAGENET, 4_627_360, 5_863_560),
    ],
)
def test_parameter_counts_of_the_official_networks(genotype, sizes, parameters, with_auxiliary):
    with torch.device("meta"):
        assert count_parameters(CellNetwork(PUBLISHED[genotype], **sizes)) == parameters
        if with_auxiliary:
            assert count_parameters(CellNetwork(PUBLISHED[genotype], **sizes, auxiliary=True)) == with_auxiliary


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("genotype", PUBLISHED)
def test_every_published_cell_trains_at_even_and_odd_sizes(genotype, stem):
    network = make(genotype, stem=stem)
    for size in (8, 9) if stem == "cifar" else (64, 71):
        logits = network(images(size))
        assert logits.shape == (2, 5)
    logits[:, 0].sum().backward()
    first, last = next(network.stem.parameters()), network.classifier.weight
    assert first.grad.abs().sum() > 0 and last.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("genotype", "nodes"),
    [
        ("AmoebaNet", [(4, 5, 6), (3, 4, 6), (3, 4, 6), (4, 5, 6)]),
        ("NASNet", [(2, 3, 4, 5, 6), (4, 5, 6), (4, 5, 6), (2, 3, 4, 5, 6)]),
    ],
)
def test_a_cell_concatenates_the_nodes_it_names(genotype, nodes):
    network = make(genotype, layers=4)
    assert [cell.concat for cell in network.cells] == nodes
    assert network.classifier.in_features == len(nodes[-1]) * 4 * 4


def test_the_generator_alone_decides_the_weights():
    torch.manual_seed(1)
    first = make(seed=5).state_dict()
    torch.manual_seed(2)
    second, other = make(seed=5).state_dict(), make(seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_drop_path_spares_identities():
    skips = Genotype([("skip_connect", 0), ("skip_connect", 1)], [2], [("skip_connect", 0), ("skip_connect", 1)], [2])
    x = torch.randn(8, 4, 6, 6, generator=seeded())
    normal = NetworkCell(skips, (4, 4), 4, reduction=False, reduction_before=False)
    reduction = NetworkCell(skips, (4, 4), 4, reduction=True, reduction_before=False)  # its skips have weights
    assert (normal.droppable, reduction.droppable) == (0, 2)
    kept = torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1]).view(8, 1, 1, 1)
    dropped = reduction(x, x, [kept, kept])
    assert (dropped[0] == 0).all() and torch.equal(dropped[1:], reduction(x, x)[1:])


def test_drop_path_is_for_training_and_draws_from_the_generator():
    network, x = make(), images(8)
    network.drop_path = 0.5
    draws = [network(x) for _ in range(2)]
    again = make()
    again.drop_path = 0.5
    assert not torch.equal(*draws) and torch.equal(again(x), draws[0])
    network.eval()
    dropping = network(x)
    network.drop_path = 0.0
    assert torch.equal(network(x), dropping)


def test_a_network_of_noise_runs_draws_from_the_generator_and_can_be_counted():
    noise = Genotype([("noise", 0), ("sep_conv_3x3", 1)], [2], [("noise", 0), ("noise", 1)], [2])
    networks = [CellNetwork(noise, channels=4, layers=3, classes=5, generator=seeded()).eval() for _ in range(2)]
    first, second = networks[0](images(2)), networks[0](images(2))
    assert not torch.equal(first, second) and torch.equal(networks[1](images(2)), first)
    assert count_macs(networks[0], (3, 16, 16)) > 0


def test_drop_path_without_a_generator_is_refused():
    network = CellNetwork(PUBLISHED["DARTS_V2"], channels=4, layers=3, classes=5)
    network.drop_path = 0.5
    with pytest.raises(ValueError, match="drop_path is 0.5, but needs a generator"):
        network(images(8))


@pytest.mark.parametrize("layers", [3, 5])
def test_the_auxiliary_head_speaks_in_training_only(layers):
    network = make(auxiliary=True, layers=layers)
    logits, auxiliary = network.forward_with_auxiliary(images(32))
    assert auxiliary.shape == (2, 5) and torch.equal(network(images(32)), logits)
    auxiliary.sum().backward()
    assert network.auxiliary_head[2].weight.grad is not None and network.cells[0].preprocess1[1].weight.grad is not None
    assert network.classifier.weight.grad is None
    assert network.eval().forward_with_auxiliary(images(32))[1] is None
    assert make().forward_with_auxiliary(images(8))[1] is None


@pytest.mark.parametrize(("stem", "smallest"), [("cifar", 8), ("imagenet", 7)])
def test_the_auxiliary_head_needs_a_map_of_the_official_size_or_larger(stem, smallest):
    head = AuxiliaryHead(4, 5, stem)
    assert head(torch.zeros(2, 4, smallest, smallest)).shape == (2, 5)
    assert head(torch.zeros(2, 4, 2 * smallest, smallest + 1)).shape == (2, 5)
    with pytest.raises(ValueError, match=f"at least {smallest} x {smallest}; set auxiliary_weight to 0"):
        head(torch.zeros(2, 4, smallest, smallest - 1))


def test_the_official_imagenet_network_trains_with_its_auxiliary_head():
    with torch.device("meta"):
        network = CellNetwork(PUBLISHED["PC_DARTS_image"], **{**IMAGENET, "channels": 4}, auxiliary=True)
        logits, auxiliary = network.forward_with_auxiliary(torch.zeros(2, 3, 224, 224))
    assert logits.shape == auxiliary.shape == (2, 1000)


NOISY = Genotype([("noise", 0), ("sep_conv_3x3", 1)], [2], [("skip_connect", 0), ("sep_conv_3x3", 1)], [2])


def train_two_steps(network, auxiliary=False):
    """Two SGD steps: the losses, then weights, running statistics and gradients, then the generator's state."""
    network.drop_path = 0.4
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        logits, middle = network.forward_with_auxiliary(images(32, count=4))
        loss = logits.square().mean() + (middle.square().mean() if middle is not None else 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    gradients = {f"{name}.grad": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {"losses": torch.stack(losses), **network.state_dict(), **gradients, "draws": network.generator.get_state()}


@pytest.mark.parametrize(
    ("genotype", "values"),
    [(PUBLISHED["PC_DARTS_cifar"], {"auxiliary": True}), (PUBLISHED["AmoebaNet"], {"layers": 4}), (NOISY, {})],
    ids=["PC_DARTS_cifar", "AmoebaNet", "noise"],
)
def test_recomputed_activations_give_the_same_training_to_the_bit(genotype, values):
    sizes = {"channels": 4, "layers": 3, "classes": 5} | values
    plain, sparing = (CellNetwork(genotype, **sizes, generator=seeded()) for _ in range(2))
    sparing.checkpoint_activations = True
    expected, actual = train_two_steps(plain), train_two_steps(sparing)
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name
    assert torch.equal(sparing.eval()(images(8)), plain.eval()(images(8)))


def test_recomputed_activations_are_not_kept():
    def kept(checkpointing):
        network, count = make(layers=5), 0
        network.checkpoint_activations = checkpointing

        def pack(tensor):
            nonlocal count
            count += tensor.numel() if tensor.ndim == 4 else 0
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(images(16))
        return count

    assert kept(True) < kept(False) / 5


def test_channels_last_is_a_layout_and_changes_no_result():
    plain, network = make().double(), make().double().to_channels_last()
    layouts = []
    network.cells[1].register_forward_hook(lambda cell, given, output: layouts.append(output))
    x = images(8, count=4).double()
    assert torch.allclose(network(x), plain(x), rtol=1e-12)
    assert network.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert layouts[0].is_contiguous(memory_format=torch.channels_last) and not layouts[0].is_contiguous()


@pytest.mark.slow
def test_a_compiled_network_is_one_graph_and_gives_the_same(monkeypatch):
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: whole(function, backend="eager", fullgraph=True))
    _compiled.cache_clear()
    try:
        plain, network = make(auxiliary=True), make(auxiliary=True)
        network.compiled = True
        expected, actual = train_two_steps(plain), train_two_steps(network)
        for name, value in expected.items():
            assert torch.allclose(actual[name], value, rtol=1e-4, atol=1e-6), name
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.classifier.weight.zero_()
            other.cells[0].preprocess0[1].weight.zero_()
        x = images(32)
        assert torch.equal(network.eval()(x), plain.load_state_dict(network.state_dict()) and plain.eval()(x))
        assert torch.equal(other.eval()(x), other.classifier.bias.expand(2, 5))
    finally:
        _compiled.cache_clear()


def test_cells_with_an_unused_input():
    cell = PUBLISHED["PC_DARTS_image"]
    assert not leaves_inputs_unused(cell)
    assert leaves_inputs_unused(dataclasses.replace(cell, normal=(("skip_connect", 1),) * 8))
