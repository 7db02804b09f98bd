"""The data sets: sizes, statistics and augmentation of each, and the types of images in memory."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from torch import Tensor

from pcdarts.config import OWN_IMAGES, RetrainConfig, SearchConfig
from pcdarts.data.images import statistics
from pcdarts.data.pixels import shown

Config = TypeVar("Config", bound=SearchConfig | RetrainConfig)
MEMORY_LIMIT = 2 * 1024**3
"""Bytes of own images, as uint8, that are held in memory; larger trees are read from their files in every pass.  A
constant, as the batches of the two differ: the machine must not decide."""


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
    class_names: tuple[str, ...] = ()
    """Names of the classes of own images, for messages."""


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """What the images of a configuration are, found by looking at all of them; plain values, for JSON."""

    dataset: str
    """Name in a configuration."""
    place: str
    """Absolute path of the folder or file; empty for sets that come with a library."""
    fingerprint: str
    """Number, shape and digest of the images; empty for sets that come with a library."""
    classes: tuple[str, ...]
    """Names of the classes by label; their numbers where nothing else is known."""
    train_images: tuple[int, ...]
    """Training images of every class."""
    test_images: tuple[int, ...]
    """Test images of every class."""
    channels: int
    """Channels of the network's input."""
    height: int
    """Height of the network's input, pixels."""
    width: int
    """Width of the network's input, pixels."""
    mean: tuple[float, ...]
    """Mean of every channel that images are normalized with, scaled to [0, 1]."""
    std: tuple[float, ...]
    """Standard deviation of every channel that images are normalized with, scaled to [0, 1]."""
    crop_padding: int
    """Pixels by which training images are shifted at most; 0 if they are not, or randomly cropped and resized."""
    flip: bool
    """Whether training images are flipped horizontally at random."""
    test_part: str
    """Where the test images come from."""
    split_off: tuple[str, ...]
    """Training images that became test images: paths below train, or rows of train_images."""
    in_both: tuple[str, ...]
    """Test images that are copies of training images: paths, or rows of the arrays."""
    left_out: dict[str, int]
    """Number of entries of the folders that are no images, by extension."""
    in_memory: bool
    """Whether the images are held in memory."""

    def fill_in(self, config: Config) -> Config:
        """The configuration with the fingerprint of its images, and of own images with their shape."""
        if config.dataset not in OWN_IMAGES:
            return dataclasses.replace(config, data_fingerprint=self.fingerprint)
        return dataclasses.replace(
            config,
            classes=len(self.classes),
            image_channels=self.channels,
            image_height=self.height,
            image_width=self.width,
            data_fingerprint=self.fingerprint,
        )

    @property
    def summary(self) -> str:
        """The description in one line."""
        place = f", in {self.place}" if self.place else ""
        parts = [
            f"{self.dataset}: {len(self.classes)} classes, {self.channels} x {self.height} x {self.width} pixels, "
            f"{sum(self.train_images)} training and {sum(self.test_images)} test images{place}",
            f"test images: {self.test_part}",
        ]
        if self.in_both:
            named = ", ".join(map(shown, self.in_both[:3])) + (", ..." if len(self.in_both) > 3 else "")
            one = "1 of them is a copy of a training image"
            many = f"{len(self.in_both)} of them are copies of training images"
            parts.append(f"{one if len(self.in_both) == 1 else many} ({named}): keep each in one part only")
        if self.left_out:
            kinds = [f"{kind} {count}" for kind, count in Counter(self.left_out).most_common(5)]
            more = ", ..." if len(self.left_out) > 5 else ""
            parts.append(f"{sum(self.left_out.values())} files left out: {', '.join(kinds)}{more}")
        return "; ".join(parts)


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
    shape = (config.image_channels, config.image_height, config.image_width)
    in_memory = config.data_fingerprint and fits_memory(config)
    return own_info(config, config.classes, shape, image_counts(config.data_fingerprint)[0] if in_memory else 0)


def fits_memory(config: SearchConfig | RetrainConfig) -> bool:
    """Whether the images of a configuration are held in memory; reads no images.

    Raises ValueError for own images that `pcdarts.data.sources.described` has not looked at.
    """
    if config.dataset not in OWN_IMAGES:
        return config.dataset != "imagenet"
    images = sum(image_counts(config.data_fingerprint))
    return images * config.image_channels * config.image_height * config.image_width <= MEMORY_LIMIT


