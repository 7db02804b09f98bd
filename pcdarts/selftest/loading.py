"""Part `loading`: images a second of a training's batches, from memory and from image files."""

import os
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from pcdarts.config import RetrainConfig
from pcdarts.data.batches import ImageBatches, retrain_batches
from pcdarts.selftest.bench import Bench
from pcdarts.selftest.results import Verdict
from pcdarts.selftest.searches import random_images

CLASSES = 4
BATCH = 128
MOST_PROCESSES = 16


def run(bench: Bench) -> tuple[Verdict, str]:
    """Measure one augmented pass of each kind, after a pass that starts what there is to start."""
    sizes = bench.sizes
    arrays, _, _ = retrain_batches(
        RetrainConfig(dataset="cifar10"), bench.device, data=random_images(sizes.array_images, sizes.image_size)
    )
    memory = _rate(bench, arrays)
    bench.add(
        "Training images a second", source=f"memory, {sizes.image_size} pixels", processes=0, **{"images/s": memory}
    )
    with tempfile.TemporaryDirectory() as folder:
        size = _write_files(Path(folder), sizes.files, sizes.file_size)
        many = min(MOST_PROCESSES, os.cpu_count() or 1)
        for threads in sorted({1, many}) if bench.on_gpu else (1,):
            config = RetrainConfig(dataset="imagenet", data_dir=folder, threads=threads, stem="imagenet")
            files = _rate(bench, retrain_batches(config, bench.device)[0])
            name = (
                f"JPEG files of {sizes.file_size[0]} x {sizes.file_size[1]} pixels, {size / 1000:.0f} kB, as ImageNet"
            )
            bench.add("Training images a second", source=name, processes=threads - 1, **{"images/s": files})
    return "pass", f"a table; {memory:.3g} images/s from memory, {files:.3g} from files"


def _rate(bench: Bench, batches: ImageBatches) -> float:
    """Images a second of a whole pass."""
    generator = torch.Generator().manual_seed(0)
    for timed in (False, True):
        images, started = 0, time.perf_counter()
        for pixels, _ in batches.epoch(BATCH, generator):
            images += len(pixels)
            if not torch.isfinite(pixels).all():  # also waits for the batch
                raise RuntimeError("a batch of images holds values that are not finite")
        if timed:
            return images / (time.perf_counter() - started)
    raise AssertionError


def _write_files(folder: Path, count: int, size: tuple[int, int]) -> float:
    """Write JPEG files of smooth colors with fine noise, in ImageNet's folders; returns their mean size, bytes."""
    generator = torch.Generator().manual_seed(0)
    width, height = size
    written = 0
    for index in range(count + CLASSES):
        coarse = 255 * torch.rand(1, 3, 6, 8, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        pixels = smooth + 12 * torch.randn(3, height, width, generator=generator)
        part = "train" if index < count else "val"
        path = folder / part / f"class{index % CLASSES}" / f"{index}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = pixels.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(array).save(path, quality=90)
        written += path.stat().st_size
    return written / (count + CLASSES)
