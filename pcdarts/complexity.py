"""Cost of a network: weights, multiply-adds and activations, counted on the meta device without data."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import dataset_info
from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork
from pcdarts.operations import reduction_layers
from pcdarts.supernet import Supernet


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Size of a network without its auxiliary head."""

    parameters: int
    """Weights."""
    macs: int
    """Multiply-adds of one image in convolutions and linear layers; batch norms, pools and additions do not count."""


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Size of one part of a network: the stem, a cell, the classifier."""

    name: str
    """Name of the part."""
    height: int
    """Height of its output, pixels; 1 for the classifier."""
    width: int
    """Width of its output, pixels; 1 for the classifier."""
    channels: int
    """Channels of its output."""
    parameters: int
    """Weights."""
    macs: int
    """Multiply-adds of one image, counted as in `Complexity`."""
    activation_bytes: int
    """Single-precision outputs of its convolutions, batch norms, pools and linear layers for one image; ReLUs, sums
    and concatenations do not count."""


PARTS_OF_ACTIVATIONS = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.Linear)
"""Layers whose outputs count as activations."""


def part_costs(
    genotype: Genotype,
    *,
    channels: int,
    layers: int,
    classes: int,
    stem: Literal["cifar", "imagenet"],
    image_size: tuple[int, int],
    image_channels: int = 3,
) -> list[PartCost]:
    """Costs of the parts of a network without its auxiliary head, from the stem to the classifier."""
    with torch.device("meta"):
        network = CellNetwork(
            genotype, channels=channels, layers=layers, classes=classes, image_channels=image_channels, stem=stem
        )
    parts: dict[str, nn.Module] = {"stem": network.stem}
    for layer, cell in enumerate(network.cells):
        kind = "reduction" if layer in reduction_layers(layers) else "normal"
        parts[f"cell {layer}, {kind}"] = cell
    parts["classifier"] = network.classifier
    owners = {layer: name for name, part in parts.items() for layer in part.modules()}
    macs, values, shapes = dict.fromkeys(parts, 0), dict.fromkeys(parts, 0), {}

    def add(layer: nn.Module, output: Tensor) -> None:
        name = owners[layer]
        macs[name] += _macs(layer, output)
        values[name] += output[0].numel() if isinstance(layer, PARTS_OF_ACTIVATIONS) else 0
        shapes[name] = output.shape  # the last one is the output of the cell itself

    _run(network, (image_channels, *image_size), add)
    return [
        PartCost(
            name=name,
            height=height,
            width=width,
            channels=shapes[name][1],
            parameters=count_parameters(part),
            macs=macs[name],
            activation_bytes=4 * values[name],
        )
        for name, part in parts.items()
        for height, width in [shapes[name][2:] or (1, 1)]
    ]


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, each once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-adds of one image (channels, height, width) in convolutions and linear layers.

    Counted on a copy on the meta device, in evaluation mode.  Only layers called as modules are seen: of the
    super-networks, only the reference one (`pcdarts.supernet.Supernet`) can be counted.
    """
    counts: list[int] = []
    _run(copy.deepcopy(module).to("meta"), input_size, lambda layer, output: counts.append(_macs(layer, output)))
    return sum(counts)


def _macs(layer: nn.Module, output: Tensor) -> int:
    """Multiply-adds of a layer: every output value needs one for each weight of its unit."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return 0
    return output.numel() * layer.weight[0].numel()


def _run(module: nn.Module, input_size: tuple[int, int, int], add: Callable[[nn.Module, Tensor], None]) -> None:
    """Run one image through a module on the meta device; `add` is called with every submodule and its output."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.ReLU):  # slow on the meta device
            layer.forward = _identity  # type: ignore[method-assign, assignment]
        if layer is not module:
            layer.register_forward_hook(lambda layer, _, output: add(layer, output))
    with torch.inference_mode():
        module.eval()(torch.zeros(1, *input_size, device="meta"))


def _identity(x: Tensor) -> Tensor:
    return x


@lru_cache(maxsize=4096)
def network_complexity(genotype: Genotype, config: RetrainConfig) -> Complexity:
    """Cost of the network that `config` trains from these cells, at the image size of its data set."""
    info = dataset_info(config)
    parts = part_costs(
        genotype,
        channels=config.channels,
        layers=config.layers,
        classes=info.classes,
        stem=config.stem,
        image_size=info.image_size,
        image_channels=info.image_channels,
    )
    return Complexity(parameters=sum(part.parameters for part in parts), macs=sum(part.macs for part in parts))


def supernet_complexity(config: SearchConfig) -> Complexity:
    """Cost of the super-network of a search, without alpha and beta, at the image size of its data set."""
    info = dataset_info(config)
    supernet = Supernet(config, info.classes, info.image_channels, generator=torch.Generator())
    return Complexity(
        parameters=sum(weight.numel() for weight in supernet.weights().values()),
        macs=count_macs(supernet, (info.image_channels, *info.image_size)),
    )
