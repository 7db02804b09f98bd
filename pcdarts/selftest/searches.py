"""Part `graphs`: a short search is repeated, on a GPU with and without CUDA graphs; all runs should have equal bits."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from pcdarts.config import SearchConfig
from pcdarts.data.datasets import DATASETS, Images, ImageSet
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.selftest.bench import Bench
from pcdarts.selftest.results import Row, Verdict

EPOCHS = 3
NOT_COMPARED = ("seconds", "images_per_second", "peak_memory_bytes")
"""Fields of an epoch that differ between equal searches: those that start or end with one of these."""
ROUNDING = 1e-3
"""Relative difference of losses that other kernels may make in three epochs; a graph with stale inputs makes more."""
MORE_THAN_REPEATED = 10
"""With kernels that are not deterministic, graphs may change losses by this factor times what a repetition does."""


def run(bench: Bench) -> tuple[Verdict, str]:
    """Search twice without graphs, on a GPU also twice with them, at two batch sizes."""
    failed, differing, logs = [], [], set[str]()
    for batch in bench.sizes.short_batches:
        runs: dict[str, list[EpochRecord]] = {}
        for graphs in (False, True) if bench.on_gpu else (False,):
            for repetition in (1, 2):
                name = f"{'with graphs' if graphs else 'without graphs'}, {repetition}"
                runs[name], lines = short_search(bench, batch, graphs)
                logs.update(lines)
        first, second, *with_graphs = runs.items()
        repeated = difference(first[1], second[1])
        for name, records in (second, *with_graphs):
            changed, distance = unequal(first[1], records), difference(first[1], records)
            half = bench.sizes.short_images // 2
            row: Row = {"batch": batch, "last batch": half % batch or batch, "run": name, "equal bits": not changed}
            row |= {"losses, relative difference": distance, "fields that differ": changed}
            bench.add(f"{EPOCHS} epochs with alpha, compared with the first run without graphs", **row)
            if changed:
                differing.append(f"batch {batch}, {name}: {distance:.1e}")
                if name != second[0] and not distance <= max(ROUNDING, MORE_THAN_REPEATED * repeated):
                    failed.append(differing[-1])
    for line in sorted(logs):
        bench.add("What the searches logged", line=line)
    if failed:
        return "fail", f"graphs change losses by more than rounding and repetitions do: {'; '.join(failed)}"
    if lost := failed_captures(logs):
        return "slower than expected", lost
    if differing and not bench.on_gpu:
        return "fail", f"the same search gave other results: {'; '.join(differing)}"
    if differing:
        return "pass", f"not all bits are equal; relative differences of losses: {'; '.join(differing)}"
    return "pass", "all runs have equal bits"


def short_search(bench: Bench, batch: int, graphs: bool) -> tuple[list[EpochRecord], list[str]]:
    """Epochs of a search with trained alpha, and what it logged."""
    sizes = bench.sizes
    config = SearchConfig(
        channels=sizes.channels,
        layers=sizes.short_layers,
        batch_size=batch,
        epochs=EPOCHS,
        warmup_epochs=0,
        learning_rate=official_rate(batch),
        eigenvalue_every=EPOCHS if bench.on_gpu else 0,
        eigenvalue_batch=min(batch, 32),
        device=str(bench.device),
        threads=torch.get_num_threads(),
        **graph_option(bench, graphs),
    )
    records: list[EpochRecord] = []
    lines: list[str] = []
    search(config, data=random_images(sizes.short_images, sizes.image_size), on_epoch=records.append, log=lines.append)
    return records, lines


def failed_captures(lines: Iterable[str]) -> str:
    """The line in which a search says that it runs eagerly because a capture failed; empty without one."""
    return next((line for line in lines if "could not be captured" in line), "")


def official_rate(batch: int) -> float:
    """The learning rate of the official search, scaled to another batch size."""
    official = SearchConfig()
    return official.learning_rate * batch / official.batch_size


def graph_option(bench: Bench, graphs: bool) -> dict[str, Any]:
    """The field that turns graphs on or off; nothing on a CPU, which has none."""
    return {"cuda_graphs": graphs} if bench.on_gpu else {}


def random_images(count: int, side: int) -> ImageSet:
    """Random images in the shape of CIFAR-10, of this side, with labels that an image's brightness tells."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=generator)
    noise = torch.randint(0, 128, (count, 3, side, side), generator=generator)
    images = Images((noise + 12 * labels[:, None, None, None]).to(torch.uint8), labels)
    info = dataclasses.replace(DATASETS["cifar10"], image_size=(side, side), train_images=count)
    return ImageSet(info, images, images)


def unequal(first: Sequence[EpochRecord], second: Sequence[EpochRecord]) -> str:
    """Names of the fields that differ, apart from times and memory."""
    names = [field.name for field in dataclasses.fields(EpochRecord)]
    compared = [name for name in names if not name.startswith(NOT_COMPARED) and not name.endswith("_seconds")]
    pairs = list(zip(first, second, strict=True))
    return ", ".join(name for name in compared if any(getattr(a, name) != getattr(b, name) for a, b in pairs))


def difference(first: Sequence[EpochRecord], second: Sequence[EpochRecord]) -> float:
    """Largest relative difference of training and validation losses; infinite for one that is not finite."""
    losses = [(a.train_loss, b.train_loss) for a, b in zip(first, second, strict=True)]
    losses += [(a.valid_loss or 0.0, b.valid_loss or 0.0) for a, b in zip(first, second, strict=True)]
    if not all(math.isfinite(a) and math.isfinite(b) for a, b in losses):
        return math.inf
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in losses)
