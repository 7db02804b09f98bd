"""Images per second of the ImageNet loading path, beside torchvision's ImageFolder, and where the time goes.

    python -m tests.benchmarks.decode [--images 256] [--batch 64] [--workers 0 1 2] [--repetitions 3]

The images are 500 x 375 pixels of noise with the spectrum of photographs (amplitudes that fall with the frequency), as
JPEG files of quality 88 and about 108 kB, close to ImageNet's mean.  They come from the page cache, not from the disk.

Both loaders crop and flip alike, and for a retraining jitter, in the given number of processes, 0 for this one; the
squares of a search are cropped in threads instead.  The baseline also normalizes there, as the official code does, and
hands over floats.  Ours hands over bytes, and jitters and normalizes on the device, which is the CPU of this process
here, with one thread.  "host" has a device that computes nothing: it is what is left for the CPU beside a GPU, without
the transfer.  Squares are kept before the first pass.  Loaders take turns, and ratios are medians over the turns: other
work on the machine slows both.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from pcdarts.data.augment import color_jitter, normalize
from pcdarts.data.datasets import DATASETS
from pcdarts.data.decoding import squares
from pcdarts.data.decoding.crops import DRAWS, Box, cut_out, random_box
from pcdarts.data.decoding.decoder import pixels_of
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.data.image_files import list_images
from pcdarts.data.pixels import opened
from pcdarts.training.allocator import keep_freed_memory
from tests.benchmarks.supernet import processor

HEIGHT, WIDTH = 375, 500
"""Pixels of the files, close to the mean of ImageNet's."""
INFO = DATASETS["imagenet"]
SIDE = round(INFO.image_size[0] * squares.SIDE)
"""Pixels of a square's side."""


def photograph(random: np.random.Generator) -> Image.Image:
    """Noise in correlated channels whose amplitudes fall with the frequency, as in photographs."""
    frequencies = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])

    def field() -> Any:
        phases = random.standard_normal(frequencies.shape) + 1j * random.standard_normal(frequencies.shape)
        values = np.fft.irfft2(phases / np.maximum(frequencies, 1 / WIDTH), (HEIGHT, WIDTH))
        return (values - values.mean()) / values.std()

    common = field()
    channels = [128 + 48 * (common + 0.35 * field()) for _ in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))


def write_tree(folder: Path, images: int) -> None:
    """So many images in four classes, as folder/<class>/<number>.JPEG."""
    random = np.random.default_rng(0)
    for number in range(images):
        path = folder / f"n{number % 4:02}" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(random).save(path, quality=88)


def our_loader(folder: Path, batch: int, workers: int, *, search: bool, host: bool) -> Callable[[], Iterable[Any]]:
    """A pass over all images, augmented for training."""
    classes = list_images(folder).images.values()
    images = [(path, label) for label, paths in enumerate(classes) for path in paths]
    batches = FolderBatches(
        folder,
        images,
        replace(INFO, classes=len(classes)),
        device=torch.device("meta" if host else "cpu"),
        jitter=not search,
        squares=search,
        fingerprint=str(folder),
        workers=workers,
    )
    generator = torch.Generator().manual_seed(0)
    return lambda: batches.epoch(batch, generator)


def baseline(folder: Path, batch: int, workers: int, *, search: bool) -> Callable[[], Iterable[Any]]:
    """The same with ImageFolder and the transforms of the official code."""
    jitter = [transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)]
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(INFO.image_size[0]),
            transforms.RandomHorizontalFlip(),
            *([] if search else jitter),
            transforms.ToTensor(),
            transforms.Normalize(INFO.mean, INFO.std),
        ]
    )
    images = ImageFolder(str(folder), transform)
    loader = DataLoader(images, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def turns(passes: dict[Any, Callable[[], Iterable[Any]]], images: int, repetitions: int) -> dict[Any, Any]:
    """Images per second of every kind of pass in every turn (repetitions,); one turn more warms up."""
    found = defaultdict(list)
    for repetition in range(repetitions + 1):
        for name, make in passes.items():
            started = time.perf_counter()
            seen = sum(len(labels) for _, labels in make())
            assert seen == images
            if repetition:
                found[name].append(images / (time.perf_counter() - started))
    return {name: np.array(values) for name, values in found.items()}


def parts(folder: Path, batch: int) -> dict[str, float]:
    """Milliseconds per image of every step of a retraining's loader, medians over the images or batches."""
    seconds, images = defaultdict(list), list[Any]()
    draws = torch.rand(DRAWS, generator=torch.Generator().manual_seed(0)).tolist()
    for path in sorted(folder.glob("*/*")):
        with opened(path) as image:
            times = [time.perf_counter()]
            pixels = pixels_of(image, "RGB", 1)
        times.append(time.perf_counter())
        box = random_box((HEIGHT, WIDTH), draws)
        times.append(time.perf_counter())
        images.append(cut_out(pixels, box, INFO.image_size))
        times.append(time.perf_counter())
        square = cut_out(pixels, Box(0, 0, HEIGHT, WIDTH), (SIDE, SIDE))
        times.append(time.perf_counter())
        cut_out(square, box.scaled((HEIGHT, WIDTH), (SIDE, SIDE)), INFO.image_size)
        times.append(time.perf_counter())
        names = ("read and decode", "draw a box", "crop and resize", "make a square", "crop and resize a square")
        for name, start, end in zip(names, times, times[1:], strict=False):
            seconds[name].append(end - start)
    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        times = [time.perf_counter()]
        stacked = torch.stack(some)
        times.append(time.perf_counter())
        jittered = color_jitter(stacked, generator)
        times.append(time.perf_counter())
        normalize(jittered, INFO.mean, INFO.std)
        times.append(time.perf_counter())
        for name, begin, end in zip(("stack", "jitter", "normalize"), times, times[1:], strict=False):
            seconds[name].append((end - begin) / len(some))
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does; it helps both loaders
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "train")
        os.environ["XDG_CACHE_HOME"] = name
        write_tree(folder, args.images)
        size = statistics.mean(path.stat().st_size for path in folder.glob("*/*")) / 1000
        passes: dict[Any, Callable[[], Iterable[Any]]] = {}
        for search in (False, True):
            for workers in args.workers:
                for host in (False, True):
                    passes[search, workers, "host" if host else "ours"] = our_loader(
                        folder, args.batch, workers, search=search, host=host
                    )
                passes[search, workers, "baseline"] = baseline(folder, args.batch, workers, search=search)
        found = turns(passes, args.images, args.repetitions)
        times = parts(folder, args.batch)
    print(
        f"{processor()}, torch {torch.__version__}; {args.images} images of {WIDTH} x {HEIGHT} pixels and "
        f"{size:.0f} kB, batch {args.batch}, medians of {args.repetitions}\n"
    )
    print(
        "| | processes | ours, images/s | host | ImageFolder, images/s | ratio | host |",
        "|---|---|---|---|---|---|---|",
        sep="\n",
    )
    for search, workers in sorted({key[:2] for key in passes}):
        ours, host, theirs = (found[search, workers, kind] for kind in ("ours", "host", "baseline"))
        task = "search, later epochs" if search else "retraining"
        print(
            f"| {task} | {workers} | {np.median(ours):.0f} | {np.median(host):.0f} | {np.median(theirs):.0f} | "
            f"{np.median(ours / theirs):.1f} | {np.median(host / theirs):.1f} |"
        )
    print("\nSteps of ours in one process:\n", "| step | ms per image |", "|---|---|", sep="\n")
    for step, value in times.items():
        print(f"| {step} | {value:.2f} |")


if __name__ == "__main__":
    main()
