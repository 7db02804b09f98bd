"""Small files in the official formats, with random images."""

import gzip
import pickle

import numpy as np
from scipy.io import savemat


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.tobytes()


def write_fashion(folder, pack=False, train=20, test=10):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(idx(array)) if pack else idx(array)
            (folder / f"{part}-{name}-ubyte{'.gz' if pack else ''}").write_bytes(content)


def write_cifar(folder, classes):
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ["train", "test"] if classes == 100 else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name in names:
        content = {
            "data": random.integers(0, 256, (classes, 3072), dtype=np.uint8),
            "fine_labels" if classes == 100 else "labels": list(range(classes)),
            "filenames": ["a.png"] * classes,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return names


def write_svhn(folder, count=12):
    """Both files with the same images (32, 32, 3, count), which are returned, and labels 1, 2, ... 10, 1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1
    for part in ("train", "test"):
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels})
    return images
