"""The fast super-network against the one with a module per edge, in float64: results, gradients, running statistics."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.fast import fast_supernet, panels
from pcdarts.fast.depthwise import depthwise, depthwise_backward
from pcdarts.fast.fast_supernet import FastSupernet, make_supernet
from pcdarts.supernet import Supernet

CLASSES = 3
TOLERANCE = 1e-9


def make_pair(seed: int = 0, **options: Any) -> tuple[Supernet, Supernet]:
    config = SearchConfig(**{"channels": 8, "layers": 3, **options})
    pair = Supernet, FastSupernet
    reference, fast = (make(config, CLASSES, generator=torch.Generator().manual_seed(seed)).double() for make in pair)
    with torch.no_grad():
        for network in (reference, fast):
            for parameter in network.architecture.parameters():
                parameter.mul_(500)  # an architecture that is far from uniform
    return reference, fast


def draw_batch(size: tuple[int, int] = (8, 8), seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, *size, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (3,), generator=generator)


def assert_same(expected: Tensor, actual: Tensor, name: str) -> None:
    # relative to the largest entry; running means of centred inputs are zero up to rounding
    scale = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE * scale, msg=lambda text: f"{name}: {text}")


def assert_parity(reference: Supernet, fast: Supernet, images: Tensor, labels: Tensor) -> None:
    outcomes = []
    for network in (reference, fast):
        pixels = images.clone().requires_grad_()
        logits = network(pixels)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        gradients = {"images": pixels.grad, **{name: p.grad for name, p in network.named_parameters()}}
        values = {"loss": loss.detach(), "logits": logits.detach(), **dict(network.named_buffers())}
        outcomes.append((values, gradients))
    (values, gradients), (fast_values, fast_gradients) = outcomes
    for name, value in values.items():
        assert_same(value, fast_values[name], name)
    for name, gradient in gradients.items():
        if gradient is None:
            assert fast_gradients[name] is None or not fast_gradients[name].any(), name
        else:
            assert_same(gradient, fast_gradients[name], name)


OPTIONS: list[dict[str, Any]] = [
    *({"k": k} for k in (1, 2, 4, 8)),
    *({"channel_sampling": sampling, "k": k} for sampling in ("random", "fixed") for k in (1, 2)),
    *({"side_operation": "conv_1x1", "channel_sampling": sampling} for sampling in ("shuffle", "random")),
    *({"spatial_stride": 2, "k": k} for k in (1, 4)),
    {"spatial_stride": 2, "side_operation": "conv_1x1", "k": 8},
    {"spatial_stride": 2, "side_operation": "conv_1x1", "channel_sampling": "random"},
    *({"side_operation": "conv_1x1_part", "k": k} for k in (2, 8)),
    *({"side_operation": "depthwise_3x3", "k": k} for k in (1, 4)),
    *({"side_operation": name, "channel_sampling": "random"} for name in ("conv_1x1_part", "depthwise_3x3")),
    {"edge_normalization": False},
    {"edge_normalization": False, "k": 1},
]


@pytest.mark.parametrize("size", [pytest.param((8, 8), marks=pytest.mark.slow), (9, 7)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_training_equals_reference(options: dict[str, Any], size: tuple[int, int]) -> None:
    assert_parity(*make_pair(**options), *draw_batch(size))


SIDES = ["none", "conv_1x1", "conv_1x1_part", "depthwise_3x3"]
EVERY_COMBINATION = [
    combination
    for combination in itertools.product(
        [1, 2, 4, 8], ["cifar", "imagenet"], ["shuffle", "random", "fixed"], SIDES, [1, 2], [True, False]
    )
    if combination[0] > 1 or combination[3] == "none"  # with K = 1 there are no bypassed channels
]


def cover_pairs(combinations: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Combinations that together hold every pair of values that occurs, by greedy choice."""
    pairs = {one: set(itertools.combinations(enumerate(one), 2)) for one in combinations}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        chosen.append(max(combinations, key=lambda one: len(pairs[one] & missing)))
        missing -= pairs[chosen[-1]]
    return chosen


ALL_PAIRS = cover_pairs(EVERY_COMBINATION)


@pytest.mark.parametrize(
    "combination",
    [pytest.param(one, marks=[] if one in ALL_PAIRS else pytest.mark.slow) for one in EVERY_COMBINATION],
    ids=str,
)
def test_every_combination_equals_reference_in_training_and_evaluation(combination: tuple[Any, ...]) -> None:
    names = ("k", "stem", "channel_sampling", "side_operation", "spatial_stride", "edge_normalization")
    options = dict(zip(names, combination, strict=True))
    reference, fast = make_pair(**options)
    images, labels = draw_batch((8, 7) if options["stem"] == "cifar" else (41, 32))
    assert_parity(reference, fast, images, labels)
    for network in (reference, fast):
        network.zero_grad()
    assert_parity(reference.eval(), fast.eval(), images, labels)


@pytest.mark.parametrize("options", [{}, {"k": 2, "side_operation": "conv_1x1", "spatial_stride": 2}], ids=str)
def test_imagenet_stem_equals_reference(options: dict[str, Any]) -> None:
    assert_parity(*make_pair(stem="imagenet", **options), *draw_batch((41, 32)))


def test_many_channels_equal_reference() -> None:
    """Products of many channels are cut into slices."""
    assert_parity(*make_pair(channels=24, k=1), *draw_batch((4, 4)))


