"""Images of a search, decoded once and kept in a file as squares of bytes.

A search sees the same images in every epoch, 160,000 of ImageNet: decoding them takes most of the time of loading.  A
square is the whole image, resized without regard to its ratio, so that random boxes are those of the image itself; a
box only holds fewer pixels.  Whether squares are kept or decoded in every pass, batches are the same.
"""

import fcntl
import hashlib
import logging
import math
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcdarts.data.datasets import DatasetInfo
from pcdarts.data.decoding.crops import Box, Size, center_box, cut_out, random_box
from pcdarts.data.decoding.decoder import Batch, Decoder, in_one_line, pixels_of
from pcdarts.data.image_files import cache_folder
from pcdarts.data.pixels import opened, reason, shown

SIDE = 11 / 7
"""Side of a square divided by the longer side of the network's input: 352 pixels for 224.  Half of the random boxes of
an image of 500 x 375 pixels then hold as many pixels as the input or more; of the image itself, 72 % do."""
FORMAT = 1
"""Changes with what a square or the file looks like."""
SPARE = 2**30
"""Bytes that must stay free on the disk."""

_log = logging.getLogger(__name__)


class SquareFile:
    """Squares (N, side, side, C), uint8, then the sizes of the images (N, 2), int32; whole, or not under its name."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = path, shape
        self.lock = path.with_name(f"{path.name}.lock")
        self.draft = path.with_name(f"{path.name}.draft")  # of the one writer at a time, or of a killed one
        self._pixels = math.prod(shape)
        self.bytes = self._pixels + 8 * shape[0]
        self.mapped: tuple[NDArray[np.int32], Tensor] | None = None

    def map(self) -> None:
        """Map the file into memory, after which it may be removed; raises OSError without it."""
        sizes = np.memmap(self.path, "<i4", "r", self._pixels, (self.shape[0], 2))
        with warnings.catch_warnings():  # not in `read`, as threads would disturb each other
            warnings.simplefilter("ignore")  # the map is read-only, and nobody writes to it
            squares = torch.from_numpy(np.memmap(self.path, np.uint8, "r", 0, self.shape)).permute(0, 3, 1, 2)
        self.mapped = sizes, squares

    def read(self, indices: Sequence[int]) -> list[tuple[Size, Tensor]]:
        """Sizes of some images, and views (C, side, side) of their squares in the mapped file."""
        assert self.mapped is not None
        sizes, squares = self.mapped
        return [
            ((height, width), squares[i]) for i, (height, width) in zip(indices, sizes[indices].tolist(), strict=True)
        ]

    def write(self, images: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Write batches of sizes and squares, as `_Squares` makes them; a reader sees the whole file or none.

        Raises OSError, such as of a full disk.
        """
        try:
            with self.draft.open("wb") as file:
                sizes = []
                for some, squares in images:
                    sizes.append(some)
                    file.write(squares.numpy())
                file.write(torch.cat(sizes).numpy().astype("<i4"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.draft, self.path)
        finally:
            self.draft.unlink(missing_ok=True)


class SquareDecoder(Decoder):
    """Takes boxes from squares, which it keeps if it knows the `fingerprint` of the images."""

    def __init__(self, folder: Path, paths: Sequence[str], info: DatasetInfo, fingerprint: str = "") -> None:
        super().__init__(info)
        self.squares = _Squares(folder, self.mode, round(max(self.size) * SIDE))
        self.file = self._file(paths, fingerprint) if fingerprint else None

    def _file(self, paths: Sequence[str], fingerprint: str) -> SquareFile | None:
        """The file of these images; None without a home folder."""
        side = self.squares.side
        key = hashlib.sha256(f"{FORMAT} {fingerprint}\n".encode())
        for path in paths:
            key.update(f"{path}\n".encode(errors="surrogateescape"))  # names need not be UTF-8
        name = f"{len(paths)}x{side}x{side}x{self.channels}-{key.hexdigest()[:16]}.squares"
        try:
            return SquareFile(cache_folder() / name, (len(paths), side, side, self.channels))
        except RuntimeError:
            return None

    def prepare(self, paths: Sequence[str], processes: int) -> None:
        """Decode all images and keep them, unless that is done: of all processes on a node, one decodes.

        `processes` help it, and the others wait.  If the file cannot be written or read, every pass will decode.

        Raises ValueError that names an image that cannot be read.
        """
        file = self.file
        if file is None or file.mapped:
            return
        try:
            if not file.path.exists():
                file.path.parent.mkdir(parents=True, exist_ok=True)
                self._keep_once(file, paths, processes)
            file.map()
        except OSError as error:
            _log.warning(
                "%s cannot be kept (%s): images are decoded in every epoch, which is slower; free %.1f GB there, "
                "or set XDG_CACHE_HOME to another folder",
                shown(file.path),
                reason(error),
                (file.bytes + SPARE) / 1e9,
            )
            self.file = None

    def _keep_once(self, file: SquareFile, paths: Sequence[str], processes: int) -> None:
        """Decode all images into the file, unless another process does so meanwhile."""
        with file.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process ends, even if it is killed
            try:
                if not file.path.exists():
                    self._keep(file, paths, processes)
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # after an error, processes that decode may still have it open

    def _keep(self, file: SquareFile, paths: Sequence[str], processes: int) -> None:
        """Decode all images into the file; raises OSError if the disk has no room for it."""
        file.draft.unlink(missing_ok=True)
        free = shutil.disk_usage(file.path.parent).free
        if free < file.bytes + SPARE:
            raise OSError(f"{free / 1e9:.1f} GB are free")
        _log.warning("Decoding %d images once, into %s (%.1f GB)", len(paths), shown(file.path), file.bytes / 1e9)
        some = [list(paths[start : start + 64]) for start in range(0, len(paths), 64)]
        loader = DataLoader(
            self.squares,
            batch_size=None,
            sampler=some,
            num_workers=min(processes, len(some)),
            generator=torch.Generator(),  # otherwise it draws from the global generator
        )
        with in_one_line():
            file.write(loader)

    def decoded(self, batch: Batch, draws: list[list[float]] | None) -> Iterator[Tensor]:
        """The images of a batch (C, H, W): random boxes decided by their draws, or centers."""
        square = self.squares.side, self.squares.side
        for i, (size, pixels) in enumerate(self._read(batch)):
            box = center_box(size, self.size) if draws is None else random_box(size, draws[i])
            yield cut_out(pixels, box.scaled(size, square), self.size)

    def _read(self, batch: Batch) -> Iterable[tuple[Size, Tensor]]:
        """Sizes of the images, and their squares (C, side, side)."""
        if self.file is not None:
            return self.file.read(batch.indices)
        return map(self.squares.decode, batch.paths)


class _Squares(Dataset[tuple[Tensor, Tensor]]):
    """Sizes (N, 2), int32, and squares (N, side, side, C), uint8, of some files."""

    def __init__(self, folder: Path, mode: str, side: int) -> None:
        self.folder, self.mode, self.side = folder, mode, side

    def __getitem__(self, paths: list[str]) -> tuple[Tensor, Tensor]:
        sizes, squares = zip(*map(self.decode, paths), strict=True)
        return torch.tensor(sizes, dtype=torch.int32), torch.stack(squares).permute(0, 2, 3, 1).contiguous()

    def decode(self, path: str) -> tuple[Size, Tensor]:
        """The size of an image and its square (C, side, side)."""
        with opened(self.folder / path) as image:
            size = image.height, image.width
            pixels = pixels_of(image, self.mode, min(size) / self.side)
        return size, cut_out(pixels, Box(0, 0, *pixels.shape[1:]), (self.side, self.side))
