"""Readers of the official file formats: IDX (the MNIST family), pickled batches (CIFAR) and MATLAB files (SVHN)."""

import gzip
import math
import pickle
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from pcdarts.data.datasets import DatasetInfo, Images
from pcdarts.data.pixels import reason, shown, to_bytes

_REMEDY = "move it away and download it again"
_NUMPY = "numpy._core" if hasattr(np, "_core") else "numpy.core"  # renamed in NumPy 2


def read_images(paths: list[Path], info: DatasetInfo) -> Images:
    """The images of a data set in some of its files.

    Raises ValueError for files that are damaged or of another data set.
    """
    readers = {"cifar10": _read_cifar, "cifar100": _read_cifar, "svhn": _read_svhn}
    if info.name not in readers:
        return _checked(paths[0], _read_idx_pair(paths), info)
    parts = [_checked(path, readers[info.name](path), info) for path in paths]
    return Images(*map(torch.cat, zip(*parts, strict=True)))


def _checked(path: Path, part: Images, info: DatasetInfo) -> Images:
    """Images that are those of the data set in shape, number and labels; raises ValueError for others."""
    (images, labels), size = part, (info.image_channels, *info.image_size)
    fault = ""
    if images.shape[1:] != size:
        fault = f"its images are of {tuple(images.shape[1:])}, but must be of {size}"
    elif len(images) != len(labels):
        fault = f"it has {len(images)} images and {len(labels)} labels"
    elif len(labels) and not 0 <= labels.min() <= labels.max() < info.classes:
        fault = f"its labels run from {labels.min()} to {labels.max()}, but must be in 0 to {info.classes - 1}"
    if fault:
        raise ValueError(f"{shown(path)} does not hold {info.name}: {fault}; {_REMEDY}")
    return part


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
        raise ValueError(f"{shown(path)} cannot be read ({reason(error)}); {_REMEDY}") from error
    rank = content[3] if len(content) > 3 else 0
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if content[:3] != b"\0\0\x08" or not rank or len(content) != 4 + 4 * rank + math.prod(shape):
        raise ValueError(f"{shown(path)} is not a whole IDX file of bytes; {_REMEDY}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * rank).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles plain values and NumPy arrays only: anything else could run code."""

    ALLOWED = {
        (f"{_NUMPY}.multiarray", "_reconstruct"),
        (f"{_NUMPY}.multiarray", "scalar"),
        (f"{_NUMPY}.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        for name in ("numpy.core.", "numpy._core."):  # written by another NumPy
            if module_name.startswith(name):
                module_name = f"{_NUMPY}.{module_name.removeprefix(name)}"
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _read_cifar(path: Path) -> Images:
    """A file of the Python version of CIFAR: a pickled dictionary of `data` (N, 3072) and `labels` or `fine_labels`."""
    try:
        with _open(path) as file:
            content = _ArraysOnly(file, encoding="latin1").load()  # Python 2 wrote the official files
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        images = to_bytes(np.asarray(content["data"]))
        if images.ndim != 4:
            images = images.reshape(len(images), 3, 32, 32)
        labels = np.asarray(content["labels" if "labels" in content else "fine_labels"])
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise ValueError(f"labels are of {labels.dtype} and shape {labels.shape}, but must be a list of integers")
    except KeyError as error:
        raise ValueError(f"{shown(path)} is not a CIFAR file (it has no {error}); {_REMEDY}") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{shown(path)} is not a CIFAR file ({reason(error)}); {_REMEDY}") from error
    return Images(torch.tensor(images), torch.tensor(labels.astype(np.int64)))


def _read_svhn(path: Path) -> Images:
    """A MATLAB file of images `X` (32, 32, 3, N) and labels `y` (N, 1), in which 10 means the digit 0."""
    from scipy.io import loadmat

    try:
        with _open(path) as file:
            content = loadmat(file, variable_names=("X", "y"))
        images = to_bytes(content["X"]).transpose(3, 2, 0, 1)
        labels = content["y"].astype(np.int64).ravel() % 10
    except KeyError as error:
        raise ValueError(f"{shown(path)} is not an SVHN file (it has no {error}); {_REMEDY}") from error
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{shown(path)} is not an SVHN file ({reason(error)}); {_REMEDY}") from error
    return Images(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels))
