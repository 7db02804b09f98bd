"""Images per second of the ImageNet loading path, beside torchvision's ImageFolder, and where the time goes.

    python -m tests.benchmarks.decode [--images 256] [--batch 64] [--workers 0 1 2] [--repetitions 3] [--data-dir data]

The images are Fashion-MNIST's, enlarged to 500 x 375 pixels, as JPEG files of quality 95 in a folder tree that is made
for the purpose.  They are smoother than photographs: their files are smaller, so that reading and the first step of
decoding cost less than they would on ImageNet.  They come from the page cache, not from the disk.

Both loaders crop, mirror and jitter alike, as for a retraining (a search does not jitter), in the given number of
processes and 0 for this one; the baseline also normalizes there, as the official code does, and hands over floats.
Ours hands over bytes, and normalizes on the device, which is the CPU of this process here.  Their passes take turns;
medians.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from pcdarts.config import SearchConfig
from pcdarts.data.augment import normalize
from pcdarts.data.datasets import DATASETS
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import list_images
from pcdarts.data.sources import load
from tests.benchmarks.supernet import processor

SIZE = (500, 375)
"""Width and height of the files, pixels; close to the mean of ImageNet's."""


def write_tree(folder: Path, images: int, data_dir: str) -> None:
    """So many images of Fashion-MNIST as folder/<class>/<number>.JPEG, in colour."""
    source = load(SearchConfig(dataset="fashion-mnist", data_dir=data_dir), download=False).train
    for number, (image, label) in enumerate(zip(source.images[:images], source.labels[:images], strict=True)):
        path = folder / f"n{int(label):02}" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        enlarged = Image.fromarray(image[0].numpy()).resize(SIZE, Image.Resampling.BICUBIC)
        enlarged.convert("RGB").save(path, quality=95)


def our_loader(folder: Path, batch: int, workers: int) -> Callable[[], Iterable[Any]]:
    """A pass over all images, augmented for training."""
    classes = list_images(folder).images.values()
    images = [(path, label) for label, paths in enumerate(classes) for path in paths]
    info = replace(DATASETS["imagenet"], classes=len(classes))
    batches = FolderBatches(folder, images, info, device=torch.device("cpu"), jitter=True, workers=workers)
    generator = torch.Generator().manual_seed(0)
    return lambda: batches.epoch(batch, generator)


def baseline(folder: Path, batch: int, workers: int) -> Callable[[], Iterable[Any]]:
    """The same with ImageFolder and the transforms of the official code."""
    info = DATASETS["imagenet"]
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(info.image_size[0]),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
            transforms.ToTensor(),
            transforms.Normalize(info.mean, info.std),
        ]
    )
    images = ImageFolder(str(folder), transform)
    loader = DataLoader(images, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def rates(passes: dict[Any, Callable[[], Iterable[Any]]], images: int, repetitions: int) -> dict[Any, float]:
    """Images per second of every kind of pass, medians of passes that take turns; the first turn warms up."""
    seconds = defaultdict(list)
    for repetition in range(repetitions + 1):
        for name, make in passes.items():
            started = time.perf_counter()
            seen = sum(len(labels) for _, labels in make())
            assert seen == images
            if repetition:
                seconds[name].append(time.perf_counter() - started)
    return {name: images / statistics.median(values) for name, values in seconds.items()}


def parts(folder: Path, batch: int) -> dict[str, float]:
    """Milliseconds per image of every step of our loader in this process, medians over the images or batches."""
    loader = FolderBatches(folder, [], DATASETS["imagenet"], device=torch.device("cpu"), jitter=True)
    steps = {type(step).__name__: step for step in loader._decoder.train_transform.transforms}
    seconds, images = defaultdict(list), list[Any]()
    for path in sorted(folder.glob("*/*")):
        times = [time.perf_counter()]
        data = path.read_bytes()
        times.append(time.perf_counter())
        image: Any = Image.open(io.BytesIO(data)).convert("RGB")
        times.append(time.perf_counter())
        for step in steps.values():
            image = step(image)
            times.append(time.perf_counter())
        for name, start, end in zip(("read", "decode", *steps), times, times[1:], strict=False):
            seconds[name].append(end - start)
        images.append(image)
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        times = [time.perf_counter()]
        stacked = torch.stack(some)
        times.append(time.perf_counter())
        normalize(stacked, loader._info.mean, loader._info.std)
        times.append(time.perf_counter())
        for name, begin, end in zip(("stack", "normalize"), times, times[1:], strict=False):
            seconds[name].append((end - begin) / len(some))
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--data-dir", default="data", help="folder that holds Fashion-MNIST")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder, args.images, args.data_dir)
        size = statistics.mean(path.stat().st_size for path in folder.glob("*/*")) / 1000
        passes: dict[Any, Callable[[], Iterable[Any]]] = {}
        for workers in args.workers:
            passes[workers, "ours"] = our_loader(folder, args.batch, workers)
            passes[workers, "baseline"] = baseline(folder, args.batch, workers)
        found = rates(passes, args.images, args.repetitions)
        times = parts(folder, args.batch)
    print(
        f"{processor()}, torch {torch.__version__}; {args.images} images of {SIZE[0]} x {SIZE[1]} pixels and "
        f"{size:.0f} kB, batch {args.batch}, medians of {args.repetitions}\n"
    )
    print("| processes | ours, images/s | ImageFolder, images/s | ratio |", "|---|---|---|---|", sep="\n")
    for workers in args.workers:
        ours, theirs = found[workers, "ours"], found[workers, "baseline"]
        print(f"| {workers} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")
    total = sum(times.values())
    print(
        f"\nOf {total:.2f} ms an image in one process, largest first:\n",
        "| step | ms | share |",
        "|---|---|---|",
        sep="\n",
    )
    for step, value in sorted(times.items(), key=lambda item: -item[1]):
        print(f"| {step} | {value:.2f} | {100 * value / total:.0f} % |")


if __name__ == "__main__":
    main()
