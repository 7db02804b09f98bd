"""The data sets: sizes, statistics and augmentation of each, and the types of images in memory."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Images(NamedTuple):
    """Images with their labels, as they are stored."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""


Parts = tuple[Images, Images]
"""Training and test images."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Sizes and statistics of a data set, and how its training images are augmented."""

    name: str
    """Name in a configuration."""
    classes: int
    """Number of classes."""
    image_channels: int
    """1 for grayscale, 3 for RGB."""
    image_size: int
    """Height and width of the network's input, pixels."""
    mean: tuple[float, ...]
    """Mean of every channel over the training images, scaled to [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation of every channel over the training images, scaled to [0, 1]."""
    crop_padding: int
    """Padding of the random crop, pixels."""
    flip: bool
    """Whether images are flipped horizontally at random."""
    train_images: int = 0
    """Training images that are held in memory; 0: images are read from files in every pass."""


_DATASETS = (
    DatasetInfo(
        name="digits",
        classes=10,
        image_channels=1,
        image_size=8,
        mean=(0.3053,),
        std=(0.3759,),
        crop_padding=1,
        flip=False,
        train_images=1437,
    ),
    DatasetInfo(
        name="fashion-mnist",
        classes=10,
        image_channels=1,
        image_size=28,
        mean=(0.2860,),
        std=(0.3530,),
        crop_padding=2,
        flip=True,
        train_images=60_000,
    ),
    DatasetInfo(
        name="cifar10",
        classes=10,
        image_channels=3,
        image_size=32,
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
        crop_padding=4,
        flip=True,
        train_images=50_000,
    ),
    DatasetInfo(
        name="cifar100",
        classes=100,
        image_channels=3,
        image_size=32,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        crop_padding=4,
        flip=True,
        train_images=50_000,
    ),
    DatasetInfo(
        name="imagenet",
        classes=1000,
        image_channels=3,
        image_size=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_padding=0,
        flip=True,
    ),
    DatasetInfo(
        name="synthetic",
        classes=4,
        image_channels=3,
        image_size=16,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        crop_padding=2,
        flip=True,
        train_images=320,
    ),
)
DATASETS = {info.name: info for info in _DATASETS}
"""The data sets by name.  ImageNet's number of classes is the official one; a folder tree may have fewer."""
