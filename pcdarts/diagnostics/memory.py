"""Peak memory of a search, predicted from its configuration: `predict_memory(config) -> MemoryPrediction`.

What autograd keeps for the backward pass, and what kernels hand to each other on the way, is a constant and so much an
image: it is counted in real steps on two tiny batches of noise of the data set's shape, and continued to the real
batch.  No data set is read.  Workspaces inside of kernels, and what an allocator loses in fragments, are not counted:
whoever packs searches by these numbers leaves a margin.
"""

import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from pcdarts.architect import Architect, Batch
from pcdarts.config import SearchConfig
from pcdarts.data.datasets import DATASETS, DatasetInfo
from pcdarts.diagnostics.eigenvalue import alpha_gradient, alphas_of
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.supernet import Supernet
from pcdarts.training.device import GPU_CONTEXT

PROBES = (2, 4)
"""Images in the steps that are counted; batch norm wants more than one."""
CPU_PROCESS = 400_000_000
"""Bytes that a worker process has to itself before its first tensor, with Python, PyTorch and Ray: 374 MB were measured
on Linux.  Another 300 MB of its resident size are libraries, which the processes of a node share."""

IRRELEVANT_FIELDS = frozenset(
    "data_dir split_file train_portion epochs warmup_epochs learning_rate learning_rate_min "
    "learning_rate_warmup_epochs weight_decay gradient_clip alpha_gradient_clip alpha_learning_rate "
    "alpha_weight_decay cutout compile cuda_graphs validate_every eigenvalue_rule skip_rule frozen_rule "
    "nonfinite_rule max_skip_connections frozen_epochs seed threads device checkpoint_every".split()
)
"""Fields of a configuration that change no byte of a prediction.  Others, new ones too, are taken to matter."""


@dataclass(frozen=True, kw_only=True)
class MemoryPrediction:
    """Parts of the peak memory of a search, bytes."""

    kept: int
    """What the largest step keeps for its backward pass."""
    temporary: int
    """What else lives at the peak of that step: results on their way to the next kernel, and gradients."""
    step: str
    """Which step that is: weights, alpha or eigenvalue."""
    weights: int
    """Weights, alpha and beta, and running statistics."""
    optimizer: int
    """Gradients of the weights, their momentum, and Adam's two moments of alpha and beta."""
    data: int
    """Images and labels of the data set, on a GPU; ImageNet's do not lie there.  0 on a CPU: under Ray they lie in the
    object store, once a node, and no search has them to itself."""
    context: int
    """The process itself, on a CPU, or its context, on a GPU: a constant."""

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.kept + self.temporary + self.weights + self.optimizer + self.data + self.context


def predict_memory(config: SearchConfig, *, gpu: bool = False) -> MemoryPrediction | None:
    """Peak memory of a search on the CPU, or on a GPU; seconds, on the CPU.  None with the method random.

    What was predicted once is remembered, whatever IRRELEVANT_FIELDS say.  What a GPU keeps is taken to be what the CPU
    keeps; never compared with a GPU yet.
    """
    if config.method == "random":
        return None
    defaults: dict[str, Any] = {
        field.name: field.default for field in dataclasses.fields(config) if field.name in IRRELEVANT_FIELDS
    }
    plain = dataclasses.replace(config, **defaults)
    with torch.random.fork_rng(devices=[]):  # the draws of others stay as they are
        return _predict(plain, gpu)


def step_bytes(step: Callable[[], object], besides: Iterable[Tensor] = ()) -> tuple[int, int]:
    """Most bytes that autograd keeps for backward passes at one time while `step` runs, and most bytes of all tensors
    that it makes and that live at one time.

    Each storage counts once, and those of the tensors `besides`, such as weights, not at all.
    """
    ignored = {tensor.untyped_storage().data_ptr() for tensor in besides}
    kept, live = _Bytes(ignored), _Bytes(ignored)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Kept(tensor, kept), lambda held: held.tensor):
        with _Watch(live):
            step()
    return kept.peak, live.peak


