"""The small data sets: where their files lie and how they are read.

Digits come with scikit-learn, synthetic images are drawn; Fashion-MNIST and CIFAR are files in their official formats,
downloaded where they are missing.  Of ImageNet only the description is here, see `pcdarts.data.imagenet`.
"""

import fcntl
import gzip
import math
import pickle
import shutil
import socket
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of a data set before it is read, and how its training images are augmented."""

    name: str
    """Name in a configuration."""
    classes: int
    """Number of classes."""
    image_channels: int
    """1 for grey images, 3 for RGB."""
    image_size: int
    """Height and width that the network sees, pixels."""
    mean: tuple[float, ...]
    """Mean of every channel over the training images, on a scale 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of every channel over the training images."""
    crop_padding: int
    """Padding of the random crop, pixels."""
    flip: bool
    """Whether images are mirrored at random."""
    train_images: int = 0
    """Training images that are kept in memory, of the official files; 0: none are."""


def _info(
    name: str,
    classes: int,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    padding: int,
    flip: bool,
    images: int,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        classes=classes,
        image_channels=len(mean),
        image_size=size,
        mean=mean,
        std=std,
        crop_padding=padding,
        flip=flip,
        train_images=images,
    )


CIFAR10_STATISTICS = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
CIFAR100_STATISTICS = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
IMAGENET_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DATASETS = {
    info.name: info
    for info in (
        _info("digits", 10, 8, (0.3053,), (0.3759,), 1, False, 1437),
        _info("fashion-mnist", 10, 28, (0.2860,), (0.3530,), 2, True, 60_000),
        _info("cifar10", 10, 32, *CIFAR10_STATISTICS, 4, True, 50_000),
        _info("cifar100", 100, 32, *CIFAR100_STATISTICS, 4, True, 50_000),
        _info("imagenet", 1000, 224, *IMAGENET_STATISTICS, 0, True, 0),
        _info("synthetic", 4, 16, (0.5,) * 3, (0.2,) * 3, 2, True, 320),
    )
}
"""The data sets by name.  ImageNet's number of classes is the official one; a folder tree may hold fewer."""


class Images(NamedTuple):
    """Images with their labels, as they are stored."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,)."""


Parts = tuple[Images, Images]
"""Training and test images."""


def load(name: str, data_dir: str, *, download: bool = True) -> Parts:
    """Training and test images of a data set other than ImageNet.

    Missing files are downloaded if `download` allows it.  Raises ValueError for files that are missing or damaged.
    """
    if name == "digits":
        return _load_digits()
    if name == "synthetic":
        return make_synthetic(320, seed=0), make_synthetic(80, seed=1)
    paths = _paths(name, data_dir, download)
    tests = _FILES[name].test_files
    return _read(paths[:-tests], DATASETS[name]), _read(paths[-tests:], DATASETS[name])


def describe_files(name: str, data_dir: str) -> str:
    """The number of test images and the folder of the files in words, having read the test files; never downloads.

    Raises ValueError for files that are missing or damaged.
    """
    if name not in _FILES:
        return "built in"
    paths = _paths(name, data_dir)
    _, labels = _read(paths[-_FILES[name].test_files :], DATASETS[name])
    return f"{len(labels)} test images, in {paths[0].parent}"


