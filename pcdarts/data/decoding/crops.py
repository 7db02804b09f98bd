"""Boxes of images, and what is inside them at the size of the network's input.

A box is drawn from the size of an image alone, so that it is known before the image is decoded.  Boxes are rows of top,
left, height and width in pixels; sizes are rows of height and width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

AREAS = (0.08, 1.0)
"""Least and greatest share of an image's area in a random box."""
RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width of a random box, divided by its height."""
TRIES = 10
"""Random boxes that are tried before a central one is taken."""
DRAWS = 2 * TRIES + 2
"""Numbers in [0, 1) that decide a random box: an area and a ratio for every try, a row and a column."""


def random_boxes(sizes: Tensor, draws: Tensor) -> Tensor:
    """Boxes (N, 4), int64, in images of these sizes (N, 2), from draws (N, `DRAWS`), float64.

    Distributed like those of torchvision's RandomResizedCrop: of the boxes tried, the first that lies in the image, or
    the largest central one of an allowed ratio.
    """
    height, width = sizes.double()[:, :, None].unbind(1)
    shares, logarithms, places = draws.split([TRIES, TRIES, 2], dim=1)
    area = height * width * (AREAS[0] + (AREAS[1] - AREAS[0]) * shares)
    least, greatest = map(math.log, RATIOS)
    ratio = (least + (greatest - least) * logarithms).exp()
    tried = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()])  # heights and widths
    fits = ((tried > 0) & (tried <= torch.stack([height, width]))).all(0)
    first = fits.byte().argmax(dim=1, keepdim=True)
    box = tried.gather(2, first.expand(2, -1, -1))[:, :, 0].T
    whole = sizes.double()
    central = torch.minimum(whole, torch.stack([(width / RATIOS[0]).round(), (height * RATIOS[1]).round()], 1)[:, :, 0])
    found = fits.any(dim=1, keepdim=True)
    box = torch.where(found, box, central)
    corner = torch.where(found, (places * (whole - box + 1)).floor(), ((whole - box) / 2).floor())
    return torch.cat([corner, box], dim=1).long()


def center_boxes(sizes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4), float64: what is left of images of these sizes (N, 2) if the shorter side is resized to
    `shorter_side`, and a center of `size` (height and width) is cropped.
    """
    sizes = sizes.double()
    box = torch.tensor(size) * sizes.amin(dim=1, keepdim=True) / shorter_side(size)
    return torch.cat([(sizes - box) / 2, box], dim=1)


def shorter_side(size: tuple[int, int]) -> int:
    """The shorter side of an image before its center of `size` is cropped, pixels: 256 for 224, as usual."""
    return round(max(size) * 256 / 224)


def scaled_boxes(boxes: Tensor, sizes: Tensor, resized: Tensor) -> Tensor:
    """The boxes (N, 4), int64, after images of these sizes (N, 2) were resized to others (N, 2).

    Edges are rounded to whole pixels; a box keeps at least one.
    """
    scale = (resized / sizes.double()).repeat(1, 2)
    corners = (torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1) * scale).round().long()
    first = torch.minimum(corners[:, :2], resized - 1)
    return torch.cat([first, (corners[:, 2:] - first).clamp(min=1)], dim=1)


def cut_out(pixels: Tensor, box: list[int], size: tuple[int, int]) -> Tensor:
    """What is inside a box of an image (C, H, W), uint8, resized to `size`: (C, *size).

    As Pillow's bilinear filter does, pixels are averaged where the box is reduced.
    """
    top, left, height, width = box
    inside = pixels[None, :, top : top + height, left : left + width]
    return functional.interpolate(inside, size, mode="bilinear", antialias=True)[0]
