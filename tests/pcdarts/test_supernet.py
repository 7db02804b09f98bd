"""The super-network: counts, partial channels, edge normalization, derived cells."""

import pytest
import torch
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.genotype import PRIMITIVES
from pcdarts.spaces import EDGES_INTO, SPACES
from pcdarts.supernet import MixedEdge, Supernet, channel_shuffle, derive_genotype, softmax_into_nodes


def make(seed=0, classes=10, image_channels=3, **values):
    config = SearchConfig(**({"channels": 4, "layers": 3, "k": 2, "dataset": "synthetic"} | values))
    return Supernet(config, classes, image_channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("k", "count"), [(1, 1_930_618), (2, 671_482), (4, 299_578), (8, 178_042)])
def test_parameter_counts_of_the_official_cifar_supernet(k, count):
    supernet = make(channels=16, layers=8, k=k)
    assert sum(weight.numel() for weight in supernet.weights().values()) == count


def test_parameter_count_of_the_official_imagenet_supernet():
    supernet = make(channels=16, layers=8, k=2, stem="imagenet", classes=1000)
    assert sum(weight.numel() for weight in supernet.weights().values()) == 956_512


def test_alpha_and_beta_are_in_the_state_and_not_among_the_weights():
    supernet = make()
    assert supernet.state_dict()["architecture.alphas_normal"].shape == (14, 8)
    assert supernet.state_dict()["architecture.betas_reduce"].shape == (14,)
    assert not any("architecture" in name for name in supernet.weights())


def test_channel_shuffle_interleaves():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(channel_shuffle(x, 1), x)


def test_softmax_into_nodes_sums_to_one_at_every_node():
    weights = softmax_into_nodes(torch.randn(14, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(torch.stack([weights[list(edges)].sum() for edges in EDGES_INTO]), torch.ones(4))
    assert torch.allclose(softmax_into_nodes(torch.zeros(14))[9:], torch.full((5,), 0.2))


def one_operation(name):
    return torch.tensor([float(primitive == name) for primitive in PRIMITIVES])


def test_bypassed_channels_stay_as_they_are():
    edge = MixedEdge(SearchConfig(channels=4, k=4), channels=4, stride=1)
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    out = edge(x[:, :1], x[:, 1:], one_operation("skip_connect"))
    assert torch.equal(out, x)
    assert torch.equal(edge(x[:, :1], x[:, 1:], one_operation("none"))[:, 0], torch.zeros(2, 5, 5))


def test_bypassed_channels_are_max_pooled_on_a_stride_2_edge():
    edge = MixedEdge(SearchConfig(channels=4, k=2), channels=4, stride=2)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    out = edge(x[:, :2], x[:, 2:], one_operation("none"))
    assert torch.equal(out[:, 2:], functional.max_pool2d(x[:, 2:], 2))


def test_spatial_stride_2_mixes_at_low_resolution():
    edge = MixedEdge(SearchConfig(channels=2, k=1, spatial_stride=2), channels=2, stride=1)
    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    out = edge(x, x[:, 2:], one_operation("skip_connect"))
    pooled = functional.avg_pool2d(x, 2, ceil_mode=True)
    assert torch.equal(out, functional.interpolate(pooled, size=(5, 5)))
    assert torch.allclose(out[:, :, 0, 0], x[:, :, :2, :2].mean(dim=(2, 3)))


def test_the_side_operation_has_weights_of_its_own():
    edge = MixedEdge(SearchConfig(channels=8, k=8, side_operation="conv_1x1"), channels=8, stride=1)
    assert [tuple(p.shape) for p in edge.side.parameters()] == [(7, 7, 1, 1)]
    for name in ("conv_1x1", "conv_1x1_part", "depthwise_3x3"):
        without = MixedEdge(SearchConfig(k=1, side_operation=name), channels=8, stride=1)
        assert without.side_operation == "none" and not list(without.side.parameters())


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "k"), [(1, 4), (2, 4), (1, 2)])
def test_conv_1x1_part_convolves_the_first_quarter_that_bypasses_and_leaves_the_rest(stride, k):
    edge = MixedEdge(SearchConfig(channels=8, k=k, side_operation="conv_1x1_part"), channels=8, stride=stride)
    x, sampled = draw(2, 8, 6, 6), 8 // k
    out = edge(x[:, :sampled], x[:, sampled:], one_operation("none"))[:, sampled:]
    bypassed = functional.max_pool2d(x[:, sampled:], 2) if stride == 2 else x[:, sampled:]
    (weight,) = edge.side.parameters()
    assert weight.shape == (2, 2, 1, 1)
    expected = functional.batch_norm(functional.conv2d(bypassed[:, :2], weight), None, None, training=True)
    assert torch.equal(out[:, :2], expected)
    assert torch.equal(out[:, 2:], bypassed[:, 2:])


