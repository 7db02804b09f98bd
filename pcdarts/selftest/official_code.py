"""The super-network of the official code, from a checkout of it: github.com/yuhuixu1993/PC-DARTS."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def cuda_calls_do_nothing() -> Iterator[None]:
    """The official code moves everything to a GPU; inside, `.cuda()` returns what it is called on."""
    before = Tensor.cuda, nn.Module.cuda
    Tensor.cuda = nn.Module.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.cuda, nn.Module.cuda = before  # type: ignore[method-assign]


def official_supernet(
    directory: str | Path, *, channels: int, classes: int, layers: int, device: str = "cpu"
) -> nn.Module:
    """The official network; its K is 4, and its alphas and betas are no parameters (`_arch_parameters`)."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    module: Any = importlib.import_module("model_search")
    if torch.device(device).type == "cuda":
        return module.Network(channels, classes, layers, nn.CrossEntropyLoss()).to(device)
    with cuda_calls_do_nothing():
        return module.Network(channels, classes, layers, nn.CrossEntropyLoss())
