"""What a network costs: weights and multiply-adds.  Counted without data and without allocating a weight."""

import copy
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from pcdarts.config import RetrainConfig
from pcdarts.data import DATASETS
from pcdarts.genotype import Genotype
from pcdarts.network import CellNetwork


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Size of a network without its auxiliary head."""

    parameters: int
    """Weights."""
    macs: int
    """Multiply-adds of one image in convolutions and linear layers; batch norms, pools and additions not counted."""


def count_parameters(module: nn.Module) -> int:
    """Number of parameters, each once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Multiply-adds of one image (channels, height, width) in convolutions and linear layers.

    Counted on a copy without data, in evaluation mode; layers are seen if they are called as modules, so of the
    super-networks only the reference one, `pcdarts.supernet.Supernet`, can be counted.
    """
    return _run_and_count(copy.deepcopy(module).to("meta"), input_size)


def _run_and_count(module: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Count a module on the meta device, which cannot be used for anything else afterwards."""
    macs = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer.weight, Tensor)
        macs += output.numel() * layer.weight[0].numel()  # an output needs one for every weight of its unit

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
        elif isinstance(layer, nn.BatchNorm2d | nn.ReLU):  # nothing to count, and slow on the meta device
            layer.forward = _identity  # type: ignore[method-assign, assignment]
    with torch.inference_mode():
        module.eval()(torch.zeros(1, *input_size, device="meta"))
    return macs


def _identity(x: Tensor) -> Tensor:
    return x


@lru_cache(maxsize=4096)
def network_complexity(genotype: Genotype, config: RetrainConfig) -> Complexity:
    """Cost of the network that `config` would train from these cells, at its data set's image size."""
    info = DATASETS[config.dataset]
    with torch.device("meta"):
        network = CellNetwork(
            genotype,
            channels=config.channels,
            layers=config.layers,
            classes=info.classes,
            image_channels=info.image_channels,
            stem=config.stem,
        )
    macs = _run_and_count(network, (info.image_channels, info.image_size, info.image_size))
    return Complexity(parameters=count_parameters(network), macs=macs)
