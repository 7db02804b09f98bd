"""Depthwise 5x5 convolutions on channels_last tensors, with a backward pass made of calls that are fast on a CPU.

Shapes: x (N, C, H, W), one kernel a channel: kernels (C, 5, 5), output (N, C, ceil(H / stride), ceil(W / stride)).
"""

import torch
from torch import Tensor
from torch.nn import functional

KERNEL = 5


def embed(kernels: Tensor, dilation: int = 1) -> Tensor:
    """Kernels (..., 3, 3), dilated by 1 or 2, as undilated kernels (..., 5, 5) with zeros around or between."""
    if dilation == 1:
        return functional.pad(kernels, (1, 1, 1, 1))
    spread = kernels.new_zeros(*kernels.shape[:-2], KERNEL, KERNEL)
    spread[..., ::2, ::2] = kernels
    return spread


def depthwise(x: Tensor, kernels: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolve every channel with its own kernel, zeros outside the image."""
    padding = dilation * (KERNEL // 2)
    return functional.conv2d(x, kernels[:, None], bias, stride, padding, dilation, groups=x.shape[1])


def depthwise_backward(
    gradient: Tensor, x: Tensor, kernels: Tensor, stride: int = 1, dilation: int = 1
) -> tuple[Tensor, Tensor]:
    """Gradients in x and in the kernels, from that of the output."""
    if x.is_cuda:
        return _plain_backward(gradient, x, kernels, stride, dilation)
    if stride == dilation == 2:  # reads only every other pixel: an undilated convolution of those
        inner, kernel_gradient = depthwise_backward(gradient, _channels_last(x[:, :, ::2, ::2]), kernels)
        x_gradient = torch.zeros_like(x)
        x_gradient[:, :, ::2, ::2] = inner
        return x_gradient, kernel_gradient
    if stride == 2:
        return _plain_backward(gradient, x, kernels, stride, dilation)
    x_gradient = depthwise(gradient, kernels.flip(1, 2), None, 1, dilation)
    if dilation == 2:  # four undilated convolutions, one for each parity of row and column
        gradient, x = _parities(gradient), _parities(x)
    return x_gradient, _kernel_gradient(gradient, x)


def _plain_backward(
    gradient: Tensor, x: Tensor, kernels: Tensor, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    padding = dilation * (KERNEL // 2)
    x_gradient, kernel_gradient, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        kernels[:, None],
        None,
        [stride] * 2,
        [padding] * 2,
        [dilation] * 2,
        False,
        [0, 0],
        x.shape[1],
        [True, True, False],
    )
    return x_gradient, kernel_gradient[:, 0]


def _kernel_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient (C, 5, 5) of undilated kernels of stride 1: the left three columns and the right two in a call each."""
    channels, columns = x.shape[1], []
    for pad, width in (((2, 0), 3), ((-1, 2), 2)):
        shape = gradient.new_empty(channels, 1, KERNEL, width)
        shifted = functional.pad(x, pad)
        columns.append(
            torch.ops.aten.convolution_backward(
                gradient, shifted, shape, None, [1, 1], [2, 0], [1, 1], False, [0, 0], channels, [False, True, False]
            )[1]
        )
    return torch.cat(columns, dim=3)[:, 0]


def _parities(x: Tensor) -> Tensor:
    """(N, C, H, W) to (4 N, C, ceil(H / 2), ceil(W / 2)): pixels of equal parity of row and column side by side."""
    x = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c)
    return pixels.permute(2, 4, 0, 1, 3, 5).reshape(4 * n, h // 2, w // 2, c).permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
