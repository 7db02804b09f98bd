"""Peak memory of a search, predicted from its configuration: `predict_memory(config) -> MemoryPrediction`.

What autograd keeps for the backward pass, and the results that kernels pass on, grow linearly with the batch: they are
counted in real steps on two tiny batches of noise and extrapolated to the real batch size.  No data set is read.
Workspaces inside kernels and fragmentation of the allocator are not counted: leave a margin when packing searches by
these numbers.
"""

import math
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pcdarts.architect import Architect, Batch
from pcdarts.config import SearchConfig
from pcdarts.data.datasets import DatasetInfo, dataset_info
from pcdarts.diagnostics.discretization import CALIBRATION_IMAGES, VALIDATION_IMAGES
from pcdarts.diagnostics.eigenvalue import alpha_gradient, alphas_of
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.supernet import Supernet
from pcdarts.training.device import GPU_CONTEXT

PROBES = (2, 4)
"""Images in the steps that are counted; batch norm needs more than one."""
CPU_PROCESS = 400_000_000
"""Private bytes of a worker process before its first tensor, with Python, PyTorch and Ray: 374 MB measured on Linux.
Another 300 MB of its resident size are libraries that the processes of a node share."""


@dataclass(frozen=True, kw_only=True)
class MemoryPrediction:
    """Parts of the peak memory of a search; bytes."""

    kept: int
    """What the largest step keeps for its backward pass."""
    temporary: int
    """Other tensors at the peak of that step: intermediate results and gradients."""
    step: str
    """The largest step: weights, alpha, eigenvalue or discretization."""
    weights: int
    """Weights, alpha and beta, and running statistics."""
    optimizer: int
    """Gradients of the weights, their momentum, and Adam's two moments of alpha and beta."""
    data: int
    """Images and labels of the data set on a GPU, except for ImageNet, which is read in batches.  0 on a CPU: under Ray
    all searches of a node share them in the object store."""
    context: int
    """A constant for the process on a CPU, or for the CUDA context on a GPU."""

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.kept + self.temporary + self.weights + self.optimizer + self.data + self.context


def predict_memory(config: SearchConfig, *, gpu: bool = False) -> MemoryPrediction | None:
    """Peak memory of a search on the CPU or on a GPU; None for the method random.  Takes seconds on the CPU.

    A prediction is cached with the fields that were read for it, and serves all configurations equal in these.  A GPU
    is assumed to keep what the CPU keeps; not yet compared with a GPU.
    """
    if config.method == "random":
        return None
    for fields, on_gpu, prediction in _PREDICTED:
        if on_gpu == gpu and all(getattr(config, name) == value for name, value in fields.items()):
            return prediction
    noted = _NotedConfig(config)
    with torch.random.fork_rng(devices=[]):  # leaves the global random state as it is
        prediction = _predict(cast(SearchConfig, noted), gpu)
    _PREDICTED.append((noted.fields, gpu, prediction))
    return prediction


_PREDICTED: list[tuple[dict[str, Any], bool, MemoryPrediction]] = []
"""Predictions, each after the fields that were read for it and whether it is for a GPU."""