def own_info(
    config: SearchConfig | RetrainConfig, classes: int, shape: tuple[int, int, int], train_images: int
) -> DatasetInfo:
    """Own images of a shape (C, H, W): crops are shifted by up to an eighth of the shorter side, as for CIFAR."""
    channels, height, width = shape
    info = DatasetInfo(
        name=config.dataset,
        classes=classes,
        image_channels=channels,
        image_size=(height, width),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        crop_padding=max(1, min(height, width) // 8),
        flip=True,
        train_images=train_images,
    )
    return with_flip(info, config)


def own_image_set(
    config: SearchConfig | RetrainConfig, train: Images, test: Images, class_names: Sequence[str]
) -> ImageSet:
    """Own images in memory, with the statistics of the training images."""
    _, channels, height, width = train.images.shape
    mean, std = statistics(train.images)
    info = own_info(config, len(class_names), (channels, height, width), len(train.labels))
    return ImageSet(dataclasses.replace(info, mean=mean, std=std, class_names=tuple(class_names)), train, test)


def resized(info: DatasetInfo, side: int) -> DatasetInfo:
    """The data set with square images of another size; the padding of the random crop keeps its share."""
    padding = info.crop_padding and max(1, round(info.crop_padding * side / min(info.image_size)))
    return dataclasses.replace(info, image_size=(side, side), crop_padding=padding)


def with_flip(info: DatasetInfo, config: SearchConfig | RetrainConfig) -> DatasetInfo:
    """The data set with the flips of the configuration."""
    return info if config.flip == "auto" else dataclasses.replace(info, flip=config.flip == "on")


def fingerprint(train: Images, test: Images) -> str:
    """Number, shape and digest of images in memory: equal for equal images in the same order."""
    digest = hashlib.sha256()
    for part in (train, test):
        for tensor in part:
            digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.contiguous().numpy())
    shape = "x".join(map(str, train.images.shape[1:]))
    return fingerprint_text(len(train.labels), len(test.labels), shape, digest.hexdigest())


def fingerprint_text(train: int, test: int, shape: str, digest: str) -> str:
    """A fingerprint: number of training and test images, their shape, and the first digits of their digest."""
    return f"{train}+{test} images, {shape}, {digest[:8]}"


def image_counts(fingerprint: str) -> tuple[int, int]:
    """Numbers of training and test images in a fingerprint."""
    found = re.match(r"(\d+)\+(\d+) images, ", fingerprint)
    if not found:
        raise ValueError(
            f"data_fingerprint is {fingerprint!r}, but must be as pcdarts.data.sources.described fills it in"
        )
    return int(found[1]), int(found[2])


def image_digests(part: Images) -> list[str]:
    """A digest of the pixels of each image."""
    return [hashlib.blake2b(image.contiguous().numpy(), digest_size=16).hexdigest() for image in part.images]


def copies(test: Iterable[tuple[str, str]], train: Iterable[str]) -> tuple[str, ...]:
    """Names of the test images, given with their digests, whose digest is that of a training image as well."""
    known = set(train)
    return tuple(name for name, digest in test if digest in known)


def require_classes(counts: Sequence[int], names: Sequence[str], part: str) -> None:
    """Raise ValueError unless every class, by its name, has an image in a part with these counts."""
    empty = [shown(name) for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(names)} classes have no images {part}: {', '.join(empty[:3])}"
            f"{', ...' if len(empty) > 3 else ''}; every class needs some, so add images or leave the classes out"
        )


def describe(
    data: ImageSet,
    *,
    place: str = "",
    fingerprint: str = "",
    test_part: str,
    split_off: Sequence[str] = (),
    in_both: Sequence[str] = (),
    left_out: Mapping[str, int] = MappingProxyType({}),
) -> DataDescription:
    """The description of images in memory."""
    info = data.info
    train, test = (part.labels.bincount(minlength=info.classes).tolist() for part in (data.train, data.test))
    return DataDescription(
        dataset=info.name,
        place=place,
        fingerprint=fingerprint,
        classes=info.class_names or tuple(map(str, range(info.classes))),
        train_images=tuple(train),
        test_images=tuple(test),
        channels=info.image_channels,
        height=info.image_size[0],
        width=info.image_size[1],
        mean=info.mean,
        std=info.std,
        crop_padding=info.crop_padding,
        flip=info.flip,
        test_part=test_part,
        split_off=tuple(split_off),
        in_both=tuple(in_both),
        left_out=dict(left_out),
        in_memory=True,
    )


def batch_sizes(total: int, batch_size: int) -> list[int]:
    """Sizes of the batches of a pass over `total` images.

    A last batch of one image joins the batch before: batch norm cannot normalize a single value.
    """
    sizes = [min(batch_size, total - start) for start in range(0, total, batch_size)]
    if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
        sizes[-2:] = [batch_size + 1]
    return sizes
