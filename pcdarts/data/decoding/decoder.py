"""Batches of image files as pixels at the size of the network's input; this is what worker processes do."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import decode_jpeg
from torchvision.transforms import v2

from pcdarts.data.datasets import DatasetInfo
from pcdarts.data.decoding.crops import DRAWS, cut_out, random_box, shorter_side
from pcdarts.data.pixels import open_image, opened, reduced


class Batch(NamedTuple):
    """The images of a batch that a training worker decodes.

    A decoder is indexed by it, so that worker processes need no copy of a million paths.
    """

    indices: list[int]
    """Places of the images in their part."""
    paths: list[str]
    """Their files, below the folder of the decoder."""
    labels: list[int]
    """Their classes."""
    rows: slice
    """Which rows of the whole batch they are."""
    total: int
    """Images in the whole batch."""
    seed: int | None
    """Seed of the augmentation of the whole batch; None: no augmentation."""


class Decoder(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images (N, C, H, W), uint8, and labels (N,) of batches; N may be 0.

    For training they are random boxes, flipped with probability 1/2 if the data set says so; for evaluation, centers.
    """

    def __init__(self, info: DatasetInfo) -> None:
        self.size, self.channels, self.flip = info.image_size, info.image_channels, info.flip
        self.mode = "L" if info.image_channels == 1 else "RGB"

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images = torch.empty(len(batch.paths), self.channels, *self.size, dtype=torch.uint8)
        if batch.seed is None:
            for image, decoded in zip(images, self.decoded(batch, None), strict=True):
                image.copy_(decoded)
        else:
            generator = torch.Generator().manual_seed(batch.seed)
            draws = torch.rand(batch.total, 1 + DRAWS, generator=generator, dtype=torch.float64)[batch.rows].tolist()
            boxes = [draw[1:] for draw in draws]
            for image, decoded, (flip, *_) in zip(images, self.decoded(batch, boxes), draws, strict=True):
                image.copy_(decoded)
                if self.flip and flip < 0.5:
                    image.copy_(image.flip(-1))  # not `decoded`, whose channels are last
        return images, torch.tensor(batch.labels, dtype=torch.int64)

    @abstractmethod
    def decoded(self, batch: Batch, draws: list[list[float]] | None) -> Iterator[Tensor]:
        """The images of a batch (C, H, W): random boxes decided by their draws, or centers."""


class FileDecoder(Decoder):
    """Decodes files in every pass.

    If a random box is at least twice as large as the network's input, its JPEG file is decoded at a half, a quarter or
    an eighth of its size.  Centers are those of torchvision's Resize and CenterCrop, exactly.
    """

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        super().__init__(info)
        self.folder = folder
        side = shorter_side(self.size)
        self.center = v2.Compose([v2.Resize(side), v2.CenterCrop(self.size), v2.PILToTensor()])

    def decoded(self, batch: Batch, draws: list[list[float]] | None) -> Iterator[Tensor]:
        """The images of a batch (C, H, W): random boxes decided by their draws, or centers."""
        for i, path in enumerate(batch.paths):
            if draws is None:
                yield self.center(open_image(self.folder / path).convert(self.mode))
            else:
                yield self._random_box(self.folder / path, draws[i])

    def _random_box(self, path: Path, draws: list[float]) -> Tensor:
        with opened(path) as image:
            size = image.height, image.width
            box = random_box(size, draws)
            pixels = pixels_of(image, self.mode, min(box.height / self.size[0], box.width / self.size[1]))
        height, width = pixels.shape[1:]
        return cut_out(pixels, box.scaled(size, (height, width)), self.size)


def pixels_of(image: Image.Image, mode: str, factor: float) -> Tensor:
    """An opened image as uint8 (C, H, W); sides of a JPEG image may be up to `factor` times shorter.

    It is a view with the channels last, which is resized fastest.
    """
    if factor < 2 and isinstance(image, JpegImageFile) and image.fp and image.mode == mode:
        # The pixels that Pillow reads, in less time.
        image.fp.seek(0)
        return decode_jpeg(torch.frombuffer(bytearray(image.fp.read()), dtype=torch.uint8))
    whole = reduced(image, factor)
    array = np.array(whole if whole.mode == mode else whole.convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Leave only the line about the file in an error of a worker process, which puts its traceback before it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).strip().rpartition("\nValueError: ")[2]) from error
