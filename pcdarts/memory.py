"""Peak memory of a search, predicted from its configuration: `predict_memory(config) -> MemoryPrediction`.

Nearly all of it is what autograd keeps for the backward pass.  That is a constant and so much an image, so it is
counted in real steps on two tiny batches of noise of the data set's shape, and continued to the real batch.  No data set
is read.  Temporary buffers of single kernels are left out, as is what an allocator loses in fragments: whoever packs
searches by these numbers leaves a margin.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.architect import Architect, Batch
from pcdarts.config import SearchConfig
from pcdarts.fast_supernet import make_supernet
from pcdarts.sources import DATASETS, DatasetInfo
from pcdarts.stability import alpha_gradient
from pcdarts.supernet import Supernet

PROBES = (2, 4)
"""Images in the steps that are counted; batch norm wants more than one."""
GPU_CONTEXT = 500_000_000
"""Bytes of a GPU that a process takes before its first tensor: CUDA context, cuBLAS and cuDNN.  The usual order of
magnitude, not measured here."""
CPU_PROCESS = 500_000_000
"""Bytes that a worker process holds before its first tensor: Python, PyTorch and Ray."""


@dataclass(frozen=True, kw_only=True)
class MemoryPrediction:
    """Parts of the peak memory of a search, bytes."""

    kept: int
    """What the largest step keeps for its backward pass."""
    step: str
    """Which step that is: weights, alpha or eigenvalue."""
    weights: int
    """Weights, alpha and beta, and running statistics."""
    optimizer: int
    """Gradients of the weights, their momentum, and Adam's two moments of alpha and beta."""
    data: int
    """Images and labels of the data set, which lie on the device; ImageNet's do not."""
    context: int
    """The process itself, on a CPU, or its context, on a GPU: a constant."""

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.kept + self.weights + self.optimizer + self.data + self.context


def predict_memory(config: SearchConfig, *, gpu: bool = False) -> MemoryPrediction | None:
    """Peak memory of a search on the CPU, or on a GPU; a second or so, on the CPU.  None with the method random.

    Seeds make no difference, and what was predicted once is remembered.  What a GPU keeps is taken to be what the CPU
    keeps; never compared with a GPU yet.
    """
    if config.method == "random":
        return None
    return _predict(dataclasses.replace(config, seed=0, device="cpu", compile=False, cuda_graphs=False), gpu)


def kept_bytes(step: Callable[[], object], besides: Iterable[Tensor] = ()) -> int:
    """Most bytes that autograd keeps for backward passes at one time while `step` runs, each storage once.

    Storages of the tensors `besides`, such as weights, are not counted.
    """
    count = _KeptBytes(besides)
    with torch.autograd.graph.saved_tensors_hooks(count.pack, lambda held: held.tensor):
        step()
    return count.peak


class _KeptBytes:
    """Counts the storages of tensors from when autograd saves them until it lets go of them."""

    def __init__(self, besides: Iterable[Tensor]) -> None:
        self.ignored = {tensor.untyped_storage().data_ptr() for tensor in besides}
        self.users: dict[int, int] = {}
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> "_Held":
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self.ignored:
            size = 0
        self.users[address] = self.users.get(address, 0) + 1
        if self.users[address] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)
        return _Held(tensor, self, address, size)

    def release(self, address: int, size: int) -> None:
        self.users[address] -= 1
        if not self.users[address]:
            self.now -= size


class _Held:
    """A saved tensor; autograd drops it with the graph."""

    def __init__(self, tensor: Tensor, count: _KeptBytes, address: int, size: int) -> None:
        self.tensor, self.count, self.address, self.size = tensor, count, address, size

    def __del__(self) -> None:
        self.count.release(self.address, self.size)


@cache
def _predict(config: SearchConfig, gpu: bool) -> MemoryPrediction:
    info = DATASETS[config.dataset]
    supernet = make_supernet(config, info.classes, info.image_channels, generator=torch.Generator().manual_seed(0))
    if config.channels_last:
        supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    supernet.drop_path = config.drop_path
    weights = list(supernet.weights().values())
    state: list[Tensor] = [*supernet.parameters(), *supernet.buffers()]
    kept = {
        name: _on_line([kept_bytes(lambda: step(_noise(images, info)), state) for images in PROBES], batch)
        for name, (step, batch) in _steps(config, supernet).items()
    }
    largest = max(kept, key=lambda name: kept[name])
    images = config.max_images or info.train_images
    alphas = [p for p in supernet.parameters() if not any(p is weight for weight in weights)]
    return MemoryPrediction(
        kept=kept[largest],
        step=largest,
        weights=_bytes(state),
        optimizer=_bytes(weights) * (2 if config.momentum else 1) + 2 * _bytes(alphas),
        data=images * (info.image_channels * info.image_size**2 + 8),
        context=GPU_CONTEXT if gpu else CPU_PROCESS,
    )


def _steps(config: SearchConfig, supernet: Supernet) -> dict[str, tuple[Callable[[Batch], Any], int]]:
    """The kinds of steps of a search, as functions of a batch, and how many images they really see."""
    weights = list(supernet.weights().values())
    architect = Architect(config, supernet, torch.optim.SGD(weights, lr=config.learning_rate))

    def on_weights(batch: Batch) -> None:
        functional.cross_entropy(supernet(batch[0]), batch[1]).backward(inputs=weights)

    def on_alpha(batch: Batch) -> None:
        architect.step(batch, batch, 0.0)

    def eigenvalue(batch: Batch) -> None:
        with supernet.reference():
            alpha_gradient(supernet, *batch)

    steps: dict[str, tuple[Callable[[Batch], Any], int]] = {
        "weights": (on_weights, config.batch_size),
        "alpha": (on_alpha, config.batch_size),
    }
    if config.eigenvalue_every:
        steps["eigenvalue"] = (eigenvalue, config.eigenvalue_batch)
    return steps


def _noise(images: int, info: DatasetInfo) -> Batch:
    """A batch of noise (N, C, H, W) with labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    shape = (images, info.image_channels, info.image_size, info.image_size)
    return torch.randn(shape, generator=generator), torch.randint(info.classes, (images,), generator=generator)


def _on_line(counts: list[int], images: int) -> int:
    """Bytes for so many images, on the line through the two counts at PROBES."""
    per_image = (counts[1] - counts[0]) / (PROBES[1] - PROBES[0])
    return round(counts[0] + per_image * (images - PROBES[0]))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
