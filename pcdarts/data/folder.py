"""Folder trees of image files: listed, looked at, and read into memory.

Own images are in `<data_dir>/train/<class>/<image>`, test images in `test` or `val` likewise; without either, a fifth
of every class is split off.  ImageNet is in `train` and `val` of `<data_dir>/imagenet` or `<data_dir>`.  Classes are
the sorted folder names.  What does not fit into memory is read in batches, see `pcdarts.data.trees`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import (
    DATASETS,
    MEMORY_LIMIT,
    DataDescription,
    Images,
    ImageSet,
    copies,
    describe,
    fingerprint_text,
    own_image_set,
    with_flip,
)
from pcdarts.data.image_files import ImageFile, list_images, look_at, require_images, require_same_classes
from pcdarts.data.imagenet_split import hash_order
from pcdarts.data.images import fifth, resize, stratified_order
from pcdarts.data.pixels import open_image, shown

ByClass = Mapping[str, Sequence[str]]
"""Paths of images below the root of a tree, by class; the classes are sorted."""
Files = list[tuple[str, int]]
"""Images as pairs of a path below the root of a tree and a label."""


class ImageTree(NamedTuple):
    """The images of a tree."""

    root: Path
    """The folder that holds `train`."""
    train: ByClass
    """Training images, of every class in an order that depends only on their names."""
    test: ByClass
    """Test images."""
    test_part: str
    """Where the test images come from."""
    split_off: bool
    """Whether test images are a fifth of those in `train`."""
    left_out: dict[str, int]
    """Number of files that are no images, by extension."""


def list_tree(config: SearchConfig | RetrainConfig) -> ImageTree:
    """List a tree without looking into its images.

    Raises ValueError for a tree that is missing, and for classes with too few images.
    """
    root = tree_root(config)
    listed = list_images(root / "train")
    train = {name: hash_order(paths) for name, paths in listed.images.items()}
    folder = _test_folder(config, root)
    if folder:
        others = list_images(root / folder)
        require_same_classes(listed, others)
        test = {name: _below(folder, paths) for name, paths in others.images.items()}
        left_out = listed.left_out + others.left_out
        unused = folder == "test" and (root / "val").is_dir()
        part = "val/, the official validation set" if config.dataset == "imagenet" else f"{folder}/"
        part += " (val/ is not used)" if unused else ""
    else:
        test = {name: _below("train", paths[-fifth(len(paths)) :]) for name, paths in train.items()}
        train = {name: paths[: -fifth(len(paths))] for name, paths in train.items()}
        left_out, part = listed.left_out, "a fifth of every class in train/, chosen by a hash of the file names"
    require_images(listed, 2)
    train = {name: _below("train", paths) for name, paths in train.items()}
    return ImageTree(root, train, test, part, not folder, dict(left_out))


def _below(folder: str, paths: Sequence[str]) -> list[str]:
    return [f"{folder}/{path}" for path in paths]


def tree_root(config: SearchConfig | RetrainConfig) -> Path:
    """The folder that holds `train`; raises ValueError without one."""
    data_dir = Path(config.data_dir)
    if config.dataset == "imagenet":
        for root in (data_dir / "imagenet", data_dir):
            if (root / "train").is_dir():
                return root
        raise ValueError(
            f"imagenet not found: looked for train/<class>/<image> in {data_dir / 'imagenet'} and {data_dir}\n"
            "Get it from https://image-net.org, sort val into class folders as well, and set data_dir"
        )
    if not data_dir.exists():
        raise ValueError(
            f"{shown(data_dir)} does not exist; set data_dir to the folder that holds train/<class>/<image>"
        )
    if not data_dir.is_dir():
        raise ValueError(f"{shown(data_dir)} is a file; use --dataset arrays, or set data_dir to a folder")
    if not (data_dir / "train").is_dir():
        if data_dir.absolute().name == "train":
            raise ValueError(f"data_dir is {shown(data_dir)}, but must hold train; set it to {shown(data_dir.parent)}")
        raise ValueError(
            f"{shown(data_dir)} holds no folder train; sort the images into {shown(data_dir / 'train')}/<class>/"
            "<image>, or set data_dir"
        )
    return data_dir


def files_of(images: ByClass) -> Files:
    """Images with labels, class by class."""
    return [(path, label) for label, paths in enumerate(images.values()) for path in paths]


def read_folder(
    config: SearchConfig | RetrainConfig,
    *,
    processes: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageSet | None, DataDescription]:
    """Look at all images of a tree, and read them if they fit into memory; otherwise there is no image set.

    Images in memory are in an order in which every prefix is balanced, as folders are read class by class.  `processes`
    decode them.  Raises ValueError for what is wrong with the tree or its files.
    """
    tree = list_tree(config)
    train, test = files_of(tree.train), files_of(tree.test)
    paths = [path for path, _ in train + test]
    looks = look_at(tree.root, paths, processes=processes, on_progress=on_progress)
    channels, height, width = shape = _input_shape(config, tree.root, looks)
    place, classes = str(tree.root.absolute()), tuple(tree.train)
    split_off = tuple(path.removeprefix("train/") for path, _ in test) if tree.split_off else ()
    seen = dict(zip(paths, looks, strict=True))
    in_both = copies(((path, seen[path].digest) for path, _ in test), (seen[path].digest for path, _ in train))
    if config.dataset == "folder" and len(looks) * math.prod(shape) <= MEMORY_LIMIT:
        train = [train[i] for i in stratified_order(torch.tensor([label for _, label in train])).tolist()]
        parts = [_decoded(tree.root, files, shape, config.image_size, processes) for files in (train, test)]
        data = own_image_set(config, parts[0], parts[1], classes)
        return data, describe(
            data,
            place=place,
            fingerprint=_fingerprint(train, test, seen),
            test_part=tree.test_part,
            split_off=split_off,
            in_both=in_both,
            left_out=tree.left_out,
        )
    return None, DataDescription(
        dataset=config.dataset,
        place=place,
        fingerprint=_fingerprint(train, test, seen, with_names=True),
        classes=classes,
        train_images=tuple(map(len, tree.train.values())),
        test_images=tuple(map(len, tree.test.values())),
        channels=3,
        height=height,
        width=width,
        mean=DATASETS["imagenet"].mean,
        std=DATASETS["imagenet"].std,
        crop_padding=0,
        flip=with_flip(DATASETS["imagenet"], config).flip,
        test_part=tree.test_part,
        split_off=split_off,
        in_both=in_both,
        left_out=tree.left_out,
        in_memory=False,
    )


def _test_folder(config: SearchConfig | RetrainConfig, root: Path) -> str:
    """The folder of the test images below the root; empty without one."""
    if config.dataset == "imagenet":
        return "val"
    return next((name for name in ("test", "val") if (root / name).is_dir()), "")


def _input_shape(config: SearchConfig | RetrainConfig, root: Path, looks: Sequence[ImageFile]) -> tuple[int, int, int]:
    """Channels, height and width of the network's input."""
    if config.dataset == "imagenet":
        side = config.image_size or 224
        return 3, side, side
    channels = 1 if all(look.gray for look in looks) else 3
    if config.image_size:
        return channels, config.image_size, config.image_size
    smallest, largest = (choose(looks, key=lambda look: (look.height * look.width, look.path)) for choose in (min, max))
    if len(sizes := _sizes(looks)) > 1:
        raise ValueError(
            f"the images in {shown(root)} have {len(sizes)} sizes, from {smallest.width} x {smallest.height} pixels "
            f"({shown(smallest.path)}) to {largest.width} x {largest.height} ({shown(largest.path)}); set image_size, "
            "such as 64, to resize all of them"
        )
    return channels, *sizes.pop()


