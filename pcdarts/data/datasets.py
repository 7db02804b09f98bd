"""The data sets: sizes, statistics and augmentation of each, and the types of images in memory."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from pcdarts.config import RetrainConfig, SearchConfig


class Images(NamedTuple):
    """Images with their labels, as they are stored."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Sizes and statistics of a data set, and how its training images are augmented."""

    name: str
    """Name in a configuration."""
    classes: int
    """Number of classes."""
    image_channels: int
    """1 for grayscale, 3 for RGB; own arrays may have up to 16."""
    image_size: tuple[int, int]
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


class ImageSet(NamedTuple):
    """A data set in memory."""

    info: DatasetInfo
    """Its sizes and statistics."""
    train: Images
    """Training images."""
    test: Images
    """Test images."""


_DATASETS = (
    DatasetInfo(
        name="digits",
        classes=10,
        image_channels=1,
        image_size=(8, 8),
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
        image_size=(28, 28),
        mean=(0.2860,),
        std=(0.3530,),
        crop_padding=2,
        flip=True,
        train_images=60_000,
    ),
    DatasetInfo(
        name="mnist",
        classes=10,
        image_channels=1,
        image_size=(28, 28),
        mean=(0.1307,),
        std=(0.3081,),
        crop_padding=2,
        flip=False,
        train_images=60_000,
    ),
    DatasetInfo(
        name="kmnist",
        classes=10,
        image_channels=1,
        image_size=(28, 28),
        mean=(0.1918,),
        std=(0.3483,),
        crop_padding=2,
        flip=False,
        train_images=60_000,
    ),
    DatasetInfo(
        name="svhn",
        classes=10,
        image_channels=3,
        image_size=(32, 32),
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        crop_padding=4,
        flip=False,
        train_images=73_257,
    ),
    DatasetInfo(
        name="cifar10",
        classes=10,
        image_channels=3,
        image_size=(32, 32),
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
        image_size=(32, 32),
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
        image_size=(224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_padding=0,
        flip=True,
    ),
    DatasetInfo(
        name="synthetic",
        classes=4,
        image_channels=3,
        image_size=(16, 16),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        crop_padding=2,
        flip=True,
        train_images=320,
    ),
)
DATASETS = {info.name: info for info in _DATASETS}
"""The built-in data sets by name.  ImageNet's number of classes is the official one; a folder tree may have fewer."""


def dataset_info(config: SearchConfig | RetrainConfig) -> DatasetInfo:
    """The data set of a configuration, at the size of the network's input; reads no images.

    The statistics of own images are those of `pcdarts.data.sources.load`; here they are 0 and 1.  Raises ValueError for
    own images that `pcdarts.data.sources.described` has not looked at.
    """
    if config.dataset in DATASETS:
        info = DATASETS[config.dataset]
        return with_flip(resized(info, config.image_size), config) if config.image_size else with_flip(info, config)
    if not config.classes:
        raise ValueError(
            f"classes is 0, but must be that of the images in {config.data_dir}; "
            "fill it in with pcdarts.data.sources.described"
        )
    size = config.image_height, config.image_width
    return own_info(config, classes=config.classes, channels=config.image_channels, size=size)


def own_info(
    config: SearchConfig | RetrainConfig,
    *,
    classes: int,
    channels: int,
    size: tuple[int, int],
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    train_images: int = 0,
) -> DatasetInfo:
    """Own images: crops are shifted by up to an eighth of the shorter side, as for CIFAR."""
    info = DatasetInfo(
        name=config.dataset,
        classes=classes,
        image_channels=channels,
        image_size=size,
        mean=mean or (0.0,) * channels,
        std=std or (1.0,) * channels,
        crop_padding=max(1, min(size) // 8),
        flip=True,
        train_images=train_images,
    )
    return with_flip(info, config)


def resized(info: DatasetInfo, side: int) -> DatasetInfo:
    """The data set with square images of another size; the padding of the random crop keeps its share."""
    padding = info.crop_padding and max(1, round(info.crop_padding * side / min(info.image_size)))
    return dataclasses.replace(info, image_size=(side, side), crop_padding=padding)


def with_flip(info: DatasetInfo, config: SearchConfig | RetrainConfig) -> DatasetInfo:
    """The data set with flips as the configuration wants them."""
    return info if config.flip == "auto" else dataclasses.replace(info, flip=config.flip == "on")


def fingerprint(train: Images, test: Images) -> str:
    """Number, shape and digest of images in memory: equal for equal images in the same order."""
    digest = hashlib.sha256()
    for part in (train, test):
        for tensor in part:
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.contiguous().numpy())
    shape = "x".join(map(str, train.images.shape[1:]))
    return f"{len(train.labels)}+{len(test.labels)} images, {shape}, {digest.hexdigest()[:8]}"


def batch_sizes(total: int, batch_size: int) -> list[int]:
    """Sizes of the batches of a pass over `total` images.

    A last batch of one image joins the batch before: batch norm cannot normalize a single value.
    """
    sizes = [min(batch_size, total - start) for start in range(0, total, batch_size)]
    if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
        sizes[-2:] = [batch_size + 1]
    return sizes
