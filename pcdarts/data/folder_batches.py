"""Batches of image files, decoded by worker processes and augmented on the device."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pcdarts.data.augment import color_jitter, cutout, normalize
from pcdarts.data.datasets import DatasetInfo, batch_sizes
from pcdarts.data.decoding.decoder import Batch, FileDecoder, in_one_line
from pcdarts.data.decoding.squares import SquareDecoder
from pcdarts.training.distributed import ALONE, Workers


class FolderBatches:
    """`ImageBatches` (see `pcdarts.data.batches`) over image files, decoded by `workers` processes.

    Images are pairs of a path below `folder` and a label.  With `squares` they are decoded by way of squares, which are
    kept on disk if the `fingerprint` of the images is known; see `pcdarts.data.decoding.squares`.

    Draws depend only on the generator: any number of processes, 0 included, gives the same batches.  The processes of a
    complete pass are reused by the next one; a pass that starts while another is running gets new processes.  Squares
    that are kept are read by as many threads instead.  A training worker (`part`) decodes and yields only its own rows
    of every batch.  Processes crop, resize and flip; images are transferred as uint8, then jittered and normalized on
    the device, in whole batches.
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
        squares: bool = False,
        fingerprint: str = "",
        workers: int = 0,
        part: Workers = ALONE,
    ) -> None:
        self.classes = info.classes
        self.image_channels = info.image_channels
        self.image_size = info.image_size
        self._info, self._images, self._device = info, images, device
        self._cutout, self._jitter = cutout, jitter
        self._workers, self._part = workers, part
        self._decoder: FileDecoder | SquareDecoder = FileDecoder(folder, info)
        if squares:
            self._decoder = SquareDecoder(folder, [path for path, _ in images], info, fingerprint)
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
        orders = torch.Generator().manual_seed(_seeds(1, generator)[0])
        passes = (self._shuffled(batch_size, orders) for _ in itertools.count())
        sizes = itertools.cycle(batch_sizes(len(self), batch_size))
        yield from self._augmented(itertools.chain.from_iterable(passes), sizes, generator)

    def in_order(self, batch_size: int, indices: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation: over all images in stored order, or over those of these indices (M,)."""
        chosen = torch.arange(len(self)) if indices is None else indices
        for images, labels in self._decoded(self._batch(some, None) for some in chosen.split(batch_size)):
            yield self._normalized(images), labels

    def _shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        sizes = batch_sizes(len(self), batch_size)
        order, seeds = torch.randperm(len(self), generator=generator), _seeds(len(sizes), generator)
        return (self._batch(some, seed) for some, seed in zip(order.split(sizes), seeds, strict=True))

    def _batch(self, indices: Tensor, seed: int | None) -> Batch:
        """The rows that this worker decodes of a batch of images."""
        rows = self._part.rows(len(indices))
        mine = indices[rows].tolist()
        paths, labels = [self._images[i][0] for i in mine], [self._images[i][1] for i in mine]
        return Batch(mine, paths, labels, rows, len(indices), seed)

    def _augmented(
        self, batches: Iterator[Batch], sizes: Iterable[int], generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for (images, labels), total in zip(self._decoded(batches), sizes, strict=False):
            rows = self._part.rows(total)
            if self._jitter:
                images = color_jitter(images, generator, total, rows)
            images = self._normalized(images)
            if self._cutout:
                images = cutout(images, self._cutout, generator, total, rows)
            yield images, labels

    def _normalized(self, images: Tensor) -> Tensor:
        return normalize(images, self._info.mean, self._info.std)

    def _decoded(self, batches: Iterator[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, uint8, and labels of this worker's rows of the batches, on the device."""
        if isinstance(self._decoder, SquareDecoder):
            self._decoder.prepare([path for path, _ in self._images], self._workers)
            if self._decoder.file is not None and self._workers:
                yield from self._on_device(self._in_threads(batches))
                return
        if self._busy:
            yield from self._on_device(self._make_loader(_PassSampler(batches), persistent=False))
            return
        if self._loader is None:
            sampler = _PassSampler(batches)
            self._loader = sampler, self._make_loader(sampler, persistent=self._workers > 0)
        sampler, loader = self._loader
        sampler.batches, self._busy = batches, True
        finished = False
        try:
            yield from self._on_device(loader)
            finished = True
        finally:
            self._busy = False
            if not finished:  # the processes still hold images of an abandoned pass
                self._loader = None

    def _in_threads(self, batches: Iterator[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in order, from threads that run ahead.

        To crop a square takes little Python and little time: a process would spend as much on handing it over.
        """
        pool = ThreadPoolExecutor(self._workers)
        try:
            ahead = deque(pool.submit(self._in_memory, batch) for batch in islice(batches, 2 * self._workers))
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(self._in_memory, batch) for batch in islice(batches, 1))
        finally:
            pool.shutdown(cancel_futures=True)

    def _in_memory(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = self._decoder[batch]
        return (images.pin_memory(), labels.pin_memory()) if self._device.type == "cuda" else (images, labels)

    def _make_loader(self, sampler: "_PassSampler", *, persistent: bool) -> DataLoader[Any]:
        return DataLoader(
            self._decoder,
            batch_size=None,  # the sampler makes batches
            sampler=sampler,
            num_workers=self._workers,
            persistent_workers=persistent,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # otherwise it draws from the global generator
        )

    def _on_device(self, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        with in_one_line():
            for images, labels in loader:
                # As uint8, a quarter of the size of floats.
                yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class _PassSampler:
    """A sampler whose batches are replaced in every pass, as a loader keeps its sampler."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self.batches


def _seeds(count: int, generator: torch.Generator) -> list[int]:
    return torch.randint(2**62, (count,), generator=generator).tolist()
