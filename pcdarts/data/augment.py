"""Data augmentation of whole batches as tensor operations: random crop, random flip, cutout; and normalization.

Random numbers are drawn on the CPU and moved to the device of the images, so that CPU and GPU see the same images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


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
    """Float images (B, C, H, W) of about zero mean and unit variance from uint8; statistics are scaled to [0, 1]."""
    statistics = moved(torch.tensor([list(mean), list(std)]), images.device)
    means, stds = statistics.view(2, 1, -1, 1, 1)
    return (images / 255 - means) / stds


def moved(x: Tensor, device: torch.device) -> Tensor:
    """Move a CPU tensor to the device without waiting for a GPU, so that the host can prepare the next batch."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
