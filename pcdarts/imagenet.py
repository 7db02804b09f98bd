"""ImageNet from a folder tree `<data_dir>/{train,val}/<class>/<image>`, and its split for the search.

`<data_dir>/imagenet` is taken where it exists.  Classes are the sorted folder names; any number will do.  The official
search uses 10 % of the images of every class for the weights and 2.5 % for alpha; the split can be saved and shared as
a text file.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from pcdarts.augment import cutout, normalize
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.distributed import ALONE, Workers
from pcdarts.sources import DATASETS, DatasetInfo

Split = list[tuple[str, str]]
"""Pairs of a part, `weights` or `alpha`, and an image's path below the training folder, `<class>/<image>`."""

PARTS = ("weights", "alpha")
SUFFIXES = {".jpeg", ".jpg", ".png", ".bmp", ".webp"}


def image_names(folder: Path) -> dict[str, list[str]]:
    """Image names by class, both sorted; raises ValueError if there is no class, or one without images."""
    return {path.name: _images_of(path) for path in _class_folders(folder)}


def _class_folders(folder: Path) -> list[Path]:
    paths = folder.iterdir() if folder.is_dir() else ()
    classes = sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} holds no class folders; set data_dir so that {{train,val}}/<class>/<image> exist")
    return classes


def _images_of(folder: Path) -> list[str]:
    names = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}); fill the folder or remove it")
    return names


def search_split(train_dir: Path, weight_share: float = 0.10, alpha_share: float = 0.025) -> Split:
    """Disjoint shares of the images of every class, at least one image each; sorted, and always the same.

    Raises ValueError for shares or classes that leave a part without images.
    """
    if not (weight_share > 0 and alpha_share > 0 and weight_share + alpha_share <= 1):
        raise ValueError(f"shares are {weight_share} and {alpha_share}, but must be above 0 and sum to at most 1")
    split = []
    for name, images in image_names(train_dir).items():
        weights, alpha = (max(1, round(share * len(images))) for share in (weight_share, alpha_share))
        if weights + alpha > len(images):
            raise ValueError(f"class {name} has {len(images)} images, but needs {weights + alpha}; add some to it")
        order = _hash_order(name, images)
        split += [("weights", path) for path in order[:weights]]
        split += [("alpha", path) for path in order[weights : weights + alpha]]
    return sorted(split)


def _hash_order(class_name: str, images: Iterable[str]) -> list[str]:
    """Paths of a class in an order that looks random, yet depends on nothing but the paths themselves."""
    paths = [f"{class_name}/{image}" for image in images]
    return sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest())


def write_split(path: Path | str, split: Split) -> None:
    """Write a split as a text file: a comment, then a part and a path a line."""
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


_Item = tuple[str, int, int | None]
"""Path, label, and the seed of the augmentation; None: not augmented."""