def _sizes(looks: Sequence[ImageFile]) -> set[tuple[int, int]]:
    """Heights and widths of files."""
    return {(look.height, look.width) for look in looks}


def _fingerprint(train: Files, test: Files, looks: Mapping[str, ImageFile], *, with_names: bool = False) -> str:
    """Number, shape and digest of image files: of their labels and contents, in the order of training.

    Names count only where images are chosen by them in every run.
    """
    digest = hashlib.sha256()
    for files in (train, test):
        for path, label in files:
            digest.update(
                f"{label} {looks[path].digest} {path if with_names else ''}\n".encode(errors="surrogateescape")
            )
        digest.update(b"end of part\n")
    channels = 1 if all(look.gray for look in looks.values()) else 3
    sizes = _sizes(list(looks.values()))
    shape = "x".join(map(str, (channels, *sizes.pop()))) if len(sizes) == 1 else f"{channels} channels of several sizes"
    return fingerprint_text(len(train), len(test), shape, digest.hexdigest())


class _Pixels(Dataset[Tensor]):
    """Decoded files, resized if the configuration says so: uint8 (C, H, W)."""

    def __init__(self, root: Path, paths: Sequence[str], channels: int, side: int) -> None:
        self.root, self.paths, self.mode, self.side = root, paths, "L" if channels == 1 else "RGB", side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = open_image(self.root / self.paths[index]).convert(self.mode)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(1, image.height, image.width, -1).permute(0, 3, 1, 2)
        return (resize(pixels, self.side) if self.side else pixels)[0]


def _decoded(root: Path, files: Files, shape: tuple[int, int, int], side: int, processes: int) -> Images:
    """Images and labels of some files."""
    paths, labels = zip(*files, strict=True)
    pixels = _Pixels(root, paths, shape[0], side)
    images = torch.empty(len(files), *shape, dtype=torch.uint8)
    workers = min(processes, len(files) // 256)  # starting one takes as long as decoding some images
    done = 0
    for batch in DataLoader(pixels, batch_size=64, num_workers=workers, generator=torch.Generator()):
        images[done : done + len(batch)] = batch
        done += len(batch)
    return Images(images, torch.tensor(labels))
