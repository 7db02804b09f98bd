"""Batches of image files as pixels at the size of the network's input; this is what worker processes do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from pcdarts.data.datasets import DatasetInfo
from pcdarts.data.decoding.crops import DRAWS, cut_out, random_boxes, scaled_boxes, shorter_side
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
    """Seed of the whole batch's random boxes; None: no augmentation."""

    def draws(self, seed: int) -> Tensor:
        """Numbers (N, DRAWS) that decide the random boxes of these images."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(self.total, DRAWS, generator=generator, dtype=torch.float64)[self.rows]


class FileDecoder(Dataset[tuple[Tensor, Tensor]]):
    """Decodes files: a random box of each for training, the center for evaluation.

    A random box is drawn before its image is decoded.  If it is at least twice as large as the network's input, a JPEG
    is decoded at a half, a quarter or an eighth of its size.  Evaluated images are those of torchvision's Resize and
    CenterCrop, exactly.
    """

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        self.folder, self.shape = folder, (info.image_channels, *info.image_size)
        self.size, self.mode = info.image_size, mode_of(info)
        side = shorter_side(self.size)
        self.test_transform = v2.Compose([v2.Resize(side), v2.CenterCrop(self.size), v2.PILToTensor()])

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W), uint8, and labels (N,); N may be 0."""
        images = torch.empty(len(batch.paths), *self.shape, dtype=torch.uint8)
        draws = None if batch.seed is None else batch.draws(batch.seed)
        for i, path in enumerate(batch.paths):
            if draws is None:
                images[i] = self.test_transform(open_image(self.folder / path).convert(self.mode))
            else:
                images[i] = self._random_box(self.folder / path, draws[i : i + 1])
        return images, torch.tensor(batch.labels, dtype=torch.int64)

    def _random_box(self, path: Path, draws: Tensor) -> Tensor:
        with opened(path) as image:
            size = torch.tensor([[image.height, image.width]])
            box = random_boxes(size, draws)
            pixels = pixels_of(reduced(image, factor(box, self.size)), self.mode)
        (decoded,) = scaled_boxes(box, size, torch.tensor([pixels.shape[1:]])).tolist()
        return cut_out(pixels, decoded, self.size)


def factor(box: Tensor, size: tuple[int, int]) -> float:
    """How many times shorter the sides of an image may become so that a box (1, 4) still has `size`."""
    _, _, height, width = box[0].tolist()
    return min(height / size[0], width / size[1])


def mode_of(info: DatasetInfo) -> str:
    """Pillow's mode of the images of a data set."""
    return "L" if info.image_channels == 1 else "RGB"


def pixels_of(image: Image.Image, mode: str) -> Tensor:
    """A decoded image as uint8 (C, H, W); a view with the channels last, which is resized fastest."""
    array = np.array(image if image.mode == mode else image.convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Leave only the line about the file in an error of a worker process, which puts its traceback before it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).strip().rpartition("\nValueError: ")[2]) from error
