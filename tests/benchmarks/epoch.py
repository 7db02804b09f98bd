"""Seconds of a whole epoch of a CIFAR-10 search: the official training loop with its loaders, against ours.

    python -m tests.benchmarks.epoch --official DIR [--images 1280] [--batch 64] [--threads 2] [--repetitions 3]

Both read the same files in CIFAR-10's format, hold drawn images, and do for every batch of the first half a step on
alpha with a batch of the second half, then a step on the weights; neither evaluates.  The official loop is the one in
V100_python1.0/train_search.py, which keeps its validation loader from step to step; calls that newer PyTorch no longer
has are replaced.  The loops take turns, each in a process of its own, ours with the memory settings of a search;
medians.
"""

import argparse
import contextlib
import importlib.util
import io
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler
from torchvision import datasets

from pcdarts.config import SearchConfig
from pcdarts.search import SearchState, train_epoch
from pcdarts.selftest.official_code import cuda_calls_do_nothing
from pcdarts.training.allocator import keep_freed_memory
from tests.benchmarks.supernet import make_network, processor
from tests.benchmarks.turns import Maker, take_turns

LEARNING_RATE = 0.1
TRAINED_EPOCH = 15
"""From this epoch on the official loop trains alpha."""


def write_cifar10(folder: Path, images: int) -> None:
    """So many training images in five files, and a hundred for the test, drawn at random."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        count = images // 5 if name != "test_batch" else 100
        content = {
            "data": random.integers(0, 256, (count, 3072), dtype=np.uint8),
            "labels": random.integers(0, 10, count).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"label_names": [str(label) for label in range(10)], "num_cases_per_batch": images // 5, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def official_epoch(directory: str, data: str, batch: int, threads: int) -> Callable[[], Any]:
    """One call of the official `train`, with loaders, optimizer and architect made as its `main` makes them."""
    torch.set_num_threads(threads)
    config = SearchConfig(batch_size=batch)
    network: Any = make_network("official", config, directory)
    with mock.patch.object(sys, "argv", ["train_search.py", "--data", data, "--batch_size", str(batch)]):
        module = load_official_script(directory)
    optimizer = torch.optim.SGD(
        network.parameters(), module.args.learning_rate, module.args.momentum, weight_decay=module.args.weight_decay
    )
    transform, _ = module.utils._data_transforms_cifar10(module.args)
    with (
        mock.patch("torchvision.datasets.cifar.check_integrity", lambda *args: True),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        images = datasets.CIFAR10(data, train=True, download=True, transform=transform)
    half = len(images) // 2
    parts = list(range(half)), list(range(half, len(images)))
    train, valid = (
        DataLoader(images, batch, sampler=SubsetRandomSampler(part), pin_memory=True, num_workers=2) for part in parts
    )
    architect = module.Architect(network, module.args)

    def epoch() -> None:
        with cuda_calls_do_nothing():
            criterion = nn.CrossEntropyLoss()
            module.train(train, valid, network, architect, criterion, optimizer, LEARNING_RATE, TRAINED_EPOCH)

    return epoch


def load_official_script(directory: str) -> Any:
    """The script as a module, in a folder where its experiment's folder does no harm, and with what it misses."""
    path = Path(directory, "V100_python1.0", "train_search.py").resolve()
    specification = importlib.util.spec_from_file_location("official_train_search", path)
    assert specification is not None and specification.loader is not None
    module: Any = importlib.util.module_from_spec(specification)
    nn.utils.clip_grad_norm = nn.utils.clip_grad_norm_  # type: ignore[attr-defined, assignment]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        specification.loader.exec_module(module)
    module.utils.accuracy = accuracy
    return module


def accuracy(logits: torch.Tensor, labels: torch.Tensor, topk: tuple[int, ...]) -> list[torch.Tensor]:
    """In place of the official function, whose `view` newer PyTorch refuses."""
    hits = logits.topk(max(topk), dim=1).indices == labels[:, None]
    return [hits[:, :k].any(dim=1).float().mean() * 100 for k in topk]


def our_epoch(implementation: Any, data: str, batch: int, threads: int) -> Callable[[], Any]:
    """One pass of our search over its training half."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    config = SearchConfig(data_dir=data, batch_size=batch, threads=threads, implementation=implementation, device="cpu")
    state = SearchState(config)
    return lambda: train_epoch(state, LEARNING_RATE, alpha_trained=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", metavar="DIR", required=True, help="checkout of the official PC-DARTS code")
    parser.add_argument("--images", type=int, default=1280, help="training images; half of them train the weights")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        write_cifar10(Path(data, "cifar-10-batches-py"), args.images)
        official = os.path.abspath(args.official)
        makers: dict[str, Maker] = {"official": partial(official_epoch, official, data, args.batch, args.threads)}
        for name in ("reference", "fast"):
            makers[name] = partial(our_epoch, name, data, args.batch, args.threads)
        seconds = take_turns(makers, args.repetitions, warm_ups=1)
    print(
        f"{processor()}, {args.threads} threads, torch {torch.__version__}; {args.images} images, batch {args.batch}, "
        f"medians of {args.repetitions}\n"
    )
    print("| loop | s/epoch | speed |", "|---|---|---|", sep="\n")
    base, _ = seconds["official"]
    for name, (clock, _) in seconds.items():
        print(f"| {name} | {clock:.1f} | {base / clock:.2f} x |")


if __name__ == "__main__":
    main()
