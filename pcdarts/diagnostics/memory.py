"""Peak memory of a search, predicted from its configuration: `predict_memory(config) -> MemoryPrediction`.

On a CPU, real steps on two tiny batches of noise are counted: what autograd keeps for the backward pass, and the
results that kernels pass on, grow linearly with the batch.  For a GPU, steps on the real batch are counted with tensors
that have shapes but no values, and a model of PyTorch's allocator gives what it reserves for them.  No data set is
read.  Workspaces inside kernels are not counted, except for those of cuBLAS: leave a margin when packing searches by
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
from pcdarts.diagnostics.caching_allocator import CachingAllocator
from pcdarts.diagnostics.discretization import CALIBRATION_IMAGES, VALIDATION_IMAGES
from pcdarts.diagnostics.eigenvalue import alpha_gradient, alphas_of
from pcdarts.fast.fast_supernet import make_supernet
from pcdarts.supernet import Supernet
from pcdarts.training.device import CUBLAS_WORKSPACE, GPU_CONTEXT

PROBES = (2, 4)
"""Images in the steps that are counted on a CPU; batch norm needs more than one."""
CPU_PROCESS = 400_000_000
"""Private bytes of a worker process before its first tensor, with Python, PyTorch and Ray: 374 MB measured on Linux.
Another 300 MB of its resident size are libraries that the processes of a node share."""
CUBLAS_THREADS = 2
"""Threads that call cuBLAS, each with a workspace on the stream of the search: its own thread and autograd's."""


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
    workspaces: int = 0
    """Workspaces of cuBLAS on a GPU."""
    unused: int = 0
    """What PyTorch's allocator reserves on a GPU beyond the parts above, because it rounds sizes and splits blocks."""
    graphs: int = 0
    """The memory pool of all captured steps, which lasts between replays; 0 without `cuda_graphs`."""
    context: int
    """A constant for the process on a CPU, or for the CUDA context on a GPU."""

    @property
    def allocated(self) -> int:
        """What tensors and workspaces take: on a GPU, an estimate of `torch.cuda.max_memory_allocated`."""
        return self.kept + self.temporary + self.weights + self.optimizer + self.data + self.workspaces

    @property
    def reserved(self) -> int:
        """On a GPU, an estimate of `torch.cuda.max_memory_reserved`, which a limit of memory counts."""
        return self.allocated + self.unused + self.graphs

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.reserved + self.context


