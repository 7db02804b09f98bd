"""Batches of image files, decoded and augmented by worker processes."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pcdarts.data.augment import cutout, normalize
from pcdarts.data.datasets import DatasetInfo, batch_sizes
from pcdarts.data.pixels import open_image
from pcdarts.training.distributed import ALONE, Workers

_Item = tuple[str, int, int | None]
"""Path, label and seed of the augmentation; None: no augmentation."""


class FolderBatches:
    """`ImageBatches` (see `pcdarts.data.batches`) over image files, decoded and augmented by `workers` processes.

    Images are pairs of a path below `folder` and a label.  Draws depend only on the generator: any number of processes,
    0 included, gives the same batches.  The processes of a complete pass are reused by the next one; a pass that starts
    while another is running gets new processes.  A training worker (`part`) decodes and yields only its own rows of
    every batch.  Images are transferred as uint8 and normalized on the device.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[tuple[str, int]],
        info: DatasetInfo,
        *,
        device: torch.device,
        cutout: int = 0,
        jitter: bool = False,
        workers: int = 0,
        part: Workers = ALONE,
    ) -> None:
        self.classes = info.classes
        self.image_channels = info.image_channels
        self.image_size = info.image_size
        self._info, self._images, self._device, self._cutout = info, images, device, cutout
        self._workers, self._part = workers, part
        self._decoder = Decoder(folder, info, jitter)
        self._loader: tuple[_PassSampler, DataLoader[Any]] | None = None
        self._busy = False

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all images, augmented, in an order drawn from the generator."""
        yield from self._augmented(self._shuffled(batch_size, generator), batch_sizes(len(self), batch_size), generator)

    def stream(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes, each in a new order."""
        # Workers run ahead, across passes.  Orders come from a separate generator, so that the state of `generator`
        # does not depend on how far they are: a resumed search then draws the same as an uninterrupted one.
        orders = torch.Generator().manual_seed(int(_seeds(1, generator)))
        passes = (self._shuffled(batch_size, orders) for _ in itertools.count())
        sizes = itertools.cycle(batch_sizes(len(self), batch_size))
        yield from self._augmented(itertools.chain.from_iterable(passes), sizes, generator)

    def in_order(self, batch_size: int, indices: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation: over all images in stored order, or over those of these indices (M,)."""
        chosen = self._images if indices is None else [self._images[index] for index in indices.tolist()]
        items: list[_Item] = [(path, label, None) for path, label in chosen]
        yield from self._decoded(items[start : start + batch_size] for start in range(0, len(items), batch_size))

    def _shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[list[_Item]]:
        order = torch.randperm(len(self), generator=generator)
        seeds, sizes = _seeds(len(self), generator), batch_sizes(len(self), batch_size)
        return (
            [(*self._images[i], seed) for i, seed in zip(indices.tolist(), some.tolist(), strict=True)]
            for indices, some in zip(order.split(sizes), seeds.split(sizes), strict=True)
        )

    def _augmented(
        self, batches: Iterator[list[_Item]], sizes: Iterable[int], generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for (images, labels), total in zip(self._decoded(batches), sizes, strict=False):
            if self._cutout:
                images = cutout(images, self._cutout, generator, total, self._part.rows(total))
            yield images, labels

    def _decoded(self, batches: Iterable[list[_Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decoded images and labels of this worker's rows of the batches."""
        mine = (batch[self._part.rows(len(batch))] for batch in batches)
        if self._busy:
            yield from self._on_device(self._make_loader(_PassSampler(mine), persistent=False))
            return
        if self._loader is None:
            sampler = _PassSampler(mine)
            self._loader = sampler, self._make_loader(sampler, persistent=self._workers > 0)
        sampler, loader = self._loader
        sampler.batches, self._busy = mine, True
        finished = False
        try:
            yield from self._on_device(loader)
            finished = True
        finally:
            self._busy = False
            if not finished:  # the processes still hold images of an abandoned pass
                self._loader = None

    def _make_loader(self, sampler: "_PassSampler", *, persistent: bool) -> DataLoader[Any]:
        return DataLoader(
            self._decoder,
            batch_sampler=sampler,
            num_workers=self._workers,
            persistent_workers=persistent,
            pin_memory=self._device.type == "cuda",
            collate_fn=partial(_collate, (self._info.image_channels, *self._info.image_size)),
            generator=torch.Generator(),  # otherwise it draws from the global generator
        )

    def _on_device(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        try:
            for images, labels in loader:
                images = images.to(self._device, non_blocking=True)  # as uint8, a quarter of the size of floats
                yield normalize(images, self._info.mean, self._info.std), labels.to(self._device, non_blocking=True)
        except ValueError as error:  # a process puts its traceback before the line about the file
            raise ValueError(str(error).strip().rpartition("\nValueError: ")[2]) from error


class _PassSampler:
    """A sampler whose batches are replaced in every pass, as a loader keeps its sampler."""

    def __init__(self, batches: Iterator[list[_Item]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[_Item]]:
        return self.batches


def _collate(shape: tuple[int, ...], items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and labels (N,); N may be 0."""
    if not items:
        return torch.zeros(0, *shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels)


def _seeds(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2**62, (count,), generator=generator)


class Decoder(Dataset[tuple[Tensor, int]]):
    """Decodes and augments an image: random crop, horizontal flip, optionally color jitter.

    It is indexed by whole items, so that workers need no copy of a million paths.
    """

    def __init__(self, folder: Path, info: DatasetInfo, jitter: bool = False) -> None:
        self.folder = folder
        self.mode = "L" if info.image_channels == 1 else "RGB"
        flips = [v2.RandomHorizontalFlip()] if info.flip else []
        colors = [v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)] if jitter else []
        self.train_transform = v2.Compose([v2.RandomResizedCrop(info.image_size), *flips, *colors, v2.PILToTensor()])
        shorter_side = round(max(info.image_size) * 256 / 224)
        self.test_transform = v2.Compose([v2.Resize(shorter_side), v2.CenterCrop(info.image_size), v2.PILToTensor()])

    def __getitem__(self, item: _Item) -> tuple[Tensor, int]:
        path, label, seed = item
        image = open_image(self.folder / path).convert(self.mode)
        if seed is None:
            return self.test_transform(image), label
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
            torch.default_generator.manual_seed(seed)
            return self.train_transform(image), label
