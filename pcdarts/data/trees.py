"""Batches of folder trees that do not fit into memory: ImageNet, and large trees of own images.

What a tree holds is in `pcdarts.data.folder`.  Images are chosen by a hash of their names, class by class.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import DATASETS, DatasetInfo, dataset_info
from pcdarts.data.folder import ByClass, files_of, list_tree, tree_root
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import class_of, list_images, normal
from pcdarts.data.imagenet_split import PARTS, Split, read_split, search_split
from pcdarts.data.pixels import shown
from pcdarts.training.distributed import ALONE, Workers


def search_batches(config: SearchConfig, device: torch.device) -> tuple[FolderBatches, FolderBatches]:
    """Images for the weights and for alpha.

    Those of ImageNet are listed in `split_file`, or the built-in 10 % and 2.5 %; classes are those of the split.  Of
    own images `train_portion` of every class is for the weights, and the rest for alpha.  Training images are cropped
    and flipped, as in the official search; color jitter is for retraining only.  `threads` - 1 processes decode images
    for each of the two, by way of squares that are kept on disk (see `pcdarts.data.decoding.squares`).

    Raises ValueError for a tree or a split file that cannot be read, and for missing images.
    """
    if config.dataset == "imagenet":
        root = tree_root(config)
        split = _split(config)
        classes = sorted({class_of(image) for _, image in split})
        labels = {name: label for label, name in enumerate(classes)}
        parts = [
            [(f"train/{image}", labels[class_of(image)]) for part, image in split if part == wanted] for wanted in PARTS
        ]
    else:
        root, train = (tree := list_tree(config)).root, first_images(tree.train, config.max_images)
        counts = {name: math.floor(config.train_portion * len(paths)) for name, paths in train.items()}
        _require_both_sides(train, counts, "train_portion", config.train_portion)
        classes = list(train)
        parts = [
            files_of({name: paths[: counts[name]] for name, paths in train.items()}),
            files_of({name: paths[counts[name] :] for name, paths in train.items()}),
        ]
    info = _info(config, classes)
    weights, alpha = (
        FolderBatches(
            root,
            files,
            info,
            device=device,
            cutout=config.cutout,
            squares=True,
            fingerprint=config.data_fingerprint,
            workers=config.threads - 1,
        )
        for files in parts
    )
    return weights, alpha


def retrain_batches(
    config: RetrainConfig, device: torch.device, workers: Workers = ALONE
) -> tuple[FolderBatches, FolderBatches | None, FolderBatches]:
    """Training, validation and test images.

    Validation images are `validation_portion` of every class, the same for every seed and disjoint from the built-in
    search split of ImageNet; None with a portion of 0.  Test images of ImageNet are `val`, as the official test labels
    are not public.

    Raises ValueError for a tree that cannot be read, and for classes with too few images.
    """
    tree = list_tree(config)
    train = tree.train if config.dataset == "imagenet" else first_images(tree.train, config.max_images)
    portion = config.validation_portion
    counts = {
        name: len(paths) - (max(1, round(portion * len(paths))) if portion else 0) for name, paths in train.items()
    }
    if portion:
        _require_both_sides(train, counts, "validation_portion", portion)
    valid = {name: paths[counts[name] :] for name, paths in train.items()}
    train = {name: paths[: counts[name]] for name, paths in train.items()}
    info = _info(config, list(tree.train))

    def batches(files: ByClass, *, cutout: int = 0, jitter: bool = False) -> FolderBatches:
        return FolderBatches(
            tree.root,
            files_of(files),
            info,
            device=device,
            cutout=cutout,
            jitter=jitter,
            workers=config.threads - 1,
            part=workers,
        )

    return (
        batches(train, cutout=config.cutout, jitter=True),
        batches(valid) if portion else None,
        batches(tree.test),
    )


def first_images(images: ByClass, most: int) -> ByClass:
    """About the first `most` images in all, in equal shares of every class; all of them if `most` is 0."""
    total = sum(map(len, images.values()))
    if not 0 < most < total:
        return images
    place = sorted(
        ((i + 0.5) / len(paths), label) for label, paths in enumerate(images.values()) for i in range(len(paths))
    )
    counts = torch.tensor([label for _, label in place[:most]]).bincount(minlength=len(images)).tolist()
    return {name: paths[:count] for (name, paths), count in zip(images.items(), counts, strict=True)}


def _split(config: SearchConfig) -> Split:
    """The images of an ImageNet search; raises ValueError if some of `split_file` are missing."""
    folder = tree_root(config) / "train"
    if not config.split_file:
        return search_split(folder)
    split = read_split(config.split_file)
    paths = [path for paths in list_images(folder).images.values() for path in paths]
    present = {normal(path): path for path in paths} | {path: path for path in paths}
    missing = sorted(image for _, image in split if image not in present and normal(image) not in present)
    if missing:
        raise ValueError(
            f"{len(missing)} images of {config.split_file} are missing in {folder}: "
            f"{', '.join(shown(image) for image in missing[:3])}{', ...' if len(missing) > 3 else ''}; "
            "correct data_dir or split_file"
        )
    return [(part, present.get(image) or present[normal(image)]) for part, image in split]


def _require_both_sides(images: ByClass, counts: Mapping[str, int], name: str, portion: float) -> None:
    """Raise ValueError unless the count of every class leaves images on both sides."""
    for label, paths in images.items():
        if not 0 < counts[label] < len(paths):
            raise ValueError(
                f"{name} is {portion}, but must leave images of every class on both sides; class {shown(label)} has "
                f"{len(paths)}, so add images to it or change {name}"
            )


def _info(config: SearchConfig | RetrainConfig, classes: list[str]) -> DatasetInfo:
    """The data set with the classes of the tree and the statistics of ImageNet."""
    imagenet = DATASETS["imagenet"]
    return dataclasses.replace(
        dataset_info(config), classes=len(classes), class_names=tuple(classes), mean=imagenet.mean, std=imagenet.std
    )
