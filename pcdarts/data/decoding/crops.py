"""Boxes of images, and what is inside them at the size of the network's input.

A random box depends on draws and on the size of the image alone, so that it is known before the image is decoded.
Sizes are height and width in pixels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
"""Height and width, pixels."""
AREAS = (0.08, 1.0)
"""Least and greatest share of an image's area in a random box."""
RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width of a random box, divided by its height."""
TRIES = 10
"""Random boxes that are tried before a central one is taken."""
DRAWS = 2 + 2 * TRIES
"""Numbers in [0, 1) that decide a random box: its row and column, then an area and a ratio for every try."""


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: float
    """First row."""
    left: float
    """First column."""
    height: float
    """Number of rows."""
    width: float
    """Number of columns."""

    def scaled(self, size: Size, resized: Size) -> "Box":
        """The box in whole pixels, at least one, after the image was resized from `size`."""
        rows, columns = resized[0] / size[0], resized[1] / size[1]
        top = min(round(self.top * rows), resized[0] - 1)
        left = min(round(self.left * columns), resized[1] - 1)
        bottom, right = round((self.top + self.height) * rows), round((self.left + self.width) * columns)
        return Box(top, left, max(1, bottom - top), max(1, right - left))


def random_box(size: Size, draws: Sequence[float]) -> Box:
    """A box in an image of this size, distributed like those of torchvision's RandomResizedCrop.

    It is the first of `TRIES` that lies in the image, else the largest central one of an allowed ratio.  There are
    `DRAWS` draws.
    """
    height, width = size
    row, column, *tries = draws
    logarithms = math.log(RATIOS[0]), math.log(RATIOS[1])
    for share, place in zip(tries[::2], tries[1::2], strict=True):
        area = height * width * (AREAS[0] + (AREAS[1] - AREAS[0]) * share)
        ratio = math.exp(logarithms[0] + (logarithms[1] - logarithms[0]) * place)
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return Box(int(row * (height - rows + 1)), int(column * (width - columns + 1)), rows, columns)
    rows, columns = min(height, round(width / RATIOS[0])), min(width, round(height * RATIOS[1]))
    return Box((height - rows) // 2, (width - columns) // 2, rows, columns)


def center_box(size: Size, wanted: Size) -> Box:
    """What is left of an image if its shorter side is resized to `shorter_side`, and the center of the wanted size is
    cropped.
    """
    scale = min(size) / shorter_side(wanted)
    height, width = wanted[0] * scale, wanted[1] * scale
    return Box((size[0] - height) / 2, (size[1] - width) / 2, height, width)


def shorter_side(wanted: Size) -> int:
    """The shorter side of an image before its center of the wanted size is cropped, pixels: 256 for 224, as usual."""
    return round(max(wanted) * 256 / 224)


def cut_out(pixels: Tensor, box: Box, wanted: Size) -> Tensor:
    """What is inside a box of whole pixels in an image (C, H, W), uint8, resized to the wanted size.

    As in Pillow's bilinear filter, pixels are averaged where the box is reduced.
    """
    top, left, height, width = map(int, box)
    inside = pixels[None, :, top : top + height, left : left + width]
    return functional.interpolate(inside, wanted, mode="bilinear", antialias=True)[0]
