"""The images of a folder tree by class, and the split of an ImageNet search.

The official search uses 10 % of the images of every class for the weights and 2.5 % for alpha; the split can be saved
and shared as a text file.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

Split = list[tuple[str, str]]
"""Pairs of a part, `weights` or `alpha`, and an image's path below the training folder, `<class>/<image>`."""

PARTS = ("weights", "alpha")
SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp"}


def image_names(folder: Path) -> dict[str, list[str]]:
    """Image names by class, both sorted; raises ValueError for no classes and for classes without images."""
    return {path.name: images_of(path) for path in class_folders(folder)}


def class_folders(folder: Path) -> list[Path]:
    """The class folders, sorted; raises ValueError without any."""
    paths = folder.iterdir() if folder.is_dir() else ()
    classes = sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} holds no class folders; set data_dir so that {{train,val}}/<class>/<image> exist")
    return classes


def images_of(folder: Path) -> list[str]:
    """Names of the images of a class, sorted; raises ValueError without any."""
    names = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}); fill the folder or remove it")
    return names


def search_split(train_dir: Path, weight_share: float = 0.10, alpha_share: float = 0.025) -> Split:
    """Disjoint shares of the images of every class, at least one image each; sorted and deterministic.

    Raises ValueError for shares or classes that leave a part without images.
    """
    if not (weight_share > 0 and alpha_share > 0 and weight_share + alpha_share <= 1):
        raise ValueError(f"shares are {weight_share} and {alpha_share}, but must be above 0 and sum to at most 1")
    split = []
    for name, images in image_names(train_dir).items():
        weights, alpha = (max(1, round(share * len(images))) for share in (weight_share, alpha_share))
        if weights + alpha > len(images):
            raise ValueError(f"class {name} has {len(images)} images, but needs {weights + alpha}; add images to it")
        order = hash_order(name, images)
        split += [("weights", path) for path in order[:weights]]
        split += [("alpha", path) for path in order[weights : weights + alpha]]
    return sorted(split)


def hash_order(class_name: str, images: Iterable[str]) -> list[str]:
    """Paths of a class in a pseudo-random order that depends only on the paths themselves."""
    paths = [f"{class_name}/{image}" for image in images]
    return sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest())


def write_split(path: Path | str, split: Split) -> None:
    """Write a split as a text file: a comment, then a part and a path per line."""
    header = "# Images of an architecture search: a part (weights or alpha) and a path below the training folder"
    Path(path).write_text("\n".join([header, *(f"{part} {image}" for part, image in split), ""]), encoding="utf-8")


def read_split(path: Path | str) -> Split:
    """Read what `write_split` wrote; empty lines and comments are skipped.

    Raises ValueError, with the line's number, for lines that are malformed or name an image twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"split file {path} cannot be read ({error}); set split_file, or leave it empty") from error
    split: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        part, _, image = line.strip().partition(" ")
        folders = image.split("/")
        if part not in PARTS or len(folders) != 2 or not all(folders) or folders[0] == "..":
            raise ValueError(f"{path}, line {number}: {line!r} is not 'weights <class>/<image>' or 'alpha ...'")
        if image in split:
            raise ValueError(f"{path}, line {number}: {image} is listed twice; keep one of the lines")
        split[image] = part
    if set(split.values()) != set(PARTS):
        raise ValueError(f"{path} must list images for both weights and alpha")
    return [(part, image) for image, part in split.items()]
