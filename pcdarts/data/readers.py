"""Readers of the official file formats: IDX (Fashion-MNIST) and pickled batches (CIFAR)."""

import gzip
import math
import pickle
import zlib
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from pcdarts.data.datasets import DatasetInfo, Images


def read_images(paths: list[Path], info: DatasetInfo) -> Images:
    """The images of a data set in some of its files.

    Raises ValueError for files that are damaged or of another data set.
    """
    images, labels = _read_idx_pair(paths) if info.name == "fashion-mnist" else _read_cifar(paths)
    size = (info.image_channels, *info.image_size)
    if images.shape != (len(labels), *size) or not ((labels >= 0) & (labels < info.classes)).all():
        raise ValueError(
            f"{paths[0]} does not hold {info.name}: images of {size}, {info.classes} classes; download it again"
        )
    return Images(images, labels)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _read_idx_pair(paths: list[Path]) -> Images:
    """Images and labels from a pair of IDX files."""
    images, labels = (_read_idx(path) for path in paths)
    return Images(images[:, None], labels.long())


def _read_idx(path: Path) -> Tensor:
    """An IDX file, plain or gzipped: two zeros, type 8 (uint8), the rank, big-endian sizes, the values."""
    try:
        with _open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and download it again") from error
    rank = content[3] if len(content) > 3 else 0
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if content[:3] != b"\0\0\x08" or not rank or len(content) != 4 + 4 * rank + math.prod(shape):
        raise ValueError(f"{path} is not a whole IDX file of bytes; delete it and download it again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * rank).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain values and NumPy arrays only: anything else could run code."""

    ALLOWED = {
        *((module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _read_cifar(paths: list[Path]) -> Images:
    """The Python version of CIFAR: pickled dictionaries of `data` (N, 3072) and `labels` or `fine_labels`."""
    batches = []
    for path in paths:
        try:
            with _open(path) as file:
                content = _ArraysOnly(file, encoding="latin1").load()  # Python 2 wrote the official files
            images = torch.tensor(content["data"], dtype=torch.uint8).reshape(-1, 3, 32, 32)
            labels = torch.tensor(content["labels" if "labels" in content else "fine_labels"], dtype=torch.int64)
        except Exception as error:  # a damaged pickle may raise anything
            raise ValueError(f"{path} is not a CIFAR file ({error}); delete it and download it again") from error
        batches.append((images, labels))
    return Images(*map(torch.cat, zip(*batches, strict=True)))
