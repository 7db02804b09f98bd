"""Small networks and images for the tests of exports."""

import torch

from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork


def make(genotype="PC_DARTS_cifar", **values):
    sizes = {"channels": 4, "layers": 3, "classes": 5} | values
    return CellNetwork(PUBLISHED[genotype], **sizes, generator=torch.Generator().manual_seed(0))


def images(channels=3, size=16):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))