class _NotedConfig:
    """A configuration that notes the fields read from it."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.fields: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        value = self.fields[name] = getattr(self.config, name)
        return value


def step_bytes(step: Callable[[], object], besides: Iterable[Tensor] = ()) -> tuple[int, int]:
    """Peak bytes that autograd keeps for backward passes while `step` runs, and peak bytes of all tensors it makes.

    Each storage counts once; those of the tensors `besides`, such as weights, do not count.
    """
    ignored = {tensor.untyped_storage().data_ptr() for tensor in besides}
    kept, live = _Bytes(ignored), _Bytes(ignored)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Kept(tensor, kept), lambda held: held.tensor):
        with _Watch(live):
            step()
    return kept.peak, live.peak


class _Bytes:
    """Bytes of the storages that are held now, each counted once, and their peak."""

    def __init__(self, ignored: Collection[int]) -> None:
        self.holders: Counter[int] = Counter()
        self.ignored, self.now, self.peak = ignored, 0, 0

    def hold(self, address: int, size: int) -> None:
        self.holders[address] += 1
        if self.holders[address] == 1 and address not in self.ignored:
            self.now += size
            self.peak = max(self.peak, self.now)

    def release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        if not self.holders[address] and address not in self.ignored:
            self.now -= size


class _Kept:
    """A tensor that autograd saved; it is released with its graph."""

    def __init__(self, tensor: Tensor, count: _Bytes) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.count, self.storage = tensor, count, (storage.data_ptr(), storage.nbytes())
        count.hold(*self.storage)

    def __del__(self) -> None:
        self.count.release(*self.storage)


class _Watch(TorchDispatchMode):
    """Counts the storages that operations allocate, until they are freed."""

    def __init__(self, count: _Bytes) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        if not operation.is_view:
            for tensor in results if isinstance(results, tuple | list) else (results,):
                if isinstance(tensor, Tensor):
                    self._add(tensor.untyped_storage())
        return results

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage.data_ptr(), storage.nbytes()
        if not self.count.holders[key[0]]:  # else the operation was in place
            self.count.hold(*key)
            weakref.finalize(storage, self.count.release, *key)


def _predict(config: SearchConfig, gpu: bool) -> MemoryPrediction:
    info = dataset_info(config)
    supernet = make_supernet(config, info.classes, info.image_channels, generator=torch.Generator().manual_seed(0))
    if config.channels_last:
        supernet.to(memory_format=torch.channels_last)
    supernet.drop_path = config.drop_path
    weights = list(supernet.weights().values())
    state: list[Tensor] = [*supernet.parameters(), *supernet.buffers()]
    found = {}
    batches = [_noise(images, info) for images in PROBES]
    with _one_thread():
        steps = _steps(config, supernet)
        for batch in batches:  # the fast cells cache matrices, which would count in the first step only
            steps["weights"].run(batch)
        for name, step in steps.items():
            counts = []
            for batch in batches:
                supernet.zero_grad()
                counts.append(step_bytes(partial(step.run, batch), state))
            kept, live = (_on_line(column, step.images) for column in zip(*counts, strict=True))
            found[name] = (live, kept)
    if config.eigenvalue_every:
        found["discretization"] = (_discretization_bytes(config, info), 0)
    largest = max(found, key=lambda name: found[name])
    live, kept = found[largest]
    alphas = [p for p in supernet.parameters() if not any(p is weight for weight in weights)]
    return MemoryPrediction(
        kept=kept,
        temporary=max(0, live - kept),
        step=largest,
        weights=_bytes(state),
        optimizer=_bytes(weights) * (2 if config.momentum else 1) + 2 * _bytes(alphas),
        data=_data_bytes(config, info) if gpu else 0,
        context=GPU_CONTEXT if gpu else CPU_PROCESS,
    )


def _data_bytes(config: SearchConfig, info: DatasetInfo) -> int:
    """Bytes of the images (uint8) and labels (int64) of a data set in memory."""
    images = min(info.train_images, config.max_images or info.train_images)
    return images * (info.image_channels * math.prod(info.image_size) + 8)


def _discretization_bytes(config: SearchConfig, info: DatasetInfo) -> int:
    """Bytes of the normalized images that discretized cells are evaluated on: they are held at once, in float32."""
    most = CALIBRATION_IMAGES + VALIDATION_IMAGES
    images = min(most, config.max_images or most, info.train_images or most)
    return 4 * images * info.image_channels * math.prod(info.image_size)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread inside: on tiny batches more threads cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _StepOfSearch(NamedTuple):
    run: Callable[[Batch], Any]
    images: int  # of the real batch


def _steps(config: SearchConfig, supernet: Supernet) -> dict[str, _StepOfSearch]:
    """The steps of a search that can be the largest.

    First-order steps on alpha are left out: they keep no more than those on the weights.
    """
    weights = list(supernet.weights().values())

    def on_weights(batch: Batch) -> None:
        functional.cross_entropy(supernet(batch[0]), batch[1]).backward(inputs=weights)

    def eigenvalue(batch: Batch) -> None:
        with supernet.reference():
            gradient = alpha_gradient(supernet, *batch)
            torch.autograd.grad(gradient, alphas_of(supernet), torch.ones_like(gradient), retain_graph=True)

    steps = {"weights": _StepOfSearch(on_weights, config.batch_size)}
    if config.order == 2:
        architect = Architect(config, supernet, torch.optim.SGD(weights))
        steps["alpha"] = _StepOfSearch(lambda batch: architect.step(batch, batch, 0.0), config.batch_size)
    if config.eigenvalue_every:
        steps["eigenvalue"] = _StepOfSearch(eigenvalue, config.eigenvalue_batch)
    return steps


def _noise(images: int, info: DatasetInfo) -> Batch:
    """A batch of noise (N, C, H, W) with labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    shape = (images, info.image_channels, *info.image_size)
    return torch.randn(shape, generator=generator), torch.randint(info.classes, (images,), generator=generator)


def _on_line(counts: Sequence[int], images: int) -> int:
    """Bytes for a number of images, on the line through the two counts at PROBES."""
    per_image = (counts[1] - counts[0]) / (PROBES[1] - PROBES[0])
    return round(counts[0] + per_image * (images - PROBES[0]))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
