"""Images in memory, uint8 (N, C, H, W): resizing, statistics, and an order in which every prefix is balanced."""

import math

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 1024
"""Images that are converted at once: floats take four times the memory."""


def resize(images: Tensor, side: int, wanted: tuple[int, int] | None = None) -> Tensor:
    """uint8 images (N, C, H, W) as (N, C, side, side): the shorter side is resized, then the center is cropped.

    The center has the height and width of `wanted`, if given.
    """
    height, width = images.shape[2:]
    rows, columns = wanted or (side, side)
    scale = side / min(height, width)
    size = max(rows, round(height * scale)), max(columns, round(width * scale))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    return torch.cat(
        [
            functional.interpolate(part.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for part in images.split(CHUNK)
        ]
    )[:, :, top : top + rows, left : left + columns].contiguous()


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of images (N, C, H, W), scaled to [0, 1].

    They are exact, from counts of the 256 values.  The standard deviation is at least 1/255, as images are divided by
    it.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in images.split(CHUNK):
        for channel, values in enumerate(part.transpose(0, 1)):
            counts[channel] += values.flatten().bincount(minlength=256)
    total = images.numel() // images.shape[1]
    values = torch.arange(256)
    sums, squares = (counts * values).sum(dim=1).tolist(), (counts * values**2).sum(dim=1).tolist()
    deviations = [math.sqrt(total * square - s * s) / total for s, square in zip(sums, squares, strict=True)]
    return tuple(s / total / 255 for s in sums), tuple(max(1.0, deviation) / 255 for deviation in deviations)


def stratified_order(labels: Tensor) -> Tensor:
    """A fixed stratified shuffle: indices (N,) of labels (N,), such that every prefix is balanced like the whole."""
    generator = torch.Generator().manual_seed(0)
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        position[members] = (torch.randperm(len(members), generator=generator).double() + 0.5) / len(members)
    return position.argsort(stable=True)


def fifth(count: int) -> int:
    """Images of a class of `count` that become test images where a data set has none: a fifth, at least one."""
    return max(1, round(count / 5))
