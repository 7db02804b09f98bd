"""The fast network of a genotype equals the reference in double precision, and has its parameters and draws."""

import pytest
import torch
from torch.nn import functional

from pcdarts.fast.fast_network import FastNetwork
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.network import CellNetwork
from pcdarts.training.distributed import share_batch_norm

SIZES = {"channels": 4, "layers": 3, "classes": 5}


def every(*operations):
    """A cell that applies the operations in turn, to both inputs and to a node."""
    pairs = tuple((operations[i % len(operations)], source) for i, source in enumerate((0, 1, 0, 1, 2, 1, 3, 2)))
    return Genotype(normal=pairs, normal_concat=(2, 3, 4, 5), reduce=pairs, reduce_concat=(2, 3, 4, 5))


GENOTYPES = {
    "PC_DARTS_cifar": PUBLISHED["PC_DARTS_cifar"],
    "AmoebaNet": PUBLISHED["AmoebaNet"],
    "separable": every("sep_conv_5x5", "sep_conv_3x3", "sep_conv_7x7"),
    "dilated": every("dil_conv_3x3", "dil_conv_5x5"),
    "skip_connect": every("skip_connect", "avg_pool_3x3", "max_pool_3x3"),
    "conv_7x1_1x7": every("conv_7x1_1x7", "none"),
}


def make(kind, genotype, **values):
    network = kind(genotype, **SIZES | values, generator=torch.Generator().manual_seed(1)).double()
    network.drop_path = 0.3
    return network


def batch(height, width, count=3):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)
    return images, torch.randint(5, (count,), generator=generator)


def train(network, images, labels, steps=2):
    """Everything that training steps change, and the gradients of the last one, by name."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        logits, auxiliary = network.forward_with_auxiliary(images)
        loss = functional.cross_entropy(logits, labels)
        if auxiliary is not None:
            loss = loss + 0.4 * functional.cross_entropy(auxiliary, labels)
        loss.backward()
        optimizer.step()
    gradients = {f"gradient of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return gradients | dict(network.state_dict())


def assert_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    largest = max(value.abs().max() for name, value in expected.items() if name.startswith("gradient"))
    for name, value in expected.items():
        scale = largest if name.startswith("gradient") else max(1, value.abs().max())
        assert (actual[name] - value).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("genotype", GENOTYPES.values(), ids=GENOTYPES)
@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, (9, 12)),
        ({"auxiliary": True}, (32, 32)),
        ({"stem": "imagenet", "layers": 4}, (65, 48)),
    ],
    ids=["odd", "auxiliary", "imagenet"],
)
def test_training_equals_that_of_the_reference(genotype, values, size):
    networks = [make(kind, genotype, **values) for kind in (FastNetwork, CellNetwork)]
    first = [train(network, *batch(*size), steps=1) for network in networks]
    assert_close(*first, 1e-12)
    second = [train(network, *batch(*size), steps=1) for network in networks]
    assert_close(*second, 1e-9)  # a step multiplies what is rounded
    images, _ = batch(*size)
    with torch.no_grad():
        logits = [network.eval()(images) for network in networks]
    assert torch.allclose(*logits, rtol=1e-9, atol=1e-9)


def test_small_images_and_few_pixels():
    networks = [make(kind, GENOTYPES["dilated"]) for kind in (FastNetwork, CellNetwork)]
    assert_close(*(train(network, *batch(4, 5, count=8), steps=1) for network in networks), 1e-12)


def test_images_stay_channels_last():
    network = make(FastNetwork, GENOTYPES["PC_DARTS_cifar"])
    outputs = []
    for cell in network.cells:
        cell.register_forward_hook(lambda cell, given, output: outputs.append(output))
    network(batch(16, 16)[0])
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in outputs)


def test_recomputed_activations_give_the_same_training_to_the_bit():
    plain, sparing = (make(FastNetwork, GENOTYPES["PC_DARTS_cifar"]) for _ in range(2))
    sparing.checkpoint_activations = True
    expected, actual = (train(network, *batch(8, 8)) for network in (plain, sparing))
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def test_a_second_derivative_is_refused():
    network = make(FastNetwork, GENOTYPES["dilated"])
    loss = network(batch(8, 8)[0]).square().sum()
    weight = network.stem[0].weight
    (gradient,) = torch.autograd.grad(loss, [weight], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_batch_norms_over_workers_and_autocast_use_the_modules():
    plain, shared = make(CellNetwork, GENOTYPES["dilated"]), make(FastNetwork, GENOTYPES["dilated"])
    share_batch_norm(shared, torch.device("cpu"))
    assert not shared.cells[0].by_hand(torch.device("cpu"))
    single = make(FastNetwork, GENOTYPES["dilated"]).float()
    assert single.cells[0].by_hand(torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not single.cells[0].by_hand(torch.device("cpu"))
    assert not single.eval().cells[0].by_hand(torch.device("cpu"))
    assert plain.state_dict().keys() == shared.state_dict().keys()
