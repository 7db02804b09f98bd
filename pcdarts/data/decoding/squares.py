"""Images of a search, decoded once and kept in a file as squares of bytes.

A search sees the same images in every epoch, 160,000 of ImageNet: decoding them takes most of the time of loading.  A
square is the whole image, resized without regard to its ratio, so that random boxes are those of the image itself; a
box only holds fewer pixels.  Whether squares are kept or decoded in every pass, batches are the same.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcdarts.data.datasets import DatasetInfo
from pcdarts.data.decoding.crops import center_boxes, cut_out, random_boxes, scaled_boxes, shorter_side
from pcdarts.data.decoding.decoder import Batch, in_one_line, mode_of, pixels_of
from pcdarts.data.pixels import opened, reason, reduced, shown

FORMAT = 1
"""Changes with what a square or the file looks like."""
SPARE = 2**30
"""Bytes that must stay free on the disk."""

_log = logging.getLogger(__name__)


class SquareFile:
    """Squares (N, side, side, C), uint8, then the sizes of the images (N, 2), int32; whole, or not under its name."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = path, shape
        self._pixels = int(np.prod(shape))
        self.bytes = self._pixels + 8 * shape[0]

    def read(self, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Sizes (N, 2) of some images, and views (C, side, side) of their squares.

        Raises OSError without the file, and ValueError for one of another size.
        """
        if self.path.stat().st_size != self.bytes:
            raise ValueError(f"{shown(self.path)} must have {self.bytes} bytes; remove it")
        sizes = np.memmap(self.path, "<i4", "r", self._pixels, (self.shape[0], 2))[indices]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the map is read-only, and nobody writes to it
            squares = torch.from_numpy(np.memmap(self.path, np.uint8, "r", 0, self.shape))
        return torch.from_numpy(sizes.astype(np.int64)), [squares[index].permute(2, 0, 1) for index in indices]

    def write(self, images: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Write batches of sizes and squares as `_Squares` makes them; a reader sees the whole file or none.

        Raises OSError, such as of a full disk.
        """
        draft = self.path.with_name(self.path.name + ".draft")  # one writer at a time; it replaces a killed one's draft
        try:
            with draft.open("wb") as file:
                sizes = []
                for some, squares in images:
                    file.write(squares.numpy())
                    sizes.append(some)
                file.write(torch.cat(sizes).numpy().astype("<i4").tobytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)


class SquareDecoder(Dataset[tuple[Tensor, Tensor]]):
    """Decodes like `FileDecoder`, by way of squares, which it keeps if it knows the `fingerprint` of the images."""

    def __init__(self, folder: Path, paths: Sequence[str], info: DatasetInfo, fingerprint: str = "") -> None:
        self.size, self.channels = info.image_size, info.image_channels
        self.squares = _Squares(folder, info)
        self.file: SquareFile | None = None
        if fingerprint:
            side, key = self.squares.side, hashlib.sha256(f"{FORMAT} {fingerprint}\n".encode())
            for path in paths:
                key.update(f"{path}\n".encode(errors="surrogateescape"))
            name = f"{len(paths)}x{side}x{side}x{self.channels}-{key.hexdigest()[:16]}.squares"
            self.file = SquareFile(cache_folder() / name, (len(paths), side, side, self.channels))

    def prepare(self, paths: Sequence[str], processes: int) -> None:
        """Decode all images and keep them, unless that is done: of all processes on a node, one decodes.

        `processes` help it, and the others wait.  Where the file cannot be written, every pass will decode.

        Raises ValueError that names an image that cannot be read.
        """
        file = self.file
        if file is None or file.path.exists():
            return
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with open(file.path.with_name(file.path.name + ".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process ends, even if it is killed
                if file.path.exists():
                    return
                free = shutil.disk_usage(file.path.parent).free
                if free < file.bytes + SPARE:
                    raise OSError(f"{free / 1e9:.1f} GB are free")
                _log.warning(
                    "Decoding %d images once, into %s (%.1f GB)", len(paths), shown(file.path), file.bytes / 1e9
                )
                with in_one_line():
                    file.write(self._decoded(paths, processes))
        except OSError as error:
            _log.warning(
                "%s cannot be written (%s), so images are decoded in every epoch, which is slower; free %.1f GB there, "
                "or set XDG_CACHE_HOME to another folder",
                shown(file.path),
                reason(error),
                (file.bytes + SPARE) / 1e9,
            )
            self.file = None

    def _decoded(self, paths: Sequence[str], processes: int) -> Iterator[tuple[Tensor, Tensor]]:
        some = [list(paths[start : start + 64]) for start in range(0, len(paths), 64)]
        yield from DataLoader(
            self.squares,
            batch_size=None,
            sampler=some,
            num_workers=min(processes, len(some)),
            generator=torch.Generator(),  # otherwise it draws from the global generator
        )

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W), uint8, and labels (N,); N may be 0."""
        sizes, squares = self._read(batch)
        if batch.seed is None:
            boxes = center_boxes(sizes, self.size)
        else:
            boxes = random_boxes(sizes, batch.draws(batch.seed))
        side = torch.tensor([self.squares.side, self.squares.side])
        images = torch.empty(len(squares), self.channels, *self.size, dtype=torch.uint8)
        for i, box in enumerate(scaled_boxes(boxes, sizes, side).tolist()):
            images[i] = cut_out(squares[i], box, self.size)
        return images, torch.tensor(batch.labels, dtype=torch.int64)

    def _read(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Sizes (N, 2) of the images and their squares (C, side, side)."""
        if self.file is not None:
            try:
                return self.file.read(batch.indices)
            except OSError:  # removed by the user
                pass
        sizes, squares = self.squares[batch.paths]
        return sizes, list(squares.permute(0, 3, 1, 2))


class _Squares(Dataset[tuple[Tensor, Tensor]]):
    """Sizes (N, 2) and squares (N, side, side, C) of some files."""

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        self.folder, self.mode, self.channels = folder, mode_of(info), info.image_channels
        self.side = shorter_side(info.image_size)

    def __getitem__(self, paths: list[str]) -> tuple[Tensor, Tensor]:
        sizes = torch.zeros(len(paths), 2, dtype=torch.int64)
        squares = torch.empty(len(paths), self.side, self.side, self.channels, dtype=torch.uint8)
        for i, path in enumerate(paths):
            with opened(self.folder / path) as image:
                sizes[i] = torch.tensor([image.height, image.width])
                pixels = pixels_of(reduced(image, min(image.size) / self.side), self.mode)
            whole = [0, 0, *pixels.shape[1:]]
            squares[i] = cut_out(pixels, whole, (self.side, self.side)).permute(1, 2, 0)
        return sizes, squares


def cache_folder() -> Path:
    """Where squares are kept: `$XDG_CACHE_HOME/pcdarts`, by default in ~/.cache.

    Raises OSError without a home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pcdarts")
    except RuntimeError as error:
        raise OSError(str(error)) from error
