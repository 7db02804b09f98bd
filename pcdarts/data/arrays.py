"""Own images from a file NAME.npz with the arrays `train_images` and `train_labels`.

`test_images` and `test_labels` are optional.  Nothing is unpickled, so that a file from elsewhere cannot run code.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pcdarts.data.datasets import Images
from pcdarts.data.images import fifth, stratified_order
from pcdarts.data.pixels import reason, shown, to_bytes

MOST_CHANNELS = 16
"""Channels of an image, at most."""
KEYS = ("train_images", "train_labels", "test_images", "test_labels")
"""Arrays of a file; those of other keys are not read."""


class Arrays(NamedTuple):
    """The images of a file."""

    train: Images
    """Training images, in an order in which every prefix is balanced."""
    test: Images
    """Test images."""
    classes: int
    """Number of classes: one more than the largest label."""
    test_rows: list[int]
    """Rows of the test images in `test_images`, or in `train_images` if they were split off."""
    split_off: bool
    """Whether test images are a fifth of `train_images`."""


def read_arrays(path: Path) -> Arrays:
    """Read a file; without test images, a fifth of every class is split off.

    Raises ValueError, with the file, the key and the rule, for whatever is wrong with it.
    """
    file, arrays = shown(path), _open(path)
    train = _part(file, arrays, "train")
    classes = int(train.labels.max()) + 1
    if empty := [label for label, count in enumerate(train.labels.bincount().tolist()) if not count]:
        raise ValueError(
            f"{file}: class {empty[0]} has no images ({len(empty)} such classes of {classes}); number the labels of "
            "train_labels 0, 1, 2, ... without gaps"
        )
    order = stratified_order(train.labels)
    split_off = not any(key in arrays for key in ("test_images", "test_labels"))
    if not split_off:
        test = _part(file, arrays, "test")
        rows = torch.arange(len(test.labels))
        if (largest := int(test.labels.max())) >= classes:
            raise ValueError(
                f"{file}: test_labels has the label {largest}, but train_labels only 0 to {classes - 1}; use the same "
                "classes in both"
            )
        if test.images.shape[1:] != train.images.shape[1:]:
            shapes = [" x ".join(map(str, part.images.shape[1:])) for part in (train, test)]
            raise ValueError(
                f"{file}: train_images are {shapes[0]} (channels, height, width), but test_images are {shapes[1]}; "
                "make them equal"
            )
    else:
        kept = _without_a_fifth(train.labels[order])
        order, rows = order[kept], order[~kept]
        test = Images(train.images[rows], train.labels[rows])
    return Arrays(Images(train.images[order], train.labels[order]), test, classes, rows.tolist(), split_off)


def _without_a_fifth(labels: Tensor) -> Tensor:
    """Mask (N,) of all images of labels (N,) but the last fifth of every class."""
    kept = torch.ones(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        kept[members[-fifth(len(members)) :]] = False
    return kept


def _open(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by key."""
    file = shown(path)
    if path.is_dir():
        raise ValueError(f"{file} is a folder; use --dataset folder, or set data_dir to a file NAME.npz")
    if not path.is_file():
        raise ValueError(f"{file} is not a file; set data_dir to a file NAME.npz with train_images and train_labels")
    if path.suffix == ".npy":
        raise ValueError(f"{file} holds a single array; write an .npz file with numpy.savez and the key train_images")
    try:
        content = zipfile.is_zipfile(path) and np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be read ({reason(error)}); write it with numpy.savez") from error
    if not isinstance(content, np.lib.npyio.NpzFile):
        raise ValueError(f"{file} is not an .npz file; write it with numpy.savez")
    arrays = {}
    with content:
        if not set(KEYS[:2]) <= set(content):
            raise ValueError(
                f"{file} has the keys {', '.join(map(shown, content)) or '(none)'}, but must have train_images and "
                "train_labels; rename the arrays and write them with numpy.savez"
            )
        for key in KEYS:
            if key not in content:
                continue
            try:
                arrays[key] = content[key]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(
                    f"{file}: {key} cannot be read ({reason(error)}); store an array of numbers with numpy.savez"
                ) from error
    return arrays


def _part(file: str, arrays: dict[str, NDArray[Any]], part: str) -> Images:
    """Images (N, C, H, W) and labels of the training or the test part."""
    images, labels = f"{part}_images", f"{part}_labels"
    for key in (images, labels):
        if key not in arrays:
            raise ValueError(f"{file}: {key} is missing; store it next to {', '.join(arrays) or 'train_images'}")
    found = Images(_pixels(file, images, arrays[images]), _labels(file, labels, arrays[labels]))
    if len(found.images) != len(found.labels):
        raise ValueError(
            f"{file}: {images} has {len(found.images)} images, but {labels} {len(found.labels)} labels; "
            "store one label per image"
        )
    return found


def _pixels(file: str, key: str, array: NDArray[Any]) -> Tensor:
    """uint8 images (N, C, H, W) from an array (N, H, W) or (N, H, W, C)."""
    shape = array.shape
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape or array.shape[3] > MOST_CHANNELS:
        raise ValueError(
            f"{file}: the shape of {key} is {shape}, but must be (N, height, width) or (N, height, width, channels) "
            f"with 1 to {MOST_CHANNELS} channels; move channels to the last axis with numpy.moveaxis"
        )
    if shape[1] < shape[2] == array.shape[3]:
        raise ValueError(
            f"{file}: the shape {shape} of {key} looks like (N, channels, height, width), but must be (N, height, "
            f"width, channels); use numpy.moveaxis({key}, 1, 3)"
        )
    return torch.from_numpy(np.ascontiguousarray(_bytes(file, key, array).transpose(0, 3, 1, 2)))


def _bytes(file: str, key: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as uint8: uint16 that uses its range is scaled by 1/257, the rest as `to_bytes` does."""
    if array.dtype == np.uint16 and array.max() > 255:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    try:
        return to_bytes(array)
    except ValueError as error:
        raise ValueError(f"{file}: {key} cannot be used ({error}); convert it to uint8") from error


def _labels(file: str, key: str, array: NDArray[Any]) -> Tensor:
    """int64 labels (N,) from an array (N,) or (N, 1) of any integers of at least 0."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{file}: {key} is of type {array.dtype} and shape {array.shape}, but must be integers of shape (N,): one "
            f"class number per image, which numpy.unique({key}, return_inverse=True)[1] makes of class names"
        )
    if len(array) and array.min() < 0:
        raise ValueError(f"{file}: {key} has the label {array.min()}, but labels must be 0, 1, 2, ...")
    return torch.from_numpy(array.astype(np.int64))
