"""Weights and multiply-adds, counted by hand and in the papers' networks."""

import pytest
import torch
from torch import nn

from pcdarts.complexity import Complexity, count_macs, count_parameters, network_complexity
from pcdarts.config import SearchConfig
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork
from pcdarts.presets import retrain_cifar10, retrain_digits, retrain_imagenet
from pcdarts.supernet import Supernet


@pytest.mark.parametrize(
    ("genotype", "config", "parameters", "macs"),
    [
        ("PC_DARTS_cifar", retrain_cifar10(), 3_634_678, 556_670_592),
        ("PC_DARTS_image", retrain_imagenet(), 5_342_464, 581_627_328),
        ("PC_DARTS_cifar", retrain_imagenet(), 5_270_560, 571_137_408),
        ("DARTS_V2", retrain_cifar10(), 3_349_342, 528_359_040),
        ("DARTS_V2", retrain_imagenet(), 4_718_752, 529_911_552),
    ],
)
def test_official_networks(genotype, config, parameters, macs):
    assert network_complexity(PUBLISHED[genotype], config) == Complexity(parameters=parameters, macs=macs)


def test_layers_counted_by_hand():
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 5, groups=8)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4 * 2, 7))
    # 15 x 11 pixels become 8 x 6, then 4 x 2; biases and batch norms cost nothing
    assert count_macs(network, (3, 15, 11)) == 8 * 6 * 8 * (3 * 9) + 4 * 2 * 8 * 25 + 64 * 7
    assert count_parameters(network) == (8 * 27 + 8) + 16 + (8 * 25 + 8) + (64 * 7 + 7)


def test_a_real_network_counts_the_same_and_is_left_as_it_was():
    config, genotype = retrain_digits(), PUBLISHED["PC_DARTS_cifar"]
    generator = torch.Generator().manual_seed(0)
    network = CellNetwork(
        genotype, channels=config.channels, layers=config.layers, classes=10, image_channels=1, generator=generator
    )
    network.classifier.eval()
    state, modes = generator.get_state(), [module.training for module in network.modules()]
    counted = Complexity(parameters=count_parameters(network), macs=count_macs(network, (1, 8, 8)))
    assert counted == network_complexity(genotype, config)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(generator.get_state(), state)
    assert not any(module._forward_hooks for module in network.modules())
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_the_auxiliary_head_is_not_counted():
    sizes = {"channels": 4, "layers": 3, "classes": 10}
    plain, helped = (CellNetwork(PUBLISHED["DARTS_V1"], **sizes, auxiliary=auxiliary) for auxiliary in (False, True))
    assert count_macs(plain, (3, 32, 32)) == count_macs(helped, (3, 32, 32))


def test_random_sampling_of_a_supernet_draws_nothing_while_it_is_counted():
    config = SearchConfig(dataset="synthetic", channels=4, layers=3, k=2, channel_sampling="random")
    supernet = Supernet(config, 10, generator=torch.Generator().manual_seed(0))
    state = supernet.generator.get_state()
    shuffled = Supernet(
        SearchConfig(dataset="synthetic", channels=4, layers=3, k=2), 10, generator=torch.Generator().manual_seed(0)
    )
    assert count_macs(supernet, (3, 16, 16)) == count_macs(shuffled, (3, 16, 16)) > 0
    assert torch.equal(supernet.generator.get_state(), state)
