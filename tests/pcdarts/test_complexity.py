"""Weights and multiply-adds, counted by hand and in the papers' networks."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from pcdarts.complexity import (
    Complexity,
    PartCost,
    count_macs,
    count_parameters,
    network_complexity,
    part_costs,
    supernet_complexity,
)
from pcdarts.config import SearchConfig
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.network import CellNetwork
from pcdarts.presets import retrain_cifar10, retrain_cifar10_short, retrain_digits, retrain_imagenet
from pcdarts.supernet import Supernet
from tests.benchmarks.side_operations import table

CIFAR = {"channels": 36, "layers": 20, "classes": 10, "stem": "cifar", "image_size": (32, 32)}
IMAGENET = {"channels": 48, "layers": 14, "classes": 1000, "stem": "imagenet", "image_size": (224, 224)}


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


@pytest.mark.parametrize("name", ["PC_DARTS_cifar", "DARTS_V1", "DARTS_V2"])
def test_the_short_recipe_costs_less_than_a_twentieth_of_the_official_one(name):
    costs = [
        config.epochs * network_complexity(PUBLISHED[name], config).macs
        for config in (retrain_cifar10_short(), retrain_cifar10())
    ]
    assert 1 / 25 < costs[0] / costs[1] < 1 / 20


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


@pytest.mark.parametrize(
    ("side_operation", "weights"),
    [
        ("conv_1x1", lambda channels: (channels * 3 // 4) ** 2),
        ("conv_1x1_part", lambda channels: (channels // 4) ** 2),
        ("depthwise_3x3", lambda channels: 9 * (channels * 3 // 4)),
    ],
)
def test_a_side_operation_costs_its_weights_at_every_pixel_of_every_edge(side_operation, weights):
    config = SearchConfig(dataset="digits", channels=4, layers=3, k=4)
    plain, found = (
        supernet_complexity(dataclasses.replace(config, side_operation=name)) for name in ("none", side_operation)
    )
    # cells of 4, 8 and 16 channels at 8 x 8, 4 x 4 and 2 x 2 pixels
    edge = [weights(channels) for channels in (4, 8, 16)]
    assert found.parameters - plain.parameters == 14 * sum(edge)
    assert found.macs - plain.macs == 14 * (64 * edge[0] + 16 * edge[1] + 4 * edge[2])


@pytest.mark.slow  # a minute: it counts 24 super-networks
def test_the_table_of_side_operations_in_the_docs_is_current():
    assert table() in (Path(__file__).parents[2] / "docs" / "method.md").read_text()


@pytest.mark.parametrize(
    ("genotype", "sizes", "parameters", "macs"),
    [
        ("PC_DARTS_cifar", CIFAR, 3_634_678, 556_670_592),
        ("PC_DARTS_image", IMAGENET, 5_342_464, 581_627_328),
        ("NASNet", CIFAR, 3_830_950, 603_452_448),
        ("NASNet", IMAGENET, 5_564_320, 604_031_616),
        ("AmoebaNet", CIFAR, 3_145_078, 488_931_552),
        ("AmoebaNet", IMAGENET, 4_627_360, 526_746_624),
    ],
)
def test_parts_add_up_to_the_official_networks(genotype, sizes, parameters, macs):
    parts = part_costs(PUBLISHED[genotype], **sizes)
    assert [part.name for part in parts[:2]] == ["stem", "cell 0, normal"] and parts[-1].name == "classifier"
    assert len(parts) == sizes["layers"] + 2
    assert sum(part.parameters for part in parts) == parameters and sum(part.macs for part in parts) == macs


def test_parts_counted_by_hand():
    cells = Genotype([("max_pool_3x3", 0), ("skip_connect", 1)], [2], [("avg_pool_3x3", 0), ("max_pool_3x3", 1)], [2])
    parts = part_costs(cells, channels=4, layers=3, classes=5, stem="cifar", image_size=(8, 8))
    normal, reduction = parts[1], parts[2]
    # stem: 12 channels, 8 x 8; a normal cell: two 1x1 convolutions of 12 to 4 channels, their batch norms, a pool
    assert parts[0].activation_bytes == 4 * 2 * 12 * 64 and parts[0].macs == 12 * 27 * 64
    assert (normal.height, normal.width, normal.channels, normal.parameters) == (8, 8, 4, 2 * (12 * 4 + 2 * 4))
    assert normal.macs == 2 * 64 * 12 * 4 and normal.activation_bytes == 4 * (2 * 2 + 1) * 4 * 64
    # the first reduction: convolutions of 12 and of 4 to 8 channels at 8 x 8, two pools to 4 x 4
    assert (reduction.height, reduction.width, reduction.channels) == (
        4,
        4,
        8,
    ) and reduction.name == "cell 1, reduction"
    assert reduction.macs == 64 * 8 * (12 + 4) and reduction.activation_bytes == 4 * (4 * 8 * 64 + 2 * 8 * 16)
    assert parts[-1] == PartCost(
        name="classifier", height=1, width=1, channels=5, parameters=16 * 5 + 5, macs=16 * 5, activation_bytes=4 * 5
    )
