"""Data sets: images for weights and for alpha in a search; training, validation and test images for a retraining.

Data sets that fit into memory are held on the device as uint8 tensors and augmented there in whole batches, without
worker processes.  ImageNet and larger trees are read from image files instead, see `pcdarts.data.trees`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from pcdarts.config import OWN_IMAGES, RetrainConfig, SearchConfig
from pcdarts.data.augment import cutout, moved, normalize, random_crop, random_flip
from pcdarts.data.datasets import (
    DataDescription,
    DatasetInfo,
    Images,
    ImageSet,
    batch_sizes,
    fits_memory,
    require_classes,
)
from pcdarts.data.images import stratified_order
from pcdarts.data.sources import OnProgress, load, read
from pcdarts.training.distributed import ALONE, Workers

_PARTS = ("train_portion", "split_file", "validation_portion", "max_images")
"""Fields of searches and of trainings that decide into which parts images are split."""


class ImageBatches(Protocol):
    """Images with labels, in batches on the device: normalized float32 (B, C, H, W) and int64 labels (B,).

    The last batch of a pass may be smaller, but an augmented one never has a single image: that joins the batch before.
    Generators are on the CPU; equal ones give equal batches.
    """

    classes: int
    image_channels: int
    image_size: tuple[int, int]

    def __len__(self) -> int:
        """Number of images."""
        ...

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all images, augmented, in an order drawn from the generator."""
        ...

    def stream(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes, each in a new order."""
        ...

    def in_order(self, batch_size: int, indices: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation: over all images in stored order, or over those of these indices (M,)."""
        ...


class TensorBatches:
    """`ImageBatches` over uint8 images (N, C, H, W) and int64 labels (N,) held on the device.

    `chosen` (M,) selects images and their order by index, without copying them.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        info: DatasetInfo,
        *,
        device: torch.device,
        chosen: Tensor | None = None,
        cutout: int = 0,
        workers: Workers = ALONE,
    ) -> None:
        self.classes = info.classes
        self.image_channels = info.image_channels
        self.image_size = info.image_size
        self._info = info
        self._images, self._labels = images.to(device), labels.to(device)
        self._chosen = torch.arange(len(labels)) if chosen is None else chosen
        self._cutout, self._workers = cutout, workers

    def __len__(self) -> int:
        return len(self._chosen)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all images, augmented, in an order drawn from the generator."""
        order = moved(self._chosen[torch.randperm(len(self), generator=generator)], self._images.device)
        for chosen in order.split(batch_sizes(len(self), batch_size)):
            rows = self._workers.rows(len(chosen))
            # Augment the whole batch, so that all workers draw the same; that is cheap compared with the network.
            yield self._augmented(self._images[chosen], generator)[rows], self._labels[chosen][rows]

    def stream(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes, each in a new order."""
        while True:
            yield from self.epoch(batch_size, generator)

    def in_order(self, batch_size: int, indices: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation: over all images in stored order, or over those of these indices (M,)."""
        order = self._chosen if indices is None else self._chosen[indices]
        for batch in moved(order, self._images.device).split(batch_size):
            chosen = batch[self._workers.rows(len(batch))]
            yield normalize(self._images[chosen], self._info.mean, self._info.std), self._labels[chosen]

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self._info.crop_padding:
            images = random_crop(images, self._info.crop_padding, generator)
        if self._info.flip:
            images = random_flip(images, generator)
        images = normalize(images, self._info.mean, self._info.std)
        return cutout(images, self._cutout, generator) if self._cutout else images


def search_batches(
    config: SearchConfig, device: torch.device, *, data: ImageSet | None = None
) -> tuple[ImageBatches, ImageBatches]:
    """The training images for the weights, and those for alpha and beta.

    The first `train_portion` of the (first `max_images`) images, in stored order as in the official code, are for the
    weights.  ImageNet is split by `split_file` or its built-in lists instead.  Missing files of built-in sets are
    downloaded.  With `data`, the result of `sources.load`, nothing is read, and on the CPU nothing is copied.

    Raises ValueError for data that is missing or cannot be read.
    """
    if data is None and not fits_memory(config):
        from pcdarts.data import trees  # imports torchvision, which takes a second

        return trees.search_batches(config, device)
    info, train, _ = data or load(config)
    images, labels = _first(train, config.max_images)
    count = _part("train_portion", config.train_portion, len(labels))
    _require_classes(info, {"for the weights": labels[:count], "for alpha": labels[count:]})
    return (
        TensorBatches(images[:count], labels[:count], info, device=device, cutout=config.cutout),
        TensorBatches(images[count:], labels[count:], info, device=device, cutout=config.cutout),
    )


def retrain_batches(
    config: RetrainConfig,
    device: torch.device,
    *,
    workers: Workers = ALONE,
    data: ImageSet | None = None,
) -> tuple[ImageBatches, ImageBatches | None, ImageBatches]:
    """Training, validation and test images: of every batch, the rows of this worker.

    Validation images select the epoch: a stratified share of the training images, the same for every seed; None if
    `validation_portion` is 0.  Test images are the official test set.  `data` is as in `search_batches`.

    Raises ValueError for data that is missing or cannot be read.
    """
    if data is None and not fits_memory(config):
        from pcdarts.data import trees  # imports torchvision, which takes a second

        return trees.retrain_batches(config, device, workers)
    info, all_train, test = data or load(config)
    images, labels = _first(all_train, config.max_images)
    portion = config.validation_portion
    count = _part("validation_portion", portion, len(labels)) if portion else 0
    order = stratified_order(labels)
    valid, train = order[:count], order[count:]
    parts = {"for training": labels[train]} | ({"for validation": labels[valid]} if portion else {})
    _require_classes(info, parts)
    images, labels = images.to(device), labels.to(device)  # once for both
    return (
        TensorBatches(images, labels, info, device=device, chosen=train, cutout=config.cutout, workers=workers),
        TensorBatches(images, labels, info, device=device, chosen=valid, workers=workers) if portion else None,
        TensorBatches(*test, info, device=device, workers=workers),
    )


def spread(total: int, most: int) -> Tensor:
    """Indices of `most` of `total` images at equal distances; of all images if there are no more."""
    count = min(total, most)
    return torch.arange(count) * total // count


def check_dataset(
    *configs: SearchConfig | RetrainConfig,
    download: bool = False,
    processes: int = 0,
    on_progress: OnProgress | None = None,
) -> DataDescription:
    """Look at all images that these configurations read, and check the parts that each of them makes.

    Returns a description of the images.  Raises ValueError that names what is wrong and the remedy.
    """
    data, description = read(configs[0], download=download, processes=processes, on_progress=on_progress)
    check_parts([description.fill_in(config) for config in configs], data)
    return description


def check_parts(configs: Iterable[SearchConfig | RetrainConfig], data: ImageSet | None) -> None:
    """Raise ValueError if one of these configurations cannot split its images, which all of them read.

    `data` holds the images; None if they do not fit into memory.  Configurations that make the same parts are checked
    once, as listing a tree of files takes long.
    """
    cpu = torch.device("cpu")
    for config in {tuple(getattr(config, name, None) for name in _PARTS): config for config in configs}.values():
        if isinstance(config, SearchConfig):
            search_batches(config, cpu, data=data)
        else:
            retrain_batches(config, cpu, data=data)


def _first(part: Images, most: int) -> Images:
    """The first images in stored order; all of them if `most` is 0."""
    return Images(part.images[:most], part.labels[:most]) if most else part


def _require_classes(info: DatasetInfo, parts: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a class of own images is missing in a part, given its labels (N,)."""
    if info.name in OWN_IMAGES:
        for part, labels in parts.items():
            counts = labels.bincount(minlength=info.classes).tolist()
            require_classes(counts, info.class_names or [str(i) for i in range(info.classes)], part)


def _part(name: str, share: float, total: int) -> int:
    """A share of the images as a count, rounded down as in the official code."""
    count = math.floor(share * total)
    if not 0 < count < total:
        raise ValueError(f"{name} is {share}, but must leave some of the {total} training images on both sides")
    return count