def test_depthwise_3x3_convolves_every_bypassed_channel_alone():
    edge = MixedEdge(SearchConfig(channels=8, k=4, side_operation="depthwise_3x3"), channels=8, stride=1)
    x = draw(2, 8, 6, 6)
    out = edge(x[:, :2], x[:, 2:], one_operation("none"))[:, 2:]
    (weight,) = edge.side.parameters()
    assert weight.shape == (6, 1, 3, 3)
    convolved = functional.conv2d(x[:, 2:].relu(), weight, padding=1, groups=6)
    assert torch.equal(out, functional.batch_norm(convolved, None, None, training=True))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"k": 1, "edge_normalization": False},
        {"k": 4, "side_operation": "conv_1x1", "spatial_stride": 2},
        {"side_operation": "conv_1x1_part"},
        {"side_operation": "depthwise_3x3", "space": "s2"},
        {"channel_sampling": "random"},
        {"channel_sampling": "fixed"},
        {"space": "s1"},
        {"space": "s2", "k": 1},
        {"space": "s3"},
        {"space": "s4"},
    ],
)
def test_every_option_runs_forward_and_backward(values, size, stem):
    supernet = make(stem=stem, **values)
    size *= 8 if stem == "imagenet" else 1
    logits = supernet(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    beta = supernet.architecture.betas_normal.grad
    assert (beta is None) == (values.get("edge_normalization") is False)
    unused = [name for name, weight in supernet.weights().items() if weight.grad is None]
    assert not unused


def test_without_edge_normalization_beta_has_no_effect():
    supernet = make(edge_normalization=False).eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = supernet(x)
    supernet.architecture.betas_normal.data.normal_(generator=torch.Generator().manual_seed(2))
    assert torch.equal(supernet(x), before)


def test_random_sampling_draws_anew_from_the_generator():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    supernet = make(channel_sampling="random").eval()
    first, second = supernet(x), supernet(x)
    assert not torch.equal(first, second)
    assert torch.equal(make(channel_sampling="random").eval()(x), first)
    fixed = make(channel_sampling="fixed").eval()
    assert torch.equal(fixed(x), fixed(x))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_out():
    torch.manual_seed(1)
    first = make(seed=5).state_dict()
    torch.manual_seed(2)
    second = make(seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def arch(**values):
    zeros = {f"alphas_{cell}": torch.zeros(14, 8) for cell in ("normal", "reduce")}
    return zeros | {f"betas_{cell}": torch.zeros(14) for cell in ("normal", "reduce")} | values


def test_ties_go_to_the_first_edges_and_operations():
    genotype = derive_genotype(arch())
    assert genotype.normal == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    assert genotype.normal_concat == (2, 3, 4, 5)


def test_none_is_never_chosen_even_where_it_is_the_largest():
    alphas = torch.zeros(14, 8)
    alphas[:, 0] = 9
    alphas[:, 5] = 1
    assert {operation for operation, _ in derive_genotype(arch(alphas_normal=alphas)).normal} == {"sep_conv_5x5"}


def test_beta_decides_between_edges():
    betas = torch.zeros(14)
    betas[[12, 13]] = torch.tensor([1.0, 2.0])
    genotype = derive_genotype(arch(betas_reduce=betas))
    assert genotype.reduce[-2:] == (("max_pool_3x3", 4), ("max_pool_3x3", 3))
    ignored = derive_genotype(arch(betas_reduce=betas), edge_normalization=False)
    assert ignored.reduce[-2:] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))


