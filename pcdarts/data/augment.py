"""Data augmentation of whole batches as tensor operations: random crop, flip, color jitter, cutout, normalization.

Random numbers are drawn on the CPU and moved to the device of the images, so that CPU and GPU see the same images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

CPU_CHUNK = 8
"""Images whose colors are changed at once on a CPU: they stay in its cache."""


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Crops of the images' own size (B, C, H, W) out of images with `padding` black pixels added on every side."""
    batch, _, height, width = images.shape
    offsets = torch.randint(2 * padding + 1, (2, batch, 1), generator=generator)
    top, left = moved(offsets, images.device)
    return crop(functional.pad(images, [padding] * 4), top, left, height, width)


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Crops (B, C, height, width), every image (B, C, H, W) at its own offsets `top` and `left` (B, 1)."""
    batch, channels = images.shape[:2]
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    return images[
        torch.arange(batch, device=images.device)[:, None, None, None],
        torch.arange(channels, device=images.device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W), each flipped horizontally with probability 1/2."""
    flipped = moved(torch.randint(2, (len(images), 1, 1, 1), generator=generator), images.device)
    return torch.where(flipped.bool(), images.flip(-1), images)


def color_jitter(
    images: Tensor,
    generator: torch.Generator,
    total: int | None = None,
    part: slice = slice(None),  # noqa: B008 (slices never change)
) -> Tensor:
    """Float images (B, C, H, W) of uint8 ones, from 0 to 255 as well, with other colors.

    Brightness, contrast and saturation of every image are multiplied by 0.6 to 1.4, and its hue is turned by up to a
    fifth: torchvision's `ColorJitter(0.4, 0.4, 0.4, 0.2)` without rounding to bytes after every step.  The order of the
    steps is drawn for the batch, where torchvision draws one for every image.  Gray images have neither saturation nor
    hue.  `total` and `part` are as for `cutout`.
    """
    draws = torch.rand(4, len(images) if total is None else total, generator=generator, dtype=torch.float32)
    order = torch.randperm(4, generator=generator).tolist()
    factors = moved(draws[:, part], images.device)[:, :, None, None, None]
    if images.shape[1] != 3:
        order = [step for step in order if step < 2]
    size = CPU_CHUNK if images.device.type == "cpu" else max(1, len(images))
    chunks = zip(images.split(size), factors.split(size, dim=1), strict=True)
    return torch.cat([_jittered(some.to(torch.get_default_dtype(), copy=True), of, order) for some, of in chunks])


def _jittered(images: Tensor, factors: Tensor, order: Sequence[int]) -> Tensor:
    """Float images, which are overwritten, after some steps: brightness 0, contrast 1, saturation 2, hue 3.

    `factors` (4, B, 1, 1, 1) from 0 to 1 become factors from 0.6 to 1.4, and turns from -0.2 to 0.2.
    """
    for step in order:
        factor = 0.6 + 0.8 * factors[step]
        if step == 0:
            images = images.mul_(factor).clamp_(max=255)
        elif step == 3:
            images = turn_hue(images, (factor - 1) / 2)
        else:
            other = gray(images)
            images = blended(images, other if step == 2 else other.mean(dim=(1, 2, 3), keepdim=True), factor)
    return images


def gray(images: Tensor) -> Tensor:
    """The luminance (B, 1, H, W) of images (B, C, H, W), by the weights of torchvision."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def blended(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """`factors` (B, 1, 1, 1) of the images and the rest of another, within 0 and 255."""
    return torch.lerp(other, images, factors.to(images)).clamp_(0, 255)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """RGB images (B, 3, H, W) whose hue is turned by `turns` (B, 1, 1, 1); value and saturation of HSV are kept."""
    red, green, blue = images.split(1, dim=1)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(low)
    # Sixths of a turn from red, counted towards green if there is more of it than of blue.  No `where`: it is the
    # slowest operation on a CPU.
    hue = (green + blue).sub_(red).sub_(low).div_(chroma.clamp(min=1e-6)).add_(1).copysign_(green - blue)
    hue += 6 * turns
    hue -= (hue / 6).floor_().mul_(6)
    shares = [(hue - 3).abs_().sub_(1), (hue - 2).abs_().neg_().add_(2), (hue - 4).abs_().neg_().add_(2)]
    return torch.cat(shares, dim=1).clamp_(0, 1).mul_(chroma).add_(low)


def cutout(
    images: Tensor,
    size: int,
    generator: torch.Generator,
    total: int | None = None,
    part: slice = slice(None),  # noqa: B008 (slices never change)
) -> Tensor:
    """Images (B, C, H, W) with a square of `size` pixels a side set to 0.

    Its center is uniform over the image, and the border may clip it (DeVries & Taylor, arXiv 1708.04552).  If the
    images are only the rows `part` of a batch of `total` images, draws are made for the whole batch.
    """
    batch, _, height, width = images.shape
    draws = [torch.randint(n, (batch if total is None else total, 1), generator=generator) for n in (height, width)]
    row, column = (moved(draw[part], images.device) for draw in draws)
    rows, columns = _interval(row, size, height), _interval(column, size, width)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _interval(center: Tensor, size: int, length: int) -> Tensor:
    """Mask (B, length): the `size` positions around each center (B, 1), clipped at the ends."""
    distance = torch.arange(length, device=center.device) - (center - size // 2)
    return (distance >= 0) & (distance < size)


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Float images (B, C, H, W) of about zero mean and unit variance from bytes; statistics are scaled to [0, 1]."""
    statistics = moved(torch.tensor([list(mean), list(std)]), images.device)
    means, stds = statistics.view(2, 1, -1, 1, 1)
    return (images / 255).sub_(means).div_(stds)  # in place, as new memory costs more than the arithmetic


def moved(x: Tensor, device: torch.device) -> Tensor:
    """Move a CPU tensor to the device without waiting for a GPU, so that the host can prepare the next batch."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
