"""Files of the data sets that are read from disk: where they are found, and how missing ones are downloaded."""

import fcntl
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DatasetFiles:
    """Names and places of the files of a data set."""

    names: tuple[str, ...]
    """File names, those of test images last.  A file may also end in .gz."""
    test_files: int
    """Number of files that hold test images."""
    folders: tuple[str, ...]
    """Folders to look in, in this order, relative to the data folder; downloads go into the first."""
    loader: str
    """The class of torchvision.datasets that downloads them and checks their MD5."""
    remedy: str
    """How to get the files, for error messages."""


_CIFAR = "Unpack the python version of https://www.cs.toronto.edu/~kriz/cifar.html there"
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

FILES = {
    "fashion-mnist": DatasetFiles(
        names=_IDX,
        test_files=2,
        folders=("FashionMNIST/raw", "fashion-mnist", ".", "/usr/share/datasets/fashion-mnist"),
        loader="FashionMNIST",
        remedy="Get them from https://github.com/zalandoresearch/fashion-mnist (Debian: package dataset-fashion-mnist)",
    ),
    "mnist": DatasetFiles(
        names=_IDX,
        test_files=2,
        folders=("MNIST/raw", "mnist"),
        loader="MNIST",
        remedy="Get the four IDX files of MNIST",
    ),
    "kmnist": DatasetFiles(
        names=_IDX,
        test_files=2,
        folders=("KMNIST/raw", "kmnist"),
        loader="KMNIST",
        remedy="Get the four IDX files from http://codh.rois.ac.jp/kmnist",
    ),
    "svhn": DatasetFiles(
        names=("train_32x32.mat", "test_32x32.mat"),
        test_files=1,
        folders=("SVHN", "svhn", "."),
        loader="SVHN",
        remedy="Get the cropped digits from http://ufldl.stanford.edu/housenumbers",
    ),
    "cifar10": DatasetFiles(
        names=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
        test_files=1,
        folders=("cifar-10-batches-py",),
        loader="CIFAR10",
        remedy=_CIFAR,
    ),
    "cifar100": DatasetFiles(
        names=("train", "test"),
        test_files=1,
        folders=("cifar-100-python",),
        loader="CIFAR100",
        remedy=_CIFAR,
    ),
}
"""Data sets that are read from files, by name."""


def find_files(name: str, data_dir: str, *, download: bool = False) -> list[Path]:
    """The files of a data set, those of test images last; downloads missing ones if `download` is set.

    Raises ValueError if they are missing or the download failed.
    """
    files = FILES[name]
    found, failure = _find(files, data_dir), ""
    if not found and download:
        try:
            _download_once(files, Path(data_dir))
        except (OSError, RuntimeError) as error:
            failure = f"; the download failed: {' '.join(str(error).split())}"
        found = _find(files, data_dir)
    if not found:
        folders = ", ".join(str(Path(data_dir, folder)) for folder in files.folders)
        raise ValueError(
            f"{name} not found: looked for {', '.join(files.names)} (also with .gz) in {folders}{failure}\n"
            f"{files.remedy}, set data_dir, or run once with network access to download them"
        )
    return found


def _find(files: DatasetFiles, data_dir: str) -> list[Path]:
    """The files in the first folder that has all of them; empty if none has."""
    for folder in files.folders:
        choices = [(Path(data_dir, folder, name), Path(data_dir, folder, name + ".gz")) for name in files.names]
        if all(plain.is_file() or packed.is_file() for plain, packed in choices):
            return [plain if plain.is_file() else packed for plain, packed in choices]
    return []


def _download_once(files: DatasetFiles, data_dir: Path) -> None:
    """Download a data set; of several processes on a node, one downloads and the others wait."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process ends, even if it is killed
        if _find(files, str(data_dir)):
            return
        temporary, folder = data_dir / ".download", data_dir / files.folders[0]
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            _download(files.loader, temporary)
            folder.mkdir(parents=True, exist_ok=True)
            for path in (temporary / files.folders[0]).iterdir():
                path.replace(folder / path.name)  # others see a whole file or none
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _download(loader: str, root: Path) -> None:
    """Download a data set with torchvision; raises OSError or RuntimeError, promptly if there is no network."""
    import torchvision

    dataset = getattr(torchvision.datasets, loader)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds without an answer; torchvision sets none
    try:
        if loader == "SVHN":  # one file at a time, without a folder of their own
            for split in ("train", "test"):
                dataset(root / "SVHN", split, download=True)
        else:
            dataset(root, download=True)
    finally:
        socket.setdefaulttimeout(before)