def predict_memory(config: SearchConfig, *, gpu: bool = False) -> MemoryPrediction | None:
    """Peak memory of a search on the CPU or on a GPU; None for the method random.  Takes seconds on the CPU.

    A prediction is cached with the fields that were read for it, and serves all configurations equal in these.  For a
    GPU, bf16 is predicted as float32, which takes more.  Not yet compared with a GPU.
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


def step_bytes(
    step: Callable[[], object], besides: Iterable[Tensor] = (), allocators: Sequence[CachingAllocator] = ()
) -> tuple[int, int]:
    """Peak bytes that autograd keeps for backward passes while `step` runs, and peak bytes of all tensors it makes.

    Each storage counts once; those of the tensors `besides`, such as weights, do not count.  The tensors it makes are
    allocated by the `allocators`, too.
    """
    ignored = {_key(tensor.untyped_storage()) for tensor in besides}
    kept, live = _Bytes(ignored), _Bytes(ignored, allocators)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Kept(tensor, kept), lambda held: held.tensor):
        with _Watch(live):
            step()
    return kept.peak, live.peak


def _key(storage: torch.UntypedStorage) -> int:
    return storage._cdata  # not its address: storages without values have none


class _Bytes:
    """Bytes of the storages that are held now, each counted once, and their peak."""

    def __init__(self, ignored: Collection[int], allocators: Sequence[CachingAllocator] = ()) -> None:
        self.holders: Counter[int] = Counter()
        self.ignored, self.now, self.peak = ignored, 0, 0
        self.allocators, self.addresses = allocators, dict[int, list[int]]()

    def hold(self, key: int, size: int) -> None:
        self.holders[key] += 1
        if self.holders[key] == 1 and key not in self.ignored:
            self.now += size
            self.peak = max(self.peak, self.now)
            self.addresses[key] = [allocator.allocate(size) for allocator in self.allocators]

    def release(self, key: int, size: int) -> None:
        self.holders[key] -= 1
        if not self.holders[key] and key not in self.ignored:
            self.now -= size
            for allocator, address in zip(self.allocators, self.addresses.pop(key), strict=True):
                allocator.free(address)


class _Kept:
    """A tensor that autograd saved; it is released with its graph."""

    def __init__(self, tensor: Tensor, count: _Bytes) -> None:
        storage = tensor.untyped_storage()
        self.tensor, self.count, self.storage = tensor, count, (_key(storage), storage.nbytes())
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
        key = _key(storage), storage.nbytes()
        if not self.count.holders[key[0]]:  # else the operation was in place
            self.count.hold(*key)
            weakref.finalize(storage, self.count.release, *key)


def _predict(config: SearchConfig, gpu: bool) -> MemoryPrediction:
    info = dataset_info(config)
    supernet = make_supernet(config, info.classes, info.image_channels, generator=torch.Generator().manual_seed(0))
    if config.channels_last:
        supernet.to(memory_format=torch.channels_last)
    supernet.drop_path = config.drop_path
    if gpu:
        supernet.to("meta")  # tensors without values, for which the forms of kernels for GPUs are used
        supernet.autocast = False  # PyTorch has none for them
    weights = list(supernet.weights().values())
    alphas = [p for p in supernet.parameters() if not any(p is weight for weight in weights)]
    state: list[Tensor] = [*supernet.parameters(), *supernet.buffers()]
    lasting = [*state, *weights, *(weights if config.momentum else ()), *alphas, *alphas]
    data = _data_bytes(config, info) if gpu else 0
    workspaces = CUBLAS_THREADS * CUBLAS_WORKSPACE if gpu else 0
    eager, pool = CachingAllocator(), CachingAllocator()
    for size in (*(tensor.nbytes for tensor in lasting), data, workspaces):
        eager.allocate(size)
    if gpu and config.captures:  # the inputs of replays
        pool.allocate(config.order * _bytes(_noise(config.batch_size, info, gpu)))

    found = {}
    with _one_thread():
        steps = _steps(config, supernet)
        if gpu and config.captures:
            steps["evaluation"] = _StepOfSearch(partial(_evaluate, supernet), config.batch_size)
        for images in {steps["weights"].images} if gpu else PROBES:
            steps["weights"].run(_noise(images, info, gpu))  # cached matrices would count in the first step only
        for name, step in steps.items():
            probes = (step.images,) if gpu else PROBES
            allocators = [] if not gpu else [eager, pool] if config.captures and name != "eigenvalue" else [eager]
            counts = []
            for images in probes:
                supernet.zero_grad()
                batch = _noise(images, info, gpu)
                counts.append(step_bytes(partial(step.run, batch), state, allocators))
            kept, live = (_on_line(probes, column, step.images) for column in zip(*counts, strict=True))
            found[name] = (live, kept)
    if config.eigenvalue_every:
        found["discretization"] = (_discretization_bytes(config, info), 0)
        eager.free(eager.allocate(found["discretization"][0]))
    largest = max(found, key=lambda name: found[name])
    live, kept = found[largest]
    optimizer = _bytes(lasting) - _bytes(state)
    return MemoryPrediction(
        kept=kept,
        temporary=max(0, live - kept),
        step=largest,
        weights=_bytes(state),
        optimizer=optimizer,
        data=data,
        workspaces=workspaces,
        unused=eager.reserved - (_bytes(lasting) + data + workspaces + live) if gpu else 0,
        graphs=pool.reserved,
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


def _evaluate(supernet: Supernet, batch: Batch) -> None:
    with torch.no_grad():
        supernet.eval()(batch[0])
    supernet.train()


def _noise(images: int, info: DatasetInfo, gpu: bool) -> Batch:
    """A batch of noise (N, C, H, W) with labels (N,); for a GPU without values."""
    shape = (images, info.image_channels, *info.image_size)
    if gpu:
        return torch.empty(shape, device="meta"), torch.empty(images, dtype=torch.int64, device="meta")
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randint(info.classes, (images,), generator=generator)


def _on_line(probes: Sequence[int], counts: Sequence[int], images: int) -> int:
    """Bytes for a number of images, on the line through the counts of the probes; a single probe has that number."""
    if len(probes) == 1:
        return counts[0]
    per_image = (counts[1] - counts[0]) / (probes[1] - probes[0])
    return round(counts[0] + per_image * (images - probes[0]))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
