"""Depthwise 3x3 and 5x5 convolutions on channels_last images, with a backward pass that is fast on a CPU.

oneDNN has fast kernel gradients for undilated kernels up to three pixels wide.  A pair of neighboring columns of a
channels_last image (N, C, H, W) is, without a copy, one column of an image (N, 2 C, H, W / 2); there the even columns
of a 5x5 kernel are a 5x3 kernel, and so are the odd ones after a shift by one pixel.

Shapes: x (N, C, H, W), one kernel per channel: kernels (C, h, h) with h = 3 or 5, output (N, C, ceil(H / stride),
ceil(W / stride)).
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

KERNEL = 5
PADDING = KERNEL // 2
TINY = 4
"""Largest image side at which the outermost taps of a dilated kernel see only zeros and plain calls are fastest."""


def embed(kernels: Tensor, dilation: int = 1) -> Tensor:
    """Kernels (..., 3, 3), dilated by 1 or 2, as undilated kernels (..., 5, 5) with zeros around or between."""
    if dilation == 1:
        return functional.pad(kernels, (1, 1, 1, 1))
    spread = kernels.new_zeros(*kernels.shape[:-2], KERNEL, KERNEL)
    spread[..., ::2, ::2] = kernels
    return spread


def depthwise(x: Tensor, kernels: Tensor, bias: Tensor | None = None, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolve every channel with its own kernel, zeros outside the image; dilation 2 goes with stride 1 only."""
    if _sees_only_zeros(x, kernels, dilation):
        kernels, dilation = embed(kernels[:, 1:-1, 1:-1], dilation), 1
    padding = dilation * (kernels.shape[-1] // 2)
    return functional.conv2d(x, kernels[:, None], bias, stride, padding, dilation, groups=x.shape[1])


def _sees_only_zeros(x: Tensor, kernels: Tensor, dilation: int) -> bool:
    """Whether the outermost taps of dilated 5x5 kernels lie outside the image."""
    return dilation == 2 and kernels.shape[-1] == KERNEL and max(x.shape[2:]) <= TINY


def depthwise_backward(
    gradient: Tensor,
    x: Tensor,
    kernels: Tensor,
    flipped: Tensor,
    *,
    stride: int = 1,
    dilation: int = 1,
    kernels_wanted: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Gradients in x and, if wanted, in the kernels, from that of the output; `flipped` is kernels.flip(1, 2)."""
    if not x.is_cpu:
        return _plain_backward(gradient, x, kernels, stride=stride, dilation=dilation, kernels_wanted=kernels_wanted)
    if _sees_only_zeros(x, kernels, dilation):
        inner, inner_flipped = (embed(k[:, 1:-1, 1:-1], dilation) for k in (kernels, flipped))
        x_gradient, inner_gradient = depthwise_backward(
            gradient, x, inner, inner_flipped, kernels_wanted=kernels_wanted
        )
        if inner_gradient is None:
            return x_gradient, None
        return x_gradient, functional.pad(inner_gradient[:, ::2, ::2], (1, 1, 1, 1))
    wide = kernels.shape[-1] == KERNEL
    if dilation == 1 and (not wide or max(x.shape[2:]) <= TINY):
        return _plain_backward(gradient, x, kernels, stride=stride, dilation=dilation, kernels_wanted=kernels_wanted)
    if stride == 2:
        x_gradient, _ = convolution_backward(
            gradient, x, kernels[:, None], stride=(2, 2), padding=(PADDING, PADDING), wanted=(True, False)
        )
        return x_gradient, _kernel_gradient_stride2(gradient, x) if kernels_wanted else None
    x_gradient = depthwise(gradient, flipped, None, 1, dilation)
    if not kernels_wanted:
        return x_gradient, None
    if dilation == 2:  # four undilated convolutions, one for each parity of row and column
        gradient, x = parities(gradient), parities(x)
    if wide:
        return x_gradient, _kernel_gradient(gradient, x)
    return x_gradient, _kernel_gradient_alone(gradient, x, kernels[:, None], (1, 1), (1, 1))


def _plain_backward(
    gradient: Tensor, x: Tensor, kernels: Tensor, *, stride: int, dilation: int, kernels_wanted: bool
) -> tuple[Tensor, Tensor | None]:
    padding = (dilation * (kernels.shape[-1] // 2),) * 2
    x_gradient, kernel_gradient = convolution_backward(
        gradient,
        x,
        kernels[:, None],
        stride=(stride, stride),
        padding=padding,
        dilation=dilation,
        wanted=(True, kernels_wanted),
    )
    return x_gradient, kernel_gradient[:, 0] if kernels_wanted else None


def average(x: Tensor, stride: int) -> Tensor:
    """Mean over the 3x3 neighborhood inside the image; faster than the pool of PyTorch on few channels."""
    ones = _ones(x.shape[1], x.dtype, x.device)
    sums = functional.conv2d(x, ones, None, stride, 1, groups=x.shape[1])
    return sums * _inverse_counts(x.shape[2], x.shape[3], stride, x.dtype, x.device)


def average_backward(gradient: Tensor, x: Tensor, stride: int) -> Tensor:
    """Gradient in x from that of `average`."""
    gradient = gradient * _inverse_counts(x.shape[2], x.shape[3], stride, x.dtype, x.device)
    ones = _ones(x.shape[1], x.dtype, x.device)
    if stride == 1:
        return functional.conv2d(gradient, ones, None, 1, 1, groups=x.shape[1])
    return convolution_backward(gradient, x, ones, stride=(2, 2), padding=(1, 1), wanted=(True, False))[0]


@cache
def _ones(channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)


@cache
def _inverse_counts(height: int, width: int, stride: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    image = torch.ones(1, 1, height, width, dtype=dtype, device=device)
    return 1 / functional.conv2d(image, _ones(1, dtype, device), None, stride, 1)


def _kernel_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient (C, 5, 5) of undilated kernels of stride 1; the last of six columns lies outside the kernel."""
    if max(x.shape[2:]) <= TINY:
        kernels = _zeros((x.shape[1], 1, KERNEL, KERNEL), x.dtype)
        return _kernel_gradient_alone(gradient, x, kernels, (1, 1), (PADDING, PADDING))
    c = x.shape[1]
    gradient, x = _pad_columns(gradient, 0, x.shape[3] % 2), _pad_columns(x, 0, x.shape[3] % 2)
    pairs = _column_pairs(gradient)
    even = _narrow_gradient(pairs, _column_pairs(x), (1, 1), (PADDING, 1))
    odd = _narrow_gradient(pairs, _column_pairs(_pad_columns(x, 1, 3)), (1, 1), (PADDING, 0))
    columns = torch.stack([even, odd], dim=3).view(2, c, KERNEL, 6).sum(0)
    return columns[:, :, :KERNEL]


def _kernel_gradient_stride2(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient (C, 5, 5) of undilated kernels of stride 2; the last of six columns lies outside the kernel."""
    pairs = _column_pairs(_pad_columns(x, 0, x.shape[3] % 2))
    columns = _narrow_gradient(torch.cat([gradient, gradient], dim=1), pairs, (2, 1), (PADDING, 1))
    return columns.unflatten(0, (2, -1)).permute(1, 2, 3, 0).flatten(2)[:, :, :KERNEL]


def _narrow_gradient(gradient: Tensor, x: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Gradient (C, 5, 3) of kernels of three columns."""
    kernels = _zeros((x.shape[1], 1, KERNEL, 3), x.dtype)
    return _kernel_gradient_alone(gradient, x, kernels, stride, padding)


def _kernel_gradient_alone(
    gradient: Tensor, x: Tensor, kernels: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    both = convolution_backward(gradient, x, kernels, stride=stride, padding=padding, wanted=(False, True))
    return both[1][:, 0]


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    kernels: Tensor,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: int = 1,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Gradients in x and in the kernels (C, 1, h, w), those that are wanted."""
    x_gradient, kernel_gradient, _ = torch.ops.aten.convolution_backward(
        gradient, x, kernels, None, stride, padding, [dilation] * 2, False, [0, 0], x.shape[1], [*wanted, False]
    )
    return x_gradient, kernel_gradient


def _column_pairs(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 2 C, H, W / 2): a view."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h, w // 2, 2 * c).permute(0, 3, 1, 2)


def _pad_columns(x: Tensor, left: int, right: int) -> Tensor:
    """Zero columns before and after; much faster on channels_last images than functional.pad."""
    if left == right == 0:
        return x
    n, c, h, w = x.shape
    zeros = _zeros((n * h, c), x.dtype)
    parts = [zeros] * left + [x.permute(0, 2, 3, 1).reshape(n * h, w * c)] + [zeros] * right
    return torch.cat(parts, dim=1).view(n, h, w + left + right, c).permute(0, 3, 1, 2)


@cache
def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def parities(x: Tensor) -> Tensor:
    """(N, C, H, W) to (4 N, C, ceil(H / 2), ceil(W / 2)): pixels of equal parity of row and column side by side."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, h // 2, 2, w // 2, 2, c)
    return pixels.permute(2, 4, 0, 1, 3, 5).reshape(4 * n, h // 2, w // 2, c).permute(0, 3, 1, 2)
