"""The candidate operations of the DARTS search space, for super-networks (affine=False) and networks (affine=True).

Source: Liu et al., "DARTS: Differentiable Architecture Search" (ICLR 2019), and the PC-DARTS code.  Shapes: N images,
C channels, H x W pixels; an operation of stride s maps (N, C, H, W) to (N, C, ceil(H / s), ceil(W / s)).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdarts.training.distributed import SharedGenerator


class ConvBatchNorm(nn.Sequential):
    """ReLU - convolution(s) - batch norm."""

    def __init__(self, *convolutions: nn.Module, channels: int, affine: bool) -> None:
        super().__init__(nn.ReLU(), *convolutions, nn.BatchNorm2d(channels, affine=affine))


def relu_conv_bn(channels_in: int, channels_out: int, affine: bool) -> ConvBatchNorm:
    """ReLU - 1x1 convolution - batch norm: brings a cell's input to the cell's channels."""
    return ConvBatchNorm(nn.Conv2d(channels_in, channels_out, 1, bias=False), channels=channels_out, affine=affine)


def _depthwise(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
    ]


class DilatedConv(nn.Sequential):
    """Dilated depthwise convolution and pointwise convolution, once."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        convolutions = _depthwise(channels, kernel, stride, dilation=2)
        super().__init__(ConvBatchNorm(*convolutions, channels=channels, affine=affine))


class SeparableConv(nn.Sequential):
    """Depthwise and pointwise convolution, twice; the first pair carries the stride."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__(
            *(
                ConvBatchNorm(*_depthwise(channels, kernel, step), channels=channels, affine=affine)
                for step in (stride, 1)
            )
        )


class FactorizedReduce(nn.Module):
    """Halve the resolution: two 1x1 convolutions of stride 2, one shifted by a pixel, concatenated."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C_out, ceil(H / 2), ceil(W / 2)); odd sizes are padded with zeros at the end."""
        x = functional.pad(functional.relu(x), (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


class Zero(nn.Module):
    """No connection: zeros of the output's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Zeros like x[:, :, ::stride, ::stride]."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """Standard normal noise of the output's shape that ignores the input: an operation that a good search never keeps.

    Drawn in every pass, also in evaluation, from `generator`, which `initialize` sets.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to noise like x[:, :, ::stride, ::stride]; raises ValueError without a generator."""
        x = x[:, :, :: self.stride, :: self.stride]
        if x.is_meta:  # only shapes matter
            return torch.empty_like(x)
        if self.generator is None:
            raise ValueError("the operation noise needs a generator; pass one to the network")
        return torch.randn(x.shape, generator=self.generator, device=self.generator.device).to(x)


def make_operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """Build an operation by its name in `pcdarts.genotype.OPERATIONS`; pools are bare, without a batch norm."""
    match name:
        case "none":
            return Zero(stride)
        case "noise":
            return Noise(stride)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride, padding=1)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            return SeparableConv(channels, int(name[-1]), stride, affine)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return DilatedConv(channels, int(name[-1]), stride, affine)
        case "conv_7x1_1x7":
            wide = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
            tall = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
            return ConvBatchNorm(wide, tall, channels=channels, affine=affine)
    raise ValueError(f"operation is {name!r}, but must be one of pcdarts.genotype.OPERATIONS")


class FirstChannels(nn.Module):
    """An operation on the first channels; the others stay as they are."""

    def __init__(self, operation: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.operation, self.channels = operation, channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return torch.cat([self.operation(x[:, : self.channels]), x[:, self.channels :]], dim=1)


def make_side_operation(name: str, channels: int, bypassed: int) -> nn.Module:
    """Build an operation on the bypassed channels of an edge, of `channels` in all; batch norms are not affine.

    See the field `side_operation` of SearchConfig.
    """
    match name:
        case "none":
            return nn.Identity()
        case "conv_1x1":
            return relu_conv_bn(bypassed, bypassed, affine=False)
        case "conv_1x1_part":
            part = channels // 4
            convolution = nn.Conv2d(part, part, 1, bias=False)
            return FirstChannels(nn.Sequential(convolution, nn.BatchNorm2d(part, affine=False)), part)
        case "depthwise_3x3":
            convolution = nn.Conv2d(bypassed, bypassed, 3, padding=1, groups=bypassed, bias=False)
            return ConvBatchNorm(convolution, channels=bypassed, affine=False)
    raise ValueError(f"side operation is {name!r}, but must be none, conv_1x1, conv_1x1_part or depthwise_3x3")


def cell_inputs(channels_before: tuple[int, int], channels: int, *, halve: bool, affine: bool) -> list[nn.Module]:
    """Preprocessing of the outputs of the two previous cells, from `channels_before` to `channels` channels.

    `halve`: the previous cell is a reduction, so the earlier output has twice the resolution.
    """
    earlier, later = channels_before
    first = FactorizedReduce(earlier, channels, affine) if halve else relu_conv_bn(earlier, channels, affine)
    return [first, relu_conv_bn(later, channels, affine)]


def apply_stem(stem: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The two inputs of the first cell from images (N, image_channels, H, W), by either stem."""
    if not isinstance(stem, nn.ModuleList):
        features = stem(images)
        return features, features
    earlier = stem[0](images)
    return earlier, stem[1](earlier)


def cifar_stem(image_channels: int, channels: int) -> nn.Sequential:
    """3x3 convolution and batch norm at full resolution: (N, image_channels, H, W) to (N, channels, H, W)."""
    return nn.Sequential(nn.Conv2d(image_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def imagenet_stem(image_channels: int, channels: int) -> nn.ModuleList:
    """Two parts: (N, image_channels, H, W) to (N, channels, H / 4, W / 4) to (N, channels, H / 8, W / 8)."""
    return nn.ModuleList(
        [
            nn.Sequential(
                nn.Conv2d(image_channels, channels // 2, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(),
                nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
            ),
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
            ),
        ]
    )


STEM_MULTIPLIER = 3
"""Channels of the CIFAR stem and of both stems of the super-network, in units of C."""


def reduction_layers(layers: int) -> tuple[int, int]:
    """Positions of the two reduction cells among `layers` cells."""
    return layers // 3, 2 * layers // 3


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution and linear weights from `generator`, with PyTorch's default distribution.

    Weights and biases are uniform in +- 1 / sqrt(inputs of a unit).  Generator and weights must be on the same device.
    Operations that draw in every pass (`Noise`) keep using this generator.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(layer, Noise):
                layer.generator = generator


def draw_per_image(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) of this shape, whose first dimension counts this worker's images."""
    if not isinstance(generator, SharedGenerator) or generator.workers.count == 1:
        return torch.rand(shape, generator=generator)
    rows = generator.workers.rows(generator.images)
    return torch.rand((generator.images, *shape[1:]), generator=generator)[rows]


def draw_paths(shape: tuple[int, ...], probability: float, generator: torch.Generator | None) -> Tensor:
    """Factors of this shape, images first: 0 with the given probability, scaled so that their expectation is 1.

    The generator is on the CPU, so that the same paths are dropped on every device.  Always in double precision.
    Raises ValueError without a generator.
    """
    if generator is None:
        raise ValueError(
            f"drop_path is {probability}, but needs a generator; pass one to CellNetwork, or set drop_path to 0"
        )
    return (draw_per_image(shape, generator) >= probability).double() / (1 - probability)


def drop_path_per_image(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Zero x (N, C, H, W) for some images and scale the others, which keeps its expectation."""
    return x * draw_paths((len(x), 1, 1, 1), probability, generator).to(x.device, x.dtype)
