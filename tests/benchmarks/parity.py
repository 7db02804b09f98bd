"""Our search and retraining against the official code, on real CIFAR-10 images.

    python -m tests.benchmarks.parity --official DIR --data-dir DIR [--parts steps images search retrain]
        [--weights FILE]
    python -m tests.benchmarks.parity --report DIR [--results FILE]

`steps`: 30 steps on alpha and weights in float64, from the official start and with the same batches.  `images`:
augmentation and evaluation, see `tests.benchmarks.parity_images`.  `search` and `retrain`: whole trainings of both
codes on the same images, with independent seeds.  The official side is its own `main`, see
`tests.benchmarks.official_scripts`.  Every training appends a line to the results; it is skipped if it is there
already.  `--report` prints tables and writes figures.
"""

import argparse
import copy
import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import pcdarts.retrain
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.batches import TensorBatches, retrain_batches
from pcdarts.data.datasets import Images, ImageSet
from pcdarts.data.sources import load
from pcdarts.diagnostics.measures import architecture_columns, norm
from pcdarts.genotype import PUBLISHED
from pcdarts.official import supernet_from_official, supernet_to_official
from pcdarts.results import EpochRecord, RetrainEpoch
from pcdarts.search import SearchState, alpha_step, search, weight_step
from pcdarts.selftest.official_code import cuda_calls_do_nothing
from pcdarts.supernet import derive_genotype
from pcdarts.training.evaluation import evaluate
from tests.benchmarks.official_scripts import load_script, run_main
from tests.benchmarks.parity_images import check_images
from tests.benchmarks.parity_report import report
from tests.benchmarks.supernet import processor

