"""The official scripts train_search.py and train.py, run on a CPU by today's Python and PyTorch.

Their `main` does everything: network, transforms, loaders, order, schedule, evaluation.  Only what Python or PyTorch
have dropped since is replaced, and loaders run without worker processes.
"""

import contextlib
import copy
import functools
import io
import itertools
import math
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import CIFAR10

from pcdarts.selftest.official_code import cuda_calls_do_nothing
from tests.benchmarks.epoch import accuracy

SPELLINGS = (("async=True", "non_blocking=True"), (".data[0]", ".data.item()"), (", volatile=True", ""))
"""What Python 3.7 and PyTorch 0.4 replaced in the scripts."""


class Cosine:
    """CosineAnnealingLR as the official code knew it: `step` is called before every epoch, the first included."""

    def __init__(self, optimizer: torch.optim.Optimizer, epochs: float, eta_min: float = 0.0) -> None:
        self.optimizer, self.epochs, self.end = optimizer, epochs, eta_min
        self.start, self.epoch = optimizer.param_groups[0]["lr"], -1

    def get_lr(self) -> list[float]:
        return [self.end + (self.start - self.end) * (1 + math.cos(math.pi * self.epoch / self.epochs)) / 2]

    def step(self) -> None:
        self.epoch += 1
        self.optimizer.param_groups[0]["lr"] = self.get_lr()[0]


def load_script(directory: str, name: str, options: Mapping[str, Any]) -> Any:
    """An official script as a module, with its options set; True stands for a flag."""
    if directory not in sys.path:
        sys.path.insert(0, directory)
    source = Path(directory, name).read_text()
    for old, new in SPELLINGS:
        source = source.replace(old, new)
    argv = [name]
    for option, value in options.items():
        argv += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    module: Any = types.ModuleType(f"official_{name.removesuffix('.py')}")
    nn.utils.clip_grad_norm = nn.utils.clip_grad_norm_
    with (
        mock.patch.object(sys, "argv", argv),
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        exec(compile(source, name, "exec"), vars(module))
    module.utils.accuracy = accuracy  # newer PyTorch refuses a `view` of the official one
    module.utils.save = module.utils.count_parameters_in_MB = lambda *args: 0.0
    return module


@functools.cache
def read_cifar10(root: str, train: bool) -> Any:
    """The data set as the scripts read it, whatever the checksums of its files."""
    with mock.patch("torchvision.datasets.cifar.check_integrity", lambda *args: True):
        return CIFAR10(root, train=train)


def run_main(module: Any, images: int, test_images: int) -> None:
    """Call the script's `main` on a CPU, with the first training and test images of CIFAR-10."""
    loader = DataLoader

    def first(root: str, train: bool, transform: Any, **values: Any) -> Any:
        found, count = copy.copy(read_cifar10(root, train)), images if train else test_images
        found.data, found.targets, found.transform = found.data[:count], found.targets[:count], transform
        return found

    def without_workers(*args: Any, **values: Any) -> Any:
        return loader(*args, **values | {"num_workers": 0, "pin_memory": False})

    with contextlib.ExitStack() as patches:
        patches.enter_context(cuda_calls_do_nothing())
        patches.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for target, replacement in {
            "torchvision.datasets.CIFAR10": first,
            "torch.utils.data.DataLoader": without_workers,
            "torch.optim.lr_scheduler.CosineAnnealingLR": Cosine,
            "torch.cuda.FloatTensor": torch.FloatTensor,
            "torch.cuda.set_device": lambda device: None,
            # main exits without a GPU; PyTorch itself must see that there is none
            "torch.cuda.is_available": functools.partial(next, itertools.chain([True], itertools.repeat(False))),
        }.items():
            patches.enter_context(mock.patch(target, replacement))
        module.main()
