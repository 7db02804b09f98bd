"""Images of the small data sets, held in memory.

Digits come with scikit-learn, synthetic images are drawn; Fashion-MNIST and CIFAR are read from their official files.
ImageNet is read in batches instead, see `pcdarts.data.imagenet`.
"""

import dataclasses
import math
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.dataset_files import FILES, find_files
from pcdarts.data.datasets import DATASETS, Images, ImageSet, dataset_info, fingerprint
from pcdarts.data.readers import read_images

Config = TypeVar("Config", SearchConfig, RetrainConfig)


def load(config: SearchConfig | RetrainConfig, *, download: bool = True) -> ImageSet:
    """The images of a data set other than ImageNet, resized if the configuration says so.

    Missing files are downloaded if `download` allows it.  Raises ValueError for files that are missing or damaged, and
    for images other than those of the configuration's fingerprint.
    """
    train, test = _parts(config, download)
    if config.dataset in FILES and config.data_fingerprint not in ("", found := fingerprint(train, test)):
        raise ValueError(
            f"{config.dataset} in {config.data_dir} holds {found}, but the study began with "
            f"{config.data_fingerprint}; restore the images, or give --study another name"
        )
    if config.image_size:
        train, test = (Images(resize(part.images, config.image_size), part.labels) for part in (train, test))
    return ImageSet(dataset_info(config), train, test)


def described(config: Config, *, download: bool = True) -> Config:
    """The configuration with the fingerprint of its images filled in, if they are read from files.

    Raises ValueError for files that are missing or damaged.
    """
    if config.dataset not in FILES:
        return config
    return dataclasses.replace(config, data_fingerprint=fingerprint(*_parts(config, download)))


def _parts(config: SearchConfig | RetrainConfig, download: bool) -> tuple[Images, Images]:
    """Training and test images at their own size."""
    name = config.dataset
    if name == "digits":
        return _load_digits()
    if name == "synthetic":
        return make_synthetic(320, seed=0), make_synthetic(80, seed=1)
    paths = find_files(name, config.data_dir, download=download)
    tests = FILES[name].test_files
    return read_images(paths[:-tests], DATASETS[name]), read_images(paths[-tests:], DATASETS[name])


def resize(images: Tensor, side: int) -> Tensor:
    """uint8 images (N, C, H, W) as (N, C, side, side): the shorter side is resized, then the center is cropped."""
    height, width = images.shape[2:]
    scale = side / min(height, width)
    size = max(side, round(height * scale)), max(side, round(width * scale))
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return torch.cat(
        [
            functional.interpolate(part.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for part in images.split(1024)  # floats take four times the memory
        ]
    )[:, :, top : top + side, left : left + side].contiguous()


def describe_files(config: SearchConfig | RetrainConfig) -> str:
    """Describe the files of a data set: number of test images and folder.  Reads the test files; never downloads.

    Raises ValueError for files that are missing or damaged.
    """
    name = config.dataset
    if name not in FILES:
        return "built in"
    paths = find_files(name, config.data_dir)
    _, labels = read_images(paths[-FILES[name].test_files :], DATASETS[name])
    return f"{len(labels)} test images, in {paths[0].parent}"


def _load_digits() -> tuple[Images, Images]:
    from sklearn.datasets import load_digits  # takes seconds to import

    digits = load_digits()
    images = (torch.from_numpy(digits.images)[:, None] * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    # Stored digits are grouped by writer and have no test part: shuffle them, and hold out a fifth.
    train, test = stratified_order(labels).tensor_split([len(labels) * 4 // 5])
    return Images(images[train], labels[train]), Images(images[test], labels[test])


def make_synthetic(count: int, *, seed: int) -> Images:
    """Horizontal waves, vertical waves, checks or no pattern, in random colors with noise: (count, 3, 16, 16)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    phases = 2 * math.pi * torch.rand(2, count, 1, 1, 1, generator=generator)
    steps = torch.arange(16) * (2 * math.pi / 5)
    down = torch.sin(steps[:, None] + phases[0]).expand(count, 1, 16, 16)
    across = torch.sin(steps[None, :] + phases[1]).expand(count, 1, 16, 16)
    patterns = torch.stack([down, across, down * across, torch.zeros_like(down)])
    colors = 0.1 + 0.2 * torch.rand(count, 3, 1, 1, generator=generator)
    noise = 0.15 * torch.randn(count, 3, 16, 16, generator=generator)
    images = 0.5 + colors * patterns[labels, torch.arange(count)] + noise
    return Images((images.clamp(0, 1) * 255).round().to(torch.uint8), labels)


def stratified_order(labels: Tensor) -> Tensor:
    """A fixed stratified shuffle: indices (N,) of labels (N,), such that every prefix is balanced like the whole."""
    generator = torch.Generator().manual_seed(0)
    position = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        position[members] = (torch.randperm(len(members), generator=generator).double() + 0.5) / len(members)
    return position.argsort(stable=True)
