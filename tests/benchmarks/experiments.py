"""Projected cost of the experiments of papers in GPU-days, for docs/experiments.md.

    python -m tests.benchmarks.experiments

The time of a search or training is taken as proportional to the bytes that the kernels of the readable networks read
and write, as if nothing stayed in a cache.  A training image costs a forward and a backward pass, a validation image a
third of that.  One constant turns bytes into time: the official CIFAR-10 search takes the 0.1 GPU-days of the ICLR
paper.  So these are days on a GPU of that paper; loading and decoding of images do not count.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from orchestrator.config import StudyConfig
from orchestrator.presets import STUDIES
from orchestrator.queue.costs import most_cells, stage_costs
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.datasets import DATASETS
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork
from pcdarts.presets import cifar10
from pcdarts.supernet import Supernet
from tests.benchmarks.supernet import KernelCounter

PRESETS = (
    *("ablation-k", "ablation-parts", "ablation-journal", "stability", "cifar10-baselines", "robust-spaces"),
    *("published-cifar10", "published-imagenet"),
)
OFFICIAL_SEARCH_GPU_DAYS = 0.1
IMAGENET_IMAGES = 1_281_167
IMAGENET_SEARCH = 0.1, 0.025
"""Shares of the images of ImageNet for weights and for alpha."""
FORWARD = 1 / 3
"""Cost of a forward pass, in units of a forward and a backward pass."""


def bytes_per_image(network: nn.Module, size: tuple[int, int]) -> float:
    """Bytes that the kernels of a training step read and write for one more image."""
    network.to("meta").train()

    def step(images: int) -> int:
        with KernelCounter() as counter:
            output = network(torch.zeros(images, 3, *size, device="meta"))
            (output if isinstance(output, Tensor) else output[0]).sum().backward()
        return counter.bytes

    return (step(4) - step(2)) / 2


@cache
def search_bytes(config: SearchConfig) -> float:
    """Bytes of a whole search."""
    info = DATASETS[config.dataset]
    if config.dataset == "imagenet":
        train, valid = (IMAGENET_IMAGES * share for share in IMAGENET_SEARCH)
    else:
        train, valid = (info.train_images * share for share in (config.train_portion, 1 - config.train_portion))
    network = Supernet(config, info.classes, generator=torch.Generator())
    alpha_epochs = config.epochs - config.warmup_epochs
    images = train * config.epochs + valid * alpha_epochs + FORWARD * valid * config.epochs
    return images * bytes_per_image(network, info.image_size)


@cache
def training_bytes(config: RetrainConfig) -> float:
    """Bytes of a training from scratch, of the published cell of the data set."""
    info = DATASETS[config.dataset]
    cell = PUBLISHED["PC_DARTS_image" if config.dataset == "imagenet" else "PC_DARTS_cifar"]
    network = CellNetwork(
        cell,
        channels=config.channels,
        layers=config.layers,
        classes=info.classes,
        image_channels=info.image_channels,
        stem=config.stem,
    )
    total = info.train_images or IMAGENET_IMAGES
    images = config.epochs * total * (1 - config.validation_portion * (1 - FORWARD))
    return images * bytes_per_image(network, info.image_size)


@cache
def gpu_days_per_byte() -> float:
    """The constant: GPU-days of a byte."""
    return OFFICIAL_SEARCH_GPU_DAYS / search_bytes(cifar10())


def costs(study: StudyConfig) -> dict[str, tuple[int, float]]:
    """Number and GPU-days of the searches, and of the trainings in the race and in full, at most."""
    rate, selected = gpu_days_per_byte(), most_cells(study)
    searches = [search for search in study.searches() if search.method != "random"]
    found = {"searches": (len(searches), rate * sum(search_bytes(replace(s, seed=0)) for s in searches))}
    found |= {"race": (0, 0.0), "full": (0, 0.0)}
    stages = stage_costs(study, sum(selected.values()), len(selected))
    for stage, cost in zip(study.stages(), stages, strict=True):
        part = "race" if stage.stage == "rung" else "full"
        count, days = found[part]
        found[part] = (count + cost.trainings, days + rate * cost.trainings * training_bytes(stage.recipe))
    return found


def main() -> None:
    print("| preset | searches | GPU-days | trainings of the race | GPU-days | full trainings | GPU-days | in all |")
    print("|---|---|---|---|---|---|---|---|")
    for name in PRESETS:
        parts = costs(STUDIES[name]()).values()
        cells = " | ".join(f"{count} | {days:.1f}" for count, days in parts)
        print(f"| `{name}` | {cells} | {sum(days for _, days in parts):.0f} |", flush=True)


if __name__ == "__main__":
    main()