PARTS = ("steps", "images", "search", "retrain")
CODES = ("official", "ours")
SEARCH_MEASURES = (
    *("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "weight_norm"),
    *("alpha_entropy_normal", "alpha_entropy_reduce", "beta_entropy_normal", "beta_entropy_reduce"),
)
RETRAIN_MEASURES = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy")
CELL = "PC_DARTS_cifar"
STEPS, STEP_BATCH = 30, 8
TOLERANCE = 1e-12
"""Largest difference of alpha, beta, weights and losses after these steps in float64.  Running statistics are printed
alone: their scale is that of the activations."""
OFFICIAL_WARMUP = 15
"""Epoch from which the official search trains alpha, whatever its options."""
TEST_IMAGES = 500
"""Test images of a retraining, the first."""
WARMED_UP_IMAGES = 1000
"""Test images that warmed-up weights classify."""
ARCHITECTURE = ("alphas_normal", "alphas_reduce", "betas_normal", "betas_reduce")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes of a training; whatever is not named here has its official value in both codes."""

    images: int
    """Training images, the first of the data set; a search halves them."""
    batch: int
    epochs: int
    warmup: int = 0
    """Epochs of a search in which alpha is frozen."""
    channels: int = 8
    layers: int = 5
    learning_rate: float = 0.025
    alpha_learning_rate: float = 6e-3


DEFAULTS = {
    "search": Settings(images=768, batch=32, epochs=5, warmup=2, learning_rate=0.05),
    "retrain": Settings(images=384, batch=32, epochs=5, layers=4),
}


def official_search(directory: str, data_dir: str, settings: Settings) -> Callable[[int], list[dict[str, Any]]]:
    """A function from a seed to the epochs of the official search."""
    options = {
        "data": data_dir,
        "batch_size": settings.batch,
        "epochs": settings.epochs,
        "init_channels": settings.channels,
        "layers": settings.layers,
        "learning_rate": settings.learning_rate,
        "arch_learning_rate": settings.alpha_learning_rate,
    }
    module = load_script(directory, "train_search.py", options)
    train, infer = module.train, module.infer
    _, plain = module.utils._data_transforms_cifar10(module.args)
    epochs: list[dict[str, Any]] = []

    def recorded_train(train_queue: Any, valid_queue: Any, model: Any, *others: Any) -> Any:
        architect, criterion, optimizer, rate, epoch = others
        shown = OFFICIAL_WARMUP - settings.warmup + epoch
        result = train(train_queue, valid_queue, model, architect, criterion, optimizer, rate, shown)
        images = copy.copy(valid_queue.dataset)
        images.transform = plain
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            valid = infer(DataLoader(images, settings.batch, sampler=valid_queue.sampler), model, criterion)
        arch = {name: getattr(model, name).detach().double() for name in ARCHITECTURE}
        genotype, theirs = derive_genotype(arch), model.genotype()
        measures = architecture_columns(arch, None, genotype, True)
        epochs.append(
            {name: measures[name] for name in SEARCH_MEASURES if name in measures}
            | dict(zip(("train_accuracy", "train_loss"), map(float, result), strict=True))
            | dict(zip(("valid_accuracy", "valid_loss"), map(float, valid), strict=True))
            | {
                "weight_norm": norm(list(model.parameters())),
                "learning_rate": optimizer.param_groups[0]["lr"],
                "same_cells": [list(genotype.normal), list(genotype.reduce)] == [theirs.normal, theirs.reduce],
            }
        )
        return result

    def recorded_infer(*args: Any) -> Any:
        with torch.no_grad():
            result = infer(*args)
        epochs[-1]["valid_accuracy_augmented"] = float(result[0])
        return result

    def run(seed: int) -> list[dict[str, Any]]:
        epochs.clear()
        module.args.seed = seed
        with mock.patch.multiple(module, train=recorded_train, infer=recorded_infer):
            run_main(module, settings.images, TEST_IMAGES)
        return list(epochs)

    return run


def our_search(data: ImageSet, settings: Settings) -> Callable[[int], list[dict[str, Any]]]:
    """A function from a seed to the epochs of our search."""
    config = SearchConfig(
        batch_size=settings.batch,
        epochs=settings.epochs,
        warmup_epochs=settings.warmup,
        channels=settings.channels,
        layers=settings.layers,
        learning_rate=settings.learning_rate,
        alpha_learning_rate=settings.alpha_learning_rate,
        eigenvalue_every=0,
        device="cpu",
    )

    def run(seed: int) -> list[dict[str, Any]]:
        records: list[EpochRecord] = []
        search(dataclasses.replace(config, seed=seed), data=data, on_epoch=records.append)
        return [{name: getattr(record, name) for name in (*SEARCH_MEASURES, "learning_rate")} for record in records]

    return run


def official_retrain(directory: str, data_dir: str, settings: Settings) -> Callable[[int], list[dict[str, Any]]]:
    """A function from a seed to the epochs of the official training of a published cell."""
    options = {
        "data": data_dir,
        "batch_size": settings.batch,
        "epochs": settings.epochs,
        "init_channels": settings.channels,
        "layers": settings.layers,
        "learning_rate": settings.learning_rate,
        "arch": CELL,
        "auxiliary": True,
        "cutout": True,
    }
    module = load_script(directory, "train.py", options)
    train, infer = module.train, module.infer
    epochs: list[dict[str, Any]] = []

    def recorded_train(queue: Any, model: Any, criterion: Any, optimizer: Any) -> Any:
        losses: list[tuple[float, int]] = []

        def recorded_criterion(logits: Tensor, labels: Tensor) -> Tensor:
            loss: Tensor = criterion(logits, labels)
            losses.append((loss.item(), len(labels)))
            return loss

        result = train(queue, model, recorded_criterion, optimizer)
        main = losses[::2]  # every other loss is that of the auxiliary head, which the printed loss includes
        loss = sum(value * count for value, count in main) / sum(count for _, count in main)
        rate = optimizer.param_groups[0]["lr"]
        epochs.append({"train_loss": loss, "train_accuracy": float(result[0]), "learning_rate": rate})
        return result

    def recorded_infer(*args: Any) -> Any:
        with torch.no_grad():
            result = infer(*args)
        epochs[-1] |= dict(zip(("valid_accuracy", "valid_loss"), map(float, result), strict=True))
        return result

    def run(seed: int) -> list[dict[str, Any]]:
        epochs.clear()
        module.args.seed = seed
        with mock.patch.multiple(module, train=recorded_train, infer=recorded_infer):
            run_main(module, settings.images, TEST_IMAGES)
        return list(epochs)

    return run


def our_retrain(data: ImageSet, settings: Settings) -> Callable[[int], list[dict[str, Any]]]:
    """A function from a seed to the epochs of our training, measured on the test images as the official one is."""
    config = RetrainConfig(
        validation_portion=0.0,
        batch_size=settings.batch,
        epochs=settings.epochs,
        channels=settings.channels,
        layers=settings.layers,
        learning_rate=settings.learning_rate,
        device="cpu",
    )

    def validated_on_test(*args: Any, **values: Any) -> Any:
        train, _, test = retrain_batches(*args, **values)
        return train, test, test

    def run(seed: int) -> list[dict[str, Any]]:
        records: list[RetrainEpoch] = []
        with mock.patch.object(pcdarts.retrain, "retrain_batches", validated_on_test):
            pcdarts.retrain.retrain(
                PUBLISHED[CELL], dataclasses.replace(config, seed=seed), data=data, on_epoch=records.append
            )
        return [{name: getattr(record, name) for name in (*RETRAIN_MEASURES, "learning_rate")} for record in records]

    return run


def compare_steps(directory: str, data_dir: str, implementation: Any) -> dict[str, float]:
    """Largest differences after `STEPS` steps of both codes from one start, with the same batches, in float64."""
    sizes = {"batch_size": STEP_BATCH, "init_channels": 8, "layers": 5}
    module = load_script(directory, "train_search.py", sizes)
    options = module.args
    criterion, losses = nn.CrossEntropyLoss(), []

    def recorded_criterion(logits: Tensor, labels: Tensor) -> Tensor:
        losses.append(criterion(logits, labels))
        return losses[-1]

    torch.manual_seed(0)
    with cuda_calls_do_nothing():
        network = module.Network(options.init_channels, 10, options.layers, criterion).double()
    for name in ARCHITECTURE:
        getattr(network, name).data = getattr(network, name).data.double()
    optimizer = torch.optim.SGD(
        network.parameters(), options.learning_rate, options.momentum, weight_decay=options.weight_decay
    )
    config = SearchConfig(
        batch_size=STEP_BATCH, channels=8, layers=5, implementation=implementation, device="cpu", data_dir=data_dir
    )
    state = SearchState(config, first_images(config, 8 * STEPS * STEP_BATCH))
    state.supernet.double()
    arch = {name: getattr(network, name).data for name in ARCHITECTURE}
    state.supernet.load_state_dict(supernet_from_official(network.state_dict(), arch).state_dict())
    batches = [
        [(images.double(), labels) for images, labels in itertools.islice(half.stream(STEP_BATCH, generator), STEPS)]
        for half, generator in ((state.train, state.generators["train"]), (state.valid, state.generators["valid"]))
    ]
    train, valid = batches
    with cuda_calls_do_nothing():
        architect = module.Architect(network, options)
        rate, epoch = options.learning_rate, OFFICIAL_WARMUP
        module.train(train, iter(valid), network, architect, recorded_criterion, optimizer, rate, epoch)
    state.supernet.train()
    our_losses = []
    for batch, valid_batch in zip(train, valid, strict=True):
        alpha_step(state, *batch, *valid_batch)
        our_losses.append(weight_step(state, *batch)[0])
    weights, our_arch = supernet_to_official(state.supernet)
    statistics = {name: value for name, value in network.state_dict().items() if "running" in name}
    return {
        "alpha": _largest({name: arch[name] - our_arch[name] for name in ARCHITECTURE[:2]}),
        "beta": _largest({name: arch[name] - our_arch[name] for name in ARCHITECTURE[2:]}),
        "weights": _largest({name: value.data - weights[name] for name, value in network.named_parameters()}),
        "running statistics": _largest({name: value - weights[name] for name, value in statistics.items()}),
        "losses": _largest({"": torch.stack(losses).detach() - torch.stack(our_losses).detach()}),
    }


def _largest(differences: Mapping[str, Tensor]) -> float:
    return max(float(value.abs().max()) for value in differences.values())


def check_steps(directory: str, data_dir: str) -> None:
    """Print the differences of both implementations; exit if one that is checked is larger than `TOLERANCE`."""
    print(f"largest difference from the official code after {STEPS} steps on alpha and weights, float64:")
    for implementation in ("reference", "fast"):
        found = compare_steps(directory, data_dir, implementation)
        print(f"  {implementation}: " + ", ".join(f"{name} {value:.1e}" for name, value in found.items()), flush=True)
        checked = (value for name, value in found.items() if name != "running statistics")
        if not all(value <= TOLERANCE for value in checked):  # NaN fails too
            sys.exit(f"the {implementation} implementation differs by more than {TOLERANCE}")


def warmed_up_accuracy(path: str, data_dir: str) -> float:
    """Accuracy, percent, of official super-network weights with zero alpha and beta on the first test images."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    arch = {name: torch.zeros(14, 8) if "alpha" in name else torch.zeros(14) for name in ARCHITECTURE}
    supernet = supernet_from_official(state, arch).eval()
    config = SearchConfig(data_dir=data_dir)
    info, _, test = first_images(config, 1, WARMED_UP_IMAGES)
    batches = TensorBatches(*test, info, device=torch.device("cpu"))
    return evaluate(supernet, batches.in_order(100), torch.device("cpu")).accuracy


def first_images(config: SearchConfig, images: int, test_images: int = TEST_IMAGES) -> ImageSet:
    """The first training and test images of the data set."""
    info, train, test = load(config, download=False)
    return ImageSet(info, Images(*(part[:images] for part in train)), Images(*(part[:test_images] for part in test)))


def runs(args: argparse.Namespace) -> Iterator[tuple[str, str, Settings, Callable[[int], list[dict[str, Any]]]]]:
    """Part, code and settings of the trainings, and how to run one."""
    for part in args.parts:
        if part not in DEFAULTS:
            continue
        given = {name: getattr(args, name) for name in ("images", "batch", "epochs", "warmup", "channels", "layers")}
        settings = dataclasses.replace(DEFAULTS[part], **{k: v for k, v in given.items() if v is not None})
        data = first_images(SearchConfig(data_dir=args.data_dir), settings.images)
        theirs, ours = {"search": (official_search, our_search), "retrain": (official_retrain, our_retrain)}[part]
        yield part, "official", settings, theirs(args.official, args.data_dir, settings)
        yield part, "ours", settings, ours(data, settings)


def train_all(args: argparse.Namespace) -> None:
    """Run the trainings that the results lack, seed by seed, both codes in turn."""
    path = Path(args.results)
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    planned = list(runs(args))
    for seed, (part, code, settings, run) in itertools.product(range(args.seeds), planned):
        key = {"part": part, "code": code, "seed": seed, "settings": dataclasses.asdict(settings)}
        if any(key.items() <= row.items() for row in done):
            continue
        started = time.process_time()
        row = key | {"epochs": run(seed), "seconds": time.process_time() - started}
        row |= {"processor": processor(), "torch": torch.__version__}
        with path.open("a") as file:
            print(json.dumps(row), file=file)
        last = row["epochs"][-1]
        print(
            f"{part} {code} seed {seed}: {row['seconds']:.0f} s, train loss {last['train_loss']:.4f}, "
            f"accuracy {last['valid_accuracy']:.2f} %",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", metavar="DIR", help="checkout of the official PC-DARTS code")
    parser.add_argument("--data-dir", metavar="DIR", default="data", help="folder of cifar-10-batches-py")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=10, help="trainings of each code")
    for name in ("images", "batch", "epochs", "warmup", "channels", "layers"):
        parser.add_argument(f"--{name}", type=int, help="of search and retraining; default: as in docs/method.md")
    parser.add_argument("--weights", metavar="FILE", help="official super-network weights, to be evaluated")
    parser.add_argument("--results", metavar="FILE", default="parity.jsonl")
    parser.add_argument("--report", metavar="DIR", help="print tables of the results, write figures to DIR, and end")
    args = parser.parse_args()
    if args.report:
        print(report([json.loads(line) for line in Path(args.results).read_text().splitlines()], args.report))
        return
    torch.set_num_threads(1)
    if args.weights:
        found = warmed_up_accuracy(args.weights, args.data_dir)
        print(f"{args.weights}: {found:.1f} % of the first {WARMED_UP_IMAGES} test images with zero alpha and beta")
    if not args.official:
        parser.error("--official DIR is missing: a checkout of github.com/yuhuixu1993/PC-DARTS")
    args.official = os.path.abspath(args.official)
    if "steps" in args.parts:
        check_steps(args.official, args.data_dir)
    if "images" in args.parts:
        check_images(args.official, args.data_dir)
    train_all(args)


if __name__ == "__main__":
    main()