def _load_digits() -> tuple[Images, Images]:
    from sklearn.datasets import load_digits  # takes seconds to import

    digits = load_digits()
    images = (torch.from_numpy(digits.images)[:, None] * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    # Stored digits are grouped by writer, and have no test part: shuffle, and set a fifth aside.
    train, test = stratified_order(labels).tensor_split([len(labels) * 4 // 5])
    return Images(images[train], labels[train]), Images(images[test], labels[test])


def make_synthetic(count: int, *, seed: int) -> Images:
    """Waves down, waves across, checks or no pattern, in random colours and under noise: (count, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    phases = 2 * math.pi * torch.rand(2, count, 1, 1, 1, generator=generator)
    steps = torch.arange(16) * (2 * math.pi / 5)
    down = torch.sin(steps[:, None] + phases[0]).expand(count, 1, 16, 16)
    across = torch.sin(steps[None, :] + phases[1]).expand(count, 1, 16, 16)
    patterns = torch.stack([down, across, down * across, torch.zeros_like(down)])
    colours = 0.1 + 0.2 * torch.rand(count, 3, 1, 1, generator=generator)
    noise = 0.15 * torch.randn(count, 3, 16, 16, generator=generator)
    images = 0.5 + colours * patterns[labels, torch.arange(count)] + noise
    return Images((images.clamp(0, 1) * 255).round().to(torch.uint8), labels)


def stratified_order(labels: Tensor) -> Tensor:
    """A fixed shuffle of labels (N,) as indices (N,) whose every beginning holds the classes in their proportions."""
    generator = torch.Generator().manual_seed(0)
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        position[members] = (torch.randperm(len(members), generator=generator).double() + 0.5) / len(members)
    return position.argsort(stable=True)


@dataclass(frozen=True)
class _Files:
    """Where the files of a data set lie."""

    names: tuple[str, ...]
    """File names, those of test images last.  Each may also end in .gz."""
    test_files: int
    """How many of them hold test images."""
    folders: tuple[str, ...]
    """Folders looked in, in this order, relative to the data folder; downloads go into the first."""
    loader: str
    """The class of torchvision.datasets that downloads them and checks their MD5."""
    remedy: str
    """How to get the files."""


_FILES = {
    "fashion-mnist": _Files(
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        2,
        ("FashionMNIST/raw", "fashion-mnist", ".", "/usr/share/datasets/fashion-mnist"),
        "FashionMNIST",
        "Get them from https://github.com/zalandoresearch/fashion-mnist (on Debian: apt install dataset-fashion-mnist)",
    ),
    "cifar10": _Files(
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
        1,
        ("cifar-10-batches-py",),
        "CIFAR10",
        "Unpack the python version of https://www.cs.toronto.edu/~kriz/cifar.html there",
    ),
    "cifar100": _Files(
        ("train", "test"),
        1,
        ("cifar-100-python",),
        "CIFAR100",
        "Unpack the python version of https://www.cs.toronto.edu/~kriz/cifar.html there",
    ),
}


def _paths(name: str, data_dir: str, download: bool = False) -> list[Path]:
    """The files of a data set, downloaded if they are missing and that is allowed."""
    files = _FILES[name]
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


def _find(files: _Files, data_dir: str) -> list[Path]:
    """The files in the first folder that holds them all; empty if there is none."""
    for folder in files.folders:
        choices = [(Path(data_dir, folder, name), Path(data_dir, folder, name + ".gz")) for name in files.names]
        if all(plain.is_file() or packed.is_file() for plain, packed in choices):
            return [plain if plain.is_file() else packed for plain, packed in choices]
    return []


def _download_once(files: _Files, data_dir: Path) -> None:
    """Download a data set; of several processes on a node one does and the others wait for it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the system when the process ends, however it does
        if _find(files, str(data_dir)):
            return
        temporary, folder = data_dir / ".download", data_dir / files.folders[0]
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        try:
            _download(files.loader, temporary)
            folder.mkdir(parents=True, exist_ok=True)
            for path in (temporary / files.folders[0]).iterdir():
                path.replace(folder / path.name)  # others see a file whole or not at all
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _download(loader: str, root: Path) -> None:
    """Have torchvision download a data set; raises OSError or RuntimeError, and soon if there is no network."""
    import torchvision

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds without an answer; torchvision waits for ever
    try:
        getattr(torchvision.datasets, loader)(root, download=True)
    finally:
        socket.setdefaulttimeout(before)


def _read(paths: list[Path], info: DatasetInfo) -> Images:
    """The images of some files; raises ValueError for files that are damaged or of another data set."""
    images, labels = _read_idx_pair(paths) if info.name == "fashion-mnist" else _read_cifar(paths)
    size = (info.image_channels, info.image_size, info.image_size)
    if images.shape != (len(labels), *size) or not ((labels >= 0) & (labels < info.classes)).all():
        raise ValueError(f"{paths[0]} does not hold {info.name}: images of {size}, {info.classes} classes; get it anew")
    return Images(images, labels)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _read_idx_pair(paths: list[Path]) -> Images:
    """Images and labels from a pair of IDX files."""
    images, labels = (_read_idx(path) for path in paths)
    return Images(images[:, None], labels.long())


def _read_idx(path: Path) -> Tensor:
    """An IDX file, or one that is packed by gzip: two zeros, type 8 (uint8), the rank, big-endian sizes, the values."""
    try:
        with _open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and get it anew") from error
    rank = content[3] if len(content) > 3 else 0
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if content[:3] != b"\0\0\x08" or not rank or len(content) != 4 + 4 * rank + math.prod(shape):
        raise ValueError(f"{path} is not a whole IDX file of bytes; delete it and get it anew")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * rank).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays; whatever else one asks for might run any code."""

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
    """The python version of CIFAR: pickled dictionaries of `data` (N, 3072) and `labels` or `fine_labels`."""
    batches = []
    for path in paths:
        try:
            with _open(path) as file:
                content = _ArraysOnly(file, encoding="latin1").load()  # Python 2 wrote the official files
            images = torch.tensor(content["data"], dtype=torch.uint8).reshape(-1, 3, 32, 32)
            labels = torch.tensor(content["labels" if "labels" in content else "fine_labels"], dtype=torch.int64)
        except Exception as error:  # a damaged pickle may raise anything
            raise ValueError(f"{path} is not a CIFAR file ({error}); delete it and get it anew") from error
        batches.append((images, labels))
    return Images(*map(torch.cat, zip(*batches, strict=True)))