class _Bytes:
    """Bytes of the storages that something holds at present, each once however many hold it, and their peak."""

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
    """A tensor that autograd saved; it is dropped with its graph."""

    def __init__(self, tensor: Tensor, count: _Bytes) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.count, self.storage = tensor, count, (storage.data_ptr(), storage.nbytes())
        count.hold(*self.storage)

    def __del__(self) -> None:
        self.count.release(*self.storage)


class _Watch(TorchDispatchMode):
    """Counts the storages that operations make, from then until they are freed."""

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
        if not self.count.holders[key[0]]:  # else an operation in place
            self.count.hold(*key)
            weakref.finalize(storage, self.count.release, *key)


@cache
def _predict(config: SearchConfig, gpu: bool) -> MemoryPrediction:
    info = DATASETS[config.dataset]
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
        for batch in batches:  # the fast cells cache matrices for good: they would count in the first steps alone
            steps["weights"][0](batch)
        for name, (step, images) in steps.items():
            counts = []
            for batch in batches:
                supernet.zero_grad()
                counts.append(step_bytes(partial(step, batch), state))
            kept, live = (_on_line(column, images) for column in zip(*counts, strict=True))
            found[name] = (live, kept)
    largest = max(found, key=lambda name: found[name])
    live, kept = found[largest]
    images = min(info.train_images, config.max_images or info.train_images)
    alphas = [p for p in supernet.parameters() if not any(p is weight for weight in weights)]
    return MemoryPrediction(
        kept=kept,
        temporary=max(0, live - kept),
        step=largest,
        weights=_bytes(state),
        optimizer=_bytes(weights) * (2 if config.momentum else 1) + 2 * _bytes(alphas),
        data=images * (info.image_channels * info.image_size**2 + 8) if gpu else 0,
        context=GPU_CONTEXT if gpu else CPU_PROCESS,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside it PyTorch computes with one thread: on tiny batches threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _steps(config: SearchConfig, supernet: Supernet) -> dict[str, tuple[Callable[[Batch], Any], int]]:
    """The steps of a search that can be the largest, as functions of a batch, and how many images they really see.

    First order is left out: it keeps no more for alpha than is kept for the weights.
    """
    weights = list(supernet.weights().values())
    architect = Architect(config, supernet, torch.optim.SGD(weights, lr=config.learning_rate))

    def on_weights(batch: Batch) -> None:
        functional.cross_entropy(supernet(batch[0]), batch[1]).backward(inputs=weights)

    def on_alpha(batch: Batch) -> None:
        architect.step(batch, batch, 0.0)

    def eigenvalue(batch: Batch) -> None:
        with supernet.reference():
            gradient = alpha_gradient(supernet, *batch)
            torch.autograd.grad(gradient, alphas_of(supernet), torch.ones_like(gradient), retain_graph=True)

    steps: dict[str, tuple[Callable[[Batch], Any], int]] = {"weights": (on_weights, config.batch_size)}
    if config.order == 2:
        steps["alpha"] = (on_alpha, config.batch_size)
    if config.eigenvalue_every:
        steps["eigenvalue"] = (eigenvalue, config.eigenvalue_batch)
    return steps


def _noise(images: int, info: DatasetInfo) -> Batch:
    """A batch of noise (N, C, H, W) with labels (N,)."""
    generator = torch.Generator().manual_seed(0)
    shape = (images, info.image_channels, info.image_size, info.image_size)
    return torch.randn(shape, generator=generator), torch.randint(info.classes, (images,), generator=generator)


def _on_line(counts: Sequence[int], images: int) -> int:
    """Bytes for so many images, on the line through the two counts at PROBES."""
    per_image = (counts[1] - counts[0]) / (PROBES[1] - PROBES[0])
    return round(counts[0] + per_image * (images - PROBES[0]))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
