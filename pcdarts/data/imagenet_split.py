"""The split of an ImageNet search.

The official search uses 10 % of the images of every class for the weights and 2.5 % for alpha; the split can be saved
and shared as a text file.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pcdarts.data.image_files import list_images, normal, require_images
from pcdarts.data.pixels import shown

Split = list[tuple[str, str]]
"""Pairs of a part, `weights` or `alpha`, and an image's path below the training folder, `<class>/<image>`."""

PARTS = ("weights", "alpha")


def search_split(train_dir: Path, weight_share: float = 0.10, alpha_share: float = 0.025) -> Split:
    """Disjoint shares of the images of every class, at least one image each; sorted and deterministic.

    Raises ValueError for shares or classes that leave a part without images.
    """
    if not (weight_share > 0 and alpha_share > 0 and weight_share + alpha_share <= 1):
        raise ValueError(f"shares are {weight_share} and {alpha_share}, but must be above 0 and sum to at most 1")
    split = []
    tree = list_images(train_dir)
    require_images(tree, 2)
    for name, paths in tree.images.items():
        weights, alpha = (max(1, round(share * len(paths))) for share in (weight_share, alpha_share))
        if weights + alpha > len(paths):
            raise ValueError(f"class {shown(name)} has {len(paths)} images, but needs {weights + alpha}; add images")
        order = hash_order(paths)
        split += [("weights", path) for path in order[:weights]]
        split += [("alpha", path) for path in order[weights : weights + alpha]]
    return sorted(split)


def hash_order(paths: Iterable[str]) -> list[str]:
    """Paths in a pseudo-random order that depends only on the paths themselves, in composed form (NFC)."""
    return sorted(paths, key=lambda path: hashlib.sha256(normal(path).encode("utf-8", "surrogateescape")).digest())


def write_split(path: Path | str, split: Split) -> None:
    """Write a split as a text file: a comment, then a part and a path per line."""
    header = "# Images of an architecture search: a part (weights or alpha) and a path below the training folder"
    text = "\n".join([header, *(f"{part} {image}" for part, image in split), ""])
    Path(path).write_text(text, encoding="utf-8", errors="surrogateescape")  # names need not be UTF-8


def read_split(path: Path | str) -> Split:
    """Read what `write_split` wrote; empty lines and comments are skipped.

    Raises ValueError, with the line's number, for lines that are malformed or name an image twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
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
            raise ValueError(f"{path}, line {number}: {shown(image)} is listed twice; keep one of the lines")
        split[image] = part
    if set(split.values()) != set(PARTS):
        raise ValueError(f"{path} must list images for both weights and alpha")
    return [(part, image) for image, part in split.items()]