def test_alpha_times_beta_is_compared_not_alpha():
    alphas, betas = torch.zeros(14, 8), torch.zeros(14)
    alphas[9, 4] = 1.0  # edge 0 -> 5: a strong operation
    betas[9] = -3.0  # on a weak edge
    assert (("sep_conv_3x3", 0)) not in derive_genotype(arch(alphas_normal=alphas, betas_normal=betas)).normal[-2:]
    assert ("sep_conv_3x3", 0) in derive_genotype(arch(alphas_normal=alphas)).normal[-2:]


def test_bf16_autocast_stays_close_and_its_gradients_are_single():
    outcomes = []
    for precision in ("fp32", "bf16"):
        config = SearchConfig(channels=8, layers=3, implementation="reference", precision=precision)
        supernet = Supernet(config, 3, generator=torch.Generator().manual_seed(0))
        images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        logits = supernet(images)
        assert logits.dtype == torch.float32
        logits.square().sum().backward()
        assert all(p.grad.dtype == torch.float32 for p in supernet.parameters())
        outcomes.append(logits.detach())
    assert not torch.equal(*outcomes)
    torch.testing.assert_close(*outcomes, rtol=0, atol=0.1)


def test_the_space_decides_the_columns_of_alpha_and_the_operations_of_every_edge():
    for name, space in SPACES.items():
        state = make(space=name).state_dict()
        assert state["architecture.alphas_reduce"].shape == (14, space.operations_per_edge)
    edges = make(space="s1").cells[0].edges
    kinds = [[type(operation).__name__ for operation in edge.operations] for edge in edges]
    assert kinds[0] == ["Identity", "DilatedConv"] and kinds[5] == ["Sequential", "Identity"]  # a pool and its norm


@pytest.mark.parametrize("space", SPACES)
def test_gradients_flow_to_every_alpha_and_beta_in_every_space(space):
    supernet = make(space=space)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    functional.cross_entropy(supernet(images), torch.arange(4)).backward()
    for name, parameter in supernet.architecture.named_parameters():
        assert parameter.grad.isfinite().all() and (parameter.grad != 0).all(), name


def test_cells_are_named_in_the_space_that_alpha_belongs_to():
    alphas = torch.zeros(14, 2)
    alphas[3, 1] = alphas[5, 0] = 1.0  # edges 1 -> 3 and 0 -> 4
    found = {"alphas_normal": alphas, "alphas_reduce": torch.zeros(14, 2)}
    found |= {f"betas_{cell}": torch.zeros(14) for cell in ("normal", "reduce")}
    genotype = derive_genotype(found, space="s1")
    assert genotype.normal[2:6] == (
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("max_pool_3x3", 0),
        ("skip_connect", 1),
    )
    assert genotype.reduce[-2:] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))
    assert {name for name, _ in derive_genotype(found, space="s4").reduce} == {"noise"}


def test_none_is_left_out_wherever_the_space_has_it():
    alphas = torch.zeros(14, 3)
    alphas[:, SPACES["s3"].normal[0].index("none")] = 9
    found = {f"alphas_{cell}": alphas for cell in ("normal", "reduce")}
    found |= {f"betas_{cell}": torch.zeros(14) for cell in ("normal", "reduce")}
    assert {name for name, _ in derive_genotype(found, space="s3").normal} == {"skip_connect"}


def test_drop_path_is_for_training_and_keeps_or_drops_edges_of_whole_images():
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    supernet, plain = make(), make()
    supernet.drop_path = 0.5
    assert not torch.equal(supernet(x), supernet(x))
    supernet.eval()
    assert torch.equal(supernet(x), supernet(x))
    cell = plain.cells[0].eval()
    states = [torch.randn(64, 12, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    alphas, betas = torch.full((14, 8), 1 / 8), torch.ones(14)
    out = cell(*states, alphas, betas, generator=torch.Generator().manual_seed(3), drop_path=0.5)[:, :4]
    kept = torch.Generator().manual_seed(3)
    masks = [torch.rand(64, 1, 1, 1, generator=kept) >= 0.5 for _ in range(2)]
    inputs = [cell.preprocess0(states[0]), cell.preprocess1(states[1])]
    edges = [edge(part[:, :2], part[:, 2:], alphas[0]) for edge, part in zip(cell.edges, inputs, strict=False)]
    expected = sum(2 * mask * edge for mask, edge in zip(masks, edges, strict=True))
    assert torch.allclose(out, channel_shuffle(expected, 2), atol=1e-6)
