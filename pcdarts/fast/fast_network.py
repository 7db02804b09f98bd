"""The network of a genotype with faster training steps on a CPU; read it beside `NetworkCell` in `pcdarts.network`.

It has the modules, parameters and draws of `CellNetwork`, and equals it but for rounding.  What differs:

- Images are channels_last throughout, so that a pointwise convolution is a matrix product of its pixels.
- The ReLU of a state is computed once, whatever the number of operations or cells that read it.
- Depthwise convolution, pointwise convolution, batch norm and dropped paths are one function, `_Normalized`, and so are
  the parts of a `FactorizedReduce`.  Their gradients are written by hand: PyTorch's depthwise gradients are slow for
  kernels that are dilated or wider than three pixels (see `pcdarts.fast.depthwise`).

In evaluation mode, under autocast and with batch norms of several workers, the modules compute as they are.

Shapes: N images, C channels, M = N h w pixels of the output; matrices (M, ...) are views of channels_last images.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pcdarts.fast.depthwise import depthwise_backward
from pcdarts.fast.panels import image, rows
from pcdarts.network import CellNetwork, NetworkCell
from pcdarts.operations import ConvBatchNorm, DilatedConv, FactorizedReduce, SeparableConv


class FastNetworkCell(NetworkCell):
    """A cell with the modules of `NetworkCell`, computed by the functions below."""

    def forward(self, before_previous: Tensor, previous: Tensor, paths: Sequence[Tensor] = ()) -> Tensor:
        """As `NetworkCell.forward`; reads only the positive values of both inputs."""
        if not self.by_hand(previous.device):
            return super().forward(before_previous, previous, paths)
        states = [_preprocess(self.preprocess0, before_previous), _preprocess(self.preprocess1, previous)]
        positive: dict[int, Tensor] = {}
        outputs: list[Tensor] = []
        factors = iter(paths)
        for operation, source in zip(self.operations, self.sources, strict=True):
            factor = None
            if len(paths) and not isinstance(operation, nn.Identity):
                factor = next(factors).to(previous.dtype)
            if isinstance(operation, SeparableConv | DilatedConv | FactorizedReduce):
                if source not in positive:
                    positive[source] = functional.relu(states[source])
                output = _apply(operation, positive[source], factor)
            else:
                output = operation(states[source])
                output = output if factor is None else output * factor
            outputs.append(output)
            if len(outputs) % 2 == 0:
                states.append(outputs[-2] + outputs[-1])
        return torch.cat([states[node] for node in self.concat], dim=1)

    def by_hand(self, device: torch.device) -> bool:
        """Whether the functions below compute this cell now."""
        norms = any(type(module) is nn.BatchNorm2d for module in self.preprocess1.children())
        return self.training and norms and not torch.is_autocast_enabled(device.type)


class FastNetwork(CellNetwork):
    """`CellNetwork` of fast cells, in the channels-last memory format.

    Two cells and the auxiliary head read the output of a cell, all through a ReLU: they get the result of one.
    """

    cell_type = FastNetworkCell

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.to_channels_last()

    def _state(self, output: Tensor) -> Tensor:
        return functional.relu(output)


def _preprocess(module: nn.Module, positive: Tensor) -> Tensor:
    if isinstance(module, FactorizedReduce):
        return _apply(module, positive, None)
    assert isinstance(module, ConvBatchNorm)
    _, convolution, norm = module
    output: Tensor = norm(convolution(positive))
    return output


def _apply(operation: nn.Module, positive: Tensor, factor: Tensor | None) -> Tensor:
    """An operation on the ReLU of its input (N, C, H, W), times the factors (N, 1, 1, 1) of its paths."""
    if isinstance(operation, FactorizedReduce):
        step = _Halving(operation.norm)
        return _normalized(step, positive, factor, operation.even.weight, operation.odd.weight)
    assert isinstance(operation, SeparableConv | DilatedConv)
    *stages, last = (_Separable(stage) for stage in operation)
    for stage in stages:
        positive = functional.relu(_normalized(stage, positive, None, *stage.weights))
    return _normalized(last, positive, factor, *last.weights)


class _Norm:
    """A batch norm in training, after a linear map that `forward` and `backward` of the subclasses compute."""

    def __init__(self, norm: nn.Module) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        self.norm = norm

    def forward(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, H, W) to the batch norm's input (N, C', h, w), and what else is kept for the backward pass."""
        raise NotImplementedError

    def backward(self, gradient: Tensor, x: Tensor, kept: Tensor | None, *weights: Tensor) -> tuple[Tensor, ...]:
        """Gradients in x and the weights, from that of the batch norm's input."""
        raise NotImplementedError

    def normalize(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalized images, mean and reciprocal deviation (C',) of y (N, C', h, w); updates running statistics."""
        norm = self.norm
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.num_batches_tracked.add_(1)
        return torch.native_batch_norm(
            y, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )

    def normalize_backward(self, gradient: Tensor, y: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, ...]:
        """Gradients in y, and in the batch norm's weight and bias."""
        return torch.ops.aten.native_batch_norm_backward(
            gradient, y, self.norm.weight, None, None, mean, rstd, True, self.norm.eps, [True, True, True]
        )


class _Separable(_Norm):
    """A depthwise and a pointwise convolution."""

    def __init__(self, stage: nn.Module) -> None:
        _, convolution, pointwise, norm = stage.children()
        super().__init__(norm)
        assert isinstance(convolution, nn.Conv2d) and isinstance(pointwise, nn.Conv2d)
        self.weights = convolution.weight, pointwise.weight
        self.stride, self.dilation = convolution.stride[0], convolution.dilation[0]

    def forward(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor | None]:
        kernels, pointwise = weights
        padding = self.dilation * (kernels.shape[-1] // 2)
        hidden = functional.conv2d(x, kernels, None, self.stride, padding, self.dilation, groups=x.shape[1])
        return image(rows(hidden) @ pointwise[:, :, 0, 0].t(), hidden.shape), hidden

    def backward(self, gradient: Tensor, x: Tensor, kept: Tensor | None, *weights: Tensor) -> tuple[Tensor, ...]:
        kernels, pointwise = weights
        assert kept is not None
        columns = rows(gradient)
        pointwise_gradient = (columns.t() @ rows(kept))[:, :, None, None]
        hidden_gradient = image(columns @ pointwise[:, :, 0, 0], kept.shape)
        x_gradient, kernels_gradient = _depthwise_backward(hidden_gradient, x, kernels, self.stride, self.dilation)
        return x_gradient, kernels_gradient, pointwise_gradient


class _Halving(_Norm):
    """The two 1x1 convolutions of a `FactorizedReduce`, on every other pixel and on its lower right neighbor."""

    def forward(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor | None]:
        pair = _pixel_pair(x)
        widths = [len(weight) for weight in weights]
        y = x.new_empty(len(pair[0]), sum(widths))
        for pixels, weight, columns in zip(pair, weights, y.split(widths, dim=1), strict=True):
            torch.mm(pixels, weight[:, :, 0, 0].t(), out=columns)
        return image(y, torch.Size([len(x), -1, *((side + 1) // 2 for side in x.shape[2:])])), None

    def backward(self, gradient: Tensor, x: Tensor, kept: Tensor | None, *weights: Tensor) -> tuple[Tensor, ...]:
        x_gradient = torch.zeros_like(x, memory_format=torch.channels_last)
        found = []
        parts = rows(gradient).split([len(weight) for weight in weights], dim=1)
        for i, (pixels, weight, columns) in enumerate(zip(_pixel_pair(x), weights, parts, strict=True)):
            found.append((columns.t() @ pixels)[:, :, None, None])
            target = x_gradient[:, :, i::2, i::2]
            height, width = target.shape[2:]  # a neighbor outside the image has no gradient
            target.copy_(image(columns @ weight[:, :, 0, 0], gradient.shape)[:, :, :height, :width])
        return x_gradient, *found


class _Normalized(torch.autograd.Function):
    """A linear map, batch norm and dropped paths, with the gradients by hand."""

    @staticmethod
    def forward(ctx: Any, step: _Norm, x: Tensor, factor: Tensor | None, *weights: Tensor) -> Tensor:
        y, kept = step.forward(x, *weights[2:])
        out, mean, rstd = step.normalize(y)
        ctx.step = step
        ctx.save_for_backward(x, factor, y, kept, mean, rstd, *weights[2:])
        return out if factor is None else out.mul_(factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, factor, y, kept, mean, rstd, *weights = ctx.saved_tensors
        gradient = gradient if factor is None else gradient * factor
        gradient, weight, bias = ctx.step.normalize_backward(gradient, y, mean, rstd)
        x_gradient, *found = ctx.step.backward(gradient, x, kept, *weights)
        return None, x_gradient, None, weight, bias, *found


def _normalized(step: _Norm, x: Tensor, factor: Tensor | None, *weights: Tensor) -> Tensor:
    out: Tensor = _Normalized.apply(step, x, factor, step.norm.weight, step.norm.bias, *weights)
    return out


def _pixel_pair(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every other pixel (M, C), and its lower right neighbor (M, C), zero outside the image."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    return rows(x[:, :, ::2, ::2]), rows(x[:, :, 1::2, 1::2])


def _depthwise_backward(
    gradient: Tensor, x: Tensor, kernels: Tensor, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Gradients in x and in kernels (C, 1, k, k), from that of the output."""
    if dilation == 2 and stride == 2:  # undilated on every other pixel
        x_gradient = torch.zeros_like(x, memory_format=torch.channels_last)
        some, kernel_gradient = _depthwise_backward(
            gradient, x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last), kernels, 1, 1
        )
        x_gradient[:, :, ::2, ::2] = some
        return x_gradient, kernel_gradient
    flipped = kernels[:, 0].flip(1, 2)
    x_gradient, found = depthwise_backward(gradient, x, kernels[:, 0], flipped, stride=stride, dilation=dilation)
    assert found is not None
    return x_gradient, found[:, None]