class FolderBatches:
    """`ImageBatches` (see `pcdarts.data`) over image files, which `workers` processes decode and augment.

    Images are pairs of a path below `folder` and a label.  What is drawn for an image depends on the generator alone:
    any number of processes, 0 for none, gives the same batches.  The processes of a whole pass live on for the next
    one; a pass that begins while another is under way gets processes of its own.  Of every batch a training worker
    (`part`) decodes and yields its own rows alone.  Images travel as uint8 and are normalized on the device.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[tuple[str, int]],
        info: DatasetInfo,
        *,
        device: torch.device,
        cutout: int = 0,
        workers: int = 0,
        part: Workers = ALONE,
    ) -> None:
        self.classes = info.classes
        self.image_channels = info.image_channels
        self.image_size = info.image_size
        self._info, self._images, self._device, self._cutout = info, images, device, cutout
        self._workers, self._part = workers, part
        self._decoder = _Decoder(folder, info.image_size)
        self._loader: tuple[_Handed, DataLoader[Any]] | None = None
        self._busy = False

    def __len__(self) -> int:
        return len(self._images)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all images, augmented, in an order drawn from the generator."""
        yield from self._augmented(self._shuffled(batch_size, generator), self._sizes(batch_size), generator)

    def stream(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Passes without end, each in a fresh order."""
        # Workers run ahead, across passes: orders come from generators of their own, so that the state of `generator`
        # tells nothing of how far they are, and a resumed search draws what the uninterrupted one would have drawn.
        orders = torch.Generator().manual_seed(int(_seeds(1, generator)))
        passes = (self._shuffled(batch_size, orders) for _ in itertools.count())
        sizes = itertools.cycle(self._sizes(batch_size))
        yield from self._augmented(itertools.chain.from_iterable(passes), sizes, generator)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in stored order, not augmented: for evaluation."""
        items: list[_Item] = [(path, label, None) for path, label in self._images]
        yield from self._decoded(items[start : start + batch_size] for start in range(0, len(items), batch_size))

    def _shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[list[_Item]]:
        order = torch.randperm(len(self), generator=generator)
        seeds = _seeds(len(self), generator)
        return (
            [(*self._images[i], seed) for i, seed in zip(indices.tolist(), some.tolist(), strict=True)]
            for indices, some in zip(order.split(batch_size), seeds.split(batch_size), strict=True)
        )

    def _sizes(self, batch_size: int) -> list[int]:
        """Images of the whole batches of a pass."""
        return [min(batch_size, len(self) - start) for start in range(0, len(self), batch_size)]

    def _augmented(
        self, batches: Iterator[list[_Item]], sizes: Iterable[int], generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for (images, labels), total in zip(self._decoded(batches), sizes, strict=False):
            if self._cutout:
                images = cutout(images, self._cutout, generator, total, self._part.rows(total))
            yield images, labels

    def _decoded(self, batches: Iterable[list[_Item]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of this worker of the batches."""
        mine = (batch[self._part.rows(len(batch))] for batch in batches)
        if self._busy:
            yield from self._on_device(self._make_loader(_Handed(mine), persistent=False))
            return
        if self._loader is None:
            handed = _Handed(mine)
            self._loader = handed, self._make_loader(handed, persistent=self._workers > 0)
        handed, loader = self._loader
        handed.batches, self._busy = mine, True
        finished = False
        try:
            yield from self._on_device(loader)
            finished = True
        finally:
            self._busy = False
            if not finished:  # processes that hold images of a pass nobody wants any more
                self._loader = None

    def _make_loader(self, batches: "_Handed", *, persistent: bool) -> DataLoader[Any]:
        return DataLoader(
            self._decoder,
            batch_sampler=batches,
            num_workers=self._workers,
            persistent_workers=persistent,
            pin_memory=self._device.type == "cuda",
            collate_fn=partial(_collate, self._info.image_size),
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def _on_device(self, loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in loader:
            images = images.to(self._device, non_blocking=True)  # as uint8, a quarter of the floats' size
            yield normalize(images, self._info.mean, self._info.std), labels.to(self._device, non_blocking=True)


class _Handed:
    """The batches of the pass that a loader serves now: a loader keeps its sampler, a pass brings its own."""

    def __init__(self, batches: Iterator[list[_Item]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[_Item]]:
        return self.batches


def _collate(size: int, items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Images (N, 3, size, size) and labels (N,); N may be 0."""
    if not items:
        return torch.zeros(0, 3, size, size, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels)


def _seeds(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2**62, (count,), generator=generator)


class _Decoder(Dataset[tuple[Tensor, int]]):
    """Decodes and augments an image.  It is handed whole items, so that workers need no copy of a million paths."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.train_transform = v2.Compose(
            [
                v2.RandomResizedCrop(size),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
                v2.PILToTensor(),
            ]
        )
        self.test_transform = v2.Compose([v2.Resize(round(size * 256 / 224)), v2.CenterCrop(size), v2.PILToTensor()])

    def __getitem__(self, item: _Item) -> tuple[Tensor, int]:
        path, label, seed = item
        try:
            with Image.open(self.folder / path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError) as error:  # Pillow raises either for damaged files
            raise ValueError(f"{self.folder / path} cannot be read ({error}); replace it or take it away") from error
        if seed is None:
            return self.test_transform(image), label
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator: lend it to them
            torch.default_generator.manual_seed(seed)
            return self.train_transform(image), label


def search_batches(config: SearchConfig, device: torch.device) -> tuple[FolderBatches, FolderBatches]:
    """Images for the weights and for alpha: those that `split_file` lists, or the built-in 10 % and 2.5 %.

    Classes are those of the split.  `threads` - 1 processes decode images, for weights and for alpha each.
    Raises ValueError for a tree or a split file that cannot be read, and for images that are missing.
    """
    folder = _tree(config.data_dir) / "train"
    split = read_split(config.split_file) if config.split_file else search_split(folder)
    if config.split_file:
        present = {f"{name}/{image}" for name, images in image_names(folder).items() for image in images}
        missing = sorted({image for _, image in split} - present)
        if missing:
            raise ValueError(
                f"{len(missing)} images of {config.split_file} are missing in {folder}: {', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}; correct data_dir or split_file"
            )
    classes = sorted({image.split("/")[0] for _, image in split})
    weights, alpha = ([image for part, image in split if part == wanted] for wanted in PARTS)
    return (
        _batches(folder, weights, classes, device, config.cutout, config.threads),
        _batches(folder, alpha, classes, device, config.cutout, config.threads),
    )


def retrain_batches(
    config: RetrainConfig, device: torch.device, workers: Workers = ALONE
) -> tuple[FolderBatches, FolderBatches, FolderBatches]:
    """Training, validation and test images: `validation_portion` of the images of every class in `train`, the others,
    and `val`, whose labels are public while those of the official test images are not.

    Validation images are the same for every seed, and are none of a search that used the built-in split.
    """
    tree = _tree(config.data_dir)
    names, test_names = image_names(tree / "train"), image_names(tree / "val")
    _check_same_classes(tree, names, test_names)
    train: list[str] = []
    valid: list[str] = []
    for name, images in names.items():
        count = max(1, round(config.validation_portion * len(images)))
        if count >= len(images):
            raise ValueError(f"class {name} has {len(images)} images, but {count} are for validation; add some to it")
        order = _hash_order(name, images)  # the built-in search split takes its images from the front
        train += order[:-count]
        valid += order[-count:]
    test = [f"{name}/{image}" for name, images in test_names.items() for image in images]
    classes = list(names)
    return (
        _batches(tree / "train", train, classes, device, config.cutout, config.threads, workers),
        _batches(tree / "train", valid, classes, device, 0, config.threads, workers),
        _batches(tree / "val", test, classes, device, 0, config.threads, workers),
    )


def check_folders(data_dir: str) -> str:
    """Describe the tree in one line, having looked for its folders and into one image; raises ValueError."""
    tree = _tree(data_dir)
    train, test = _class_folders(tree / "train"), _class_folders(tree / "val")
    _check_same_classes(tree, (path.name for path in train), (path.name for path in test))
    _Decoder(train[0], 8)[_images_of(train[0])[0], 0, None]
    return f"imagenet: {len(train)} classes, 3 x 224 x 224 pixels, in {tree}"


def _tree(data_dir: str) -> Path:
    """The folder that holds train and val."""
    for tree in (Path(data_dir, "imagenet"), Path(data_dir)):
        if (tree / "train").is_dir():
            return tree
    raise ValueError(
        f"imagenet not found: looked for train/<class>/<image> in {Path(data_dir, 'imagenet')} and {Path(data_dir)}\n"
        f"Get it from https://image-net.org, sort val into class folders as well, and set data_dir"
    )


def _check_same_classes(tree: Path, train: Iterable[str], test: Iterable[str]) -> None:
    different = sorted(set(train) ^ set(test))
    if different:
        raise ValueError(
            f"{tree}/train and {tree}/val must hold the same class folders, but {', '.join(different[:3])} "
            f"({len(different)} in all) are in one alone; the official val images must be sorted into class folders"
        )


def _batches(
    folder: Path,
    paths: list[str],
    classes: list[str],
    device: torch.device,
    cutout: int,
    threads: int,
    part: Workers = ALONE,
) -> FolderBatches:
    labels = {name: label for label, name in enumerate(classes)}
    return FolderBatches(
        folder,
        [(path, labels[path.split("/")[0]]) for path in paths],
        dataclasses.replace(DATASETS["imagenet"], classes=len(classes)),
        device=device,
        cutout=cutout,
        workers=threads - 1,
        part=part,
    )
