"""Images of all data sets: looked at once, and read into memory where they fit.

Digits come with scikit-learn, synthetic images are drawn; Fashion-MNIST, MNIST, KMNIST, SVHN and CIFAR are read from
their official files, own images from arrays or a folder tree.  ImageNet and larger trees are read in batches instead,
see `pcdarts.data.trees`.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from pcdarts.config import OWN_IMAGES, RetrainConfig, SearchConfig
from pcdarts.data.arrays import read_arrays
from pcdarts.data.dataset_files import FILES, find_files
from pcdarts.data.datasets import (
    DATASETS,
    MEMORY_LIMIT,
    Config,
    DataDescription,
    Images,
    ImageSet,
    copies,
    dataset_info,
    describe,
    fingerprint,
    image_digests,
    own_image_set,
    require_classes,
)
from pcdarts.data.images import resize, stratified_order
from pcdarts.data.pixels import shown
from pcdarts.data.readers import read_images

OnProgress = Callable[[int, int], None]
"""Called with the numbers of files looked at and of all files."""
MOST_CLASSES = 1000
"""Classes of own images, at most."""


def load(config: SearchConfig | RetrainConfig, *, download: bool = True) -> ImageSet:
    """The images of a data set that fits into memory (see `fits_memory`), resized if the configuration says so.

    Missing files of built-in sets are downloaded if `download` allows it.  Raises ValueError for files that are missing
    or damaged, and for images other than those of the configuration's fingerprint.
    """
    data, description = read(config, download=download, processes=config.threads - 1)
    if data is None:
        raise ValueError(
            f"the images of {config.dataset} in {shown(config.data_dir)} take more than {MEMORY_LIMIT} bytes; "
            "read them in batches, or set a smaller image_size"
        )
    return data


def described(
    config: Config, *, download: bool = True, processes: int = 0, on_progress: OnProgress | None = None
) -> tuple[Config, DataDescription]:
    """The configuration with the fields that describe its images filled in, and their description.

    All image files are looked at.  Raises ValueError for files that are missing or damaged, for classes without images,
    and for images other than those of the configuration's fingerprint.
    """
    _, description = read(config, download=download, processes=processes, on_progress=on_progress)
    return description.fill_in(config), description


def read(
    config: SearchConfig | RetrainConfig,
    *,
    download: bool = True,
    processes: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[ImageSet | None, DataDescription]:
    """Look at all images of a data set, and read them if they fit into memory; otherwise there is no image set.

    `processes` look at image files and decode them.  Raises ValueError as `load` does.
    """
    if config.dataset in ("folder", "imagenet"):
        from pcdarts.data.folder import read_folder  # reads image files

        data, description = read_folder(config, processes=processes, on_progress=on_progress)
    elif config.dataset == "arrays":
        data, description = _read_arrays(config)
    else:
        data, description = _read_built_in(config, download)
    if config.dataset in OWN_IMAGES:
        _require_classes(description)
    if config.data_fingerprint not in ("", description.fingerprint):
        raise ValueError(
            f"{config.dataset} in {config.data_dir} holds {description.fingerprint}, but the study began with "
            f"{config.data_fingerprint}; restore the images, or give --study another name"
        )
    return data, description


def _require_classes(description: DataDescription) -> None:
    """Raise ValueError for too many classes of own images, and for classes without training or test images."""
    classes = description.classes
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"{description.place} has {len(classes)} classes, but must have at most {MOST_CLASSES}; leave classes out"
        )
    require_classes(description.train_images, classes, "for training")
    require_classes(description.test_images, classes, "for testing")


def _read_built_in(config: SearchConfig | RetrainConfig, download: bool) -> tuple[ImageSet, DataDescription]:
    """A built-in data set and its description."""
    name, info, place, digest = config.dataset, dataset_info(config), "", ""
    if name == "digits":
        train, test, test_part = *_load_digits(), "a stratified fifth"
    elif name == "synthetic":
        train, test, test_part = make_synthetic(320, seed=0), make_synthetic(80, seed=1), "drawn with another seed"
    else:
        paths = find_files(name, config.data_dir, download=download)
        tests = FILES[name].test_files
        train, test = read_images(paths[:-tests], DATASETS[name]), read_images(paths[-tests:], DATASETS[name])
        place, digest, test_part = str(paths[0].parent.absolute()), fingerprint(train, test), "the official test set"
    train, test = _resized(config, train), _resized(config, test)
    data = ImageSet(info, train, test)
    return data, describe(data, place=place, fingerprint=digest, test_part=test_part)


def _read_arrays(config: SearchConfig | RetrainConfig) -> tuple[ImageSet, DataDescription]:
    """Own images from an .npz file and their description."""
    path = Path(config.data_dir)
    arrays = read_arrays(path)
    digest = fingerprint(arrays.train, arrays.test)
    train, test = _resized(config, arrays.train), _resized(config, arrays.test)
    if (size := sum(part.images.numel() for part in (train, test))) > MEMORY_LIMIT:
        raise ValueError(
            f"the images of {path} take {size} bytes, but arrays are held in memory, at most {MEMORY_LIMIT}; set a "
            "smaller image_size, or use dataset folder"
        )
    data = own_image_set(config, train, test, tuple(map(str, range(arrays.classes))))
    test_digests = zip(map(str, arrays.test_rows), image_digests(arrays.test), strict=True)
    return data, describe(
        data,
        place=str(path.absolute()),
        fingerprint=digest,
        test_part="a fifth of every class of train_images" if arrays.split_off else "test_images",
        split_off=tuple(map(str, sorted(arrays.test_rows))) if arrays.split_off else (),
        in_both=copies(test_digests, image_digests(arrays.train)),
    )


def _resized(config: SearchConfig | RetrainConfig, part: Images) -> Images:
    return Images(resize(part.images, config.image_size), part.labels) if config.image_size else part


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
