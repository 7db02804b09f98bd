"""ImageNet from a folder tree `<data_dir>/{train,val}/<class>/<image>`.

`<data_dir>/imagenet` is used if it exists.  Classes are the sorted folder names; any number of classes works.
"""

import dataclasses
from functools import partial
from pathlib import Path

import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import DatasetInfo, dataset_info
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import class_of, list_images, normal, require_images, require_same_classes
from pcdarts.data.imagenet_split import PARTS, hash_order, read_split, search_split
from pcdarts.data.pixels import open_image, shown
from pcdarts.training.distributed import ALONE, Workers


def search_batches(config: SearchConfig, device: torch.device) -> tuple[FolderBatches, FolderBatches]:
    """Images for the weights and for alpha: those listed in `split_file`, or the built-in 10 % and 2.5 %.

    Training images are cropped and flipped, as in the official search; color jitter is for retraining only.  Classes
    are those of the split.  `threads` - 1 processes decode images for each of the two.

    Raises ValueError for a tree or a split file that cannot be read, and for missing images.
    """
    folder = _tree(config.data_dir) / "train"
    split = read_split(config.split_file) if config.split_file else search_split(folder)
    if config.split_file:
        paths = [path for paths in list_images(folder).images.values() for path in paths]
        present = {normal(path): path for path in paths} | {path: path for path in paths}
        missing = sorted(image for _, image in split if image not in present and normal(image) not in present)
        if missing:
            raise ValueError(
                f"{len(missing)} images of {config.split_file} are missing in {folder}: "
                f"{', '.join(shown(image) for image in missing[:3])}{', ...' if len(missing) > 3 else ''}; "
                "correct data_dir or split_file"
            )
        split = [(part, present.get(image) or present[normal(image)]) for part, image in split]
    classes = sorted({class_of(image) for _, image in split})
    weights, alpha = (
        _batches(
            folder,
            [image for part, image in split if part == wanted],
            classes,
            info=dataset_info(config),
            device=device,
            threads=config.threads,
            cutout=config.cutout,
        )
        for wanted in PARTS
    )
    return weights, alpha


def retrain_batches(
    config: RetrainConfig, device: torch.device, workers: Workers = ALONE
) -> tuple[FolderBatches, FolderBatches | None, FolderBatches]:
    """Training, validation and test images.

    Validation images are `validation_portion` of every class in `train`, the same for every seed and disjoint from the
    built-in search split; None with a portion of 0.  Test images are `val`, as the official test labels are not public.

    Raises ValueError for a tree that cannot be read, and for classes with too few images.
    """
    tree = _tree(config.data_dir)
    train_tree, test_tree = list_images(tree / "train"), list_images(tree / "val")
    require_same_classes(train_tree, test_tree)
    train: list[str] = []
    valid: list[str] = []
    portion = config.validation_portion
    require_images(train_tree, 2 if portion else 1)
    for name, paths in train_tree.images.items():
        count = max(1, round(portion * len(paths))) if portion else 0
        if count >= len(paths):
            raise ValueError(f"class {shown(name)} has {len(paths)} images, but {count} are for validation; add images")
        order = hash_order(paths)  # the built-in search split takes images from the front
        train += order[: len(order) - count]
        valid += order[len(order) - count :]
    test = [path for paths in test_tree.images.values() for path in paths]
    batches = partial(
        _batches,
        classes=list(train_tree.images),
        info=dataset_info(config),
        device=device,
        threads=config.threads,
        part=workers,
    )
    return (
        batches(tree / "train", train, cutout=config.cutout, jitter=True),
        batches(tree / "train", valid) if portion else None,
        batches(tree / "val", test),
    )


def check_folders(data_dir: str) -> str:
    """Check the folders and decode one image; describes the tree in one line.  Raises ValueError."""
    tree = _tree(data_dir)
    train, test = list_images(tree / "train"), list_images(tree / "val")
    require_same_classes(train, test)
    require_images(train, 2)
    open_image(train.folder / next(iter(train.images.values()))[0])
    left_out = "".join(f"; {part.folder.name}: {part.left_out_text}" for part in (train, test) if part.left_out)
    return f"imagenet: {len(train.images)} classes, 3 x 224 x 224 pixels, in {tree}{left_out}"


def _tree(data_dir: str) -> Path:
    """The folder that holds train and val."""
    for tree in (Path(data_dir, "imagenet"), Path(data_dir)):
        if (tree / "train").is_dir():
            return tree
    raise ValueError(
        f"imagenet not found: looked for train/<class>/<image> in {Path(data_dir, 'imagenet')} and {Path(data_dir)}\n"
        f"Get it from https://image-net.org, sort val into class folders as well, and set data_dir"
    )


def _batches(
    folder: Path,
    paths: list[str],
    classes: list[str],
    *,
    info: DatasetInfo,
    device: torch.device,
    threads: int,
    cutout: int = 0,
    part: Workers = ALONE,
    jitter: bool = False,
) -> FolderBatches:
    labels = {name: label for label, name in enumerate(classes)}
    return FolderBatches(
        folder,
        [(path, labels[class_of(path)]) for path in paths],
        dataclasses.replace(info, classes=len(classes)),
        device=device,
        cutout=cutout,
        jitter=jitter,
        workers=threads - 1,
        part=part,
    )