@pytest.mark.parametrize("columns", [1, 6, 10**6], ids=["single blocks", "some targets", "one panel"])
@pytest.mark.parametrize("options", [{}, {"k": 1, "side_operation": "none"}, {"spatial_stride": 2}], ids=str)
def test_panels_of_any_width_equal_reference(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], columns: int
) -> None:
    monkeypatch.setattr(panels, "PANEL_COLUMNS", columns)
    monkeypatch.setattr(panels, "PANEL_ELEMENTS", 0)
    assert_parity(*make_pair(**options), *draw_batch((9, 7)))


@pytest.mark.parametrize("options", [{}, {"k": 1, "side_operation": "none"}, {"spatial_stride": 2}], ids=str)
def test_kernels_of_all_kinds_in_one_panel_equal_reference(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """As on a GPU."""
    monkeypatch.setattr(fast_supernet, "computed_apart", lambda kernels: False)
    reference, fast = make_pair(**options)
    assert_parity(reference, fast, *draw_batch((9, 7)))
    assert_parity(reference.eval(), fast.eval(), *draw_batch((9, 7)))


def test_inputs_of_a_cell_computed_apart_equal_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """As large images do."""
    monkeypatch.setattr("pcdarts.fast.fast_cell.JOINED_ELEMENTS", 0)
    assert_parity(*make_pair(), *draw_batch())


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    k=st.sampled_from([1, 2, 3, 6]),
    size=st.tuples(st.integers(5, 10), st.integers(5, 10)),
    seed=st.integers(0, 1000),
    sampling=st.sampled_from(["shuffle", "random", "fixed"]),
    spatial_stride=st.sampled_from([1, 2]),
)
def test_any_size_equals_reference(
    k: int, size: tuple[int, int], seed: int, sampling: str, spatial_stride: int
) -> None:
    pair = make_pair(seed, channels=6, k=k, channel_sampling=sampling, spatial_stride=spatial_stride)
    assert_parity(*pair, *draw_batch(size, seed))


def test_same_draws_and_state_dict() -> None:
    config = SearchConfig(channels=8, layers=3)
    networks = [make(config, CLASSES, generator=torch.Generator().manual_seed(5)) for make in (Supernet, FastSupernet)]
    reference, fast = (network.state_dict() for network in networks)
    assert list(reference) == list(fast)
    assert all(torch.equal(reference[name], fast[name]) for name in reference)
    networks[0].load_state_dict(fast)
    networks[1].load_state_dict(reference)


def test_batch_mean_far_from_zero_loses_no_digits() -> None:
    """Single precision, with inputs whose mean is large against their deviation."""
    reference, fast = make_pair()
    images = draw_batch()[0] + 100
    expected = reference(images)
    actual = fast.float()(images.float())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=2e-4 * expected.abs().max().item())


def test_second_derivatives_are_refused_or_right() -> None:
    reference, fast = make_pair()
    images, labels = draw_batch()

    def product(network: Supernet) -> list[Tensor]:
        weights, alphas = list(network.weights().values()), list(network.architecture.parameters())
        loss = functional.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        norm = sum((gradient**2).sum() for gradient in gradients)
        assert isinstance(norm, Tensor)
        return list(torch.autograd.grad(norm, alphas))

    with pytest.raises(RuntimeError, match="first derivatives only"):
        product(fast)
    with fast.reference():
        actual = product(fast)
    for one, other in zip(product(reference), actual, strict=True):
        assert_same(one, other, "second derivative")
    reference.load_state_dict(fast.state_dict())
    assert_parity(reference, fast, images, labels)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_gradients(kernel: int, stride: int, dilation: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64).to(memory_format=torch.channels_last)
    kernels = torch.randn(3, kernel, kernel, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    kernels.requires_grad_()
    out = depthwise(x, kernels, None, stride, dilation)
    gradient = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(memory_format=torch.channels_last)
    expected = torch.autograd.grad(out, (x, kernels), gradient)
    actual = depthwise_backward(
        gradient, x.detach(), kernels.detach(), kernels.detach().flip(1, 2), stride=stride, dilation=dilation
    )
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"side_operation": "conv_1x1", "spatial_stride": 2}], ids=str)
def test_gradients_of_alpha_alone_equal_those_with_the_weights(options: dict[str, Any]) -> None:
    _, fast = make_pair(**options)
    images, labels = draw_batch((9, 8))
    loss = functional.cross_entropy(fast(images), labels)
    expected = torch.autograd.grad(loss, list(fast.architecture.parameters()))
    for weight in fast.weights().values():
        weight.requires_grad_(False)
    loss = functional.cross_entropy(fast(images), labels)
    for one, other in zip(expected, torch.autograd.grad(loss, list(fast.architecture.parameters())), strict=True):
        assert torch.equal(one, other)


def test_passes_that_drop_paths_equal_the_reference() -> None:
    reference, fast = make_pair()
    for network in (reference, fast):
        network.drop_path = 0.5
    assert_parity(reference, fast, *draw_batch())
    assert torch.equal(reference.generator.get_state(), fast.generator.get_state())


def test_the_fast_one_is_made_where_it_can_compute_the_search() -> None:
    def kind(**values: Any) -> type[Supernet]:
        config = SearchConfig(channels=4, layers=3, **values)
        return type(make_supernet(config, CLASSES, 3, generator=torch.Generator()))

    assert kind() is kind(drop_path=0.2) is kind(method="darts") is FastSupernet
    assert kind(implementation="reference") is kind(space="s2") is Supernet
    with pytest.raises(ValueError, match="space is 's2', but the fast super-network supports only darts"):
        FastSupernet(SearchConfig(space="s2"), CLASSES, generator=torch.Generator())
