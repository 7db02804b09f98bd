"""What a search and a retraining share: the device, learning-rate schedules, running means, evaluation."""

import contextlib
import hashlib
import math
import os
import platform
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdarts.distributed import ALONE, Workers

T = TypeVar("T")
GPU_CONTEXT = 500_000_000
"""Bytes of a GPU that a process takes before its first tensor: CUDA context, cuBLAS and cuDNN.  The usual order of
magnitude, not measured here."""


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that exists; raises ValueError otherwise."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}, but must be auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}, but must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {name!r}, but there are {torch.cuda.device_count()} CUDA GPUs here; use auto or cpu"
        )
    return device


def prepare_device(name: str, threads: int) -> torch.device:
    """Resolve the device, and have this process compute on it reproducibly with so many CPU threads.

    On a GPU deterministic kernels are asked for; an operation that has none warns and is named by PyTorch.
    """
    device = resolve_device(name)
    torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # Linux: a process that runs several searches starts its peak anew
            Path("/proc/self/clear_refs").write_text("5")
    return device


def limit_gpu_memory(fraction: float) -> None:
    """Let this process take at most this share of its GPU's memory, so that it cannot take neighbours down.

    Nothing happens without a GPU.  Not yet run on a GPU.
    """
    if fraction < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.0, fraction - GPU_CONTEXT / total))


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of the allocated GPU memory, or of the process's resident size since `prepare_device`; bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seeded_generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose; equal seeds and purposes give equal draws, all others independent ones."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def warmup_rate(epoch: int, warmup_epochs: int, end: float) -> float:
    """Linear warm-up, for epochs below `warmup_epochs`: its last one has the rate `end`."""
    return end * (epoch + 1) / warmup_epochs


def cosine_rate(epoch: int, epochs: int, start: float, end: float = 0.0) -> float:
    """Cosine schedule from `start` at epoch 0 towards `end` at epoch `epochs`."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def linear_rate(epoch: int, epochs: int, start: float) -> float:
    """Linear schedule from `start` at epoch 0 towards 0; gentler in the last five epochs, as in the official code.

    It falls by start / (epochs - 5) an epoch, and by a fifth of that in the last five; with five epochs or fewer by
    start / epochs.
    """
    left = epochs - epoch
    if epochs <= 5:
        return start * left / epochs
    return start * (left - 5) / (epochs - 5) if left > 5 else start * left / (5 * (epochs - 5))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class Clock:
    """Adds up the time of named parts of an epoch, without making the host wait for a GPU.

    On a GPU a part is the time between two events of its stream, so what the GPU waits for counts and what it need not
    wait for does not; the events are read by `seconds` alone.  The GPU's branch has not been run on a GPU yet.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to a part; parts may contain each other."""
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(self._device)
            start.record(stream)
            yield
            end.record(stream)
            self._events.append((name, start, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - started

    def over(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; the time of waiting for each of them belongs to a part."""
        iterator = iter(items)
        while True:
            with self.part(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """The sum of each part since the last call; on a GPU this waits for it.  0 for a part that never was."""
        if self._events:
            torch.cuda.synchronize(self._device)
        for name, start, end in self._events:
            self._seconds[name] += start.elapsed_time(end) / 1000
        self._events.clear()
        found, self._seconds = self._seconds, defaultdict(float)
        return found


class Score(NamedTuple):
    """Mean loss and accuracy over images."""

    loss: float
    """Mean cross-entropy."""
    accuracy: float
    """Correctly classified images, percent."""
    top5: float | None = None
    """Images whose class is among the five most probable ones, percent; None where that was not asked for."""


class Meter:
    """Sums loss and hits on the device, so that a step never waits for the host."""

    def __init__(self, device: torch.device, *, top5: bool = False) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._images, self._top5 = 0, top5

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, weight: float | None = None) -> None:
        """Add a batch: its mean loss (), logits (N, classes) and labels (N,).

        `weight`: images that the loss counts for, N unless given.
        """
        logits = logits.detach()
        hits = (logits.argmax(dim=1) == labels).sum()
        among5 = (logits.topk(5, dim=1).indices == labels[:, None]).sum() if self._top5 else torch.zeros_like(hits)
        images = len(labels) if weight is None else weight
        self._sums += torch.stack([loss.detach().double() * images, hits.double(), among5.double()])
        self._images += len(labels)

    def score(self, workers: Workers = ALONE) -> Score:
        """Means over all images added, by all workers; NaN if there were none."""
        images = self._sums.new_tensor([self._images])
        *sums, images_all = workers.add_up(torch.cat([self._sums, images])).tolist()
        loss, hits, among5 = (value / images_all if images_all else math.nan for value in sums)
        return Score(loss, 100 * hits, 100 * among5 if self._top5 else None)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    loss_of: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    *,
    top5: bool = False,
    workers: Workers = ALONE,
) -> Score:
    """Score of a model in evaluation mode over batches of images (N, C, H, W) and labels (N,).

    With several workers every one evaluates its images, and all get the score over all images.
    """
    training = model.training
    model.eval()
    meter = Meter(device, top5=top5)
    for images, labels in batches:
        if not len(labels):  # a last batch with fewer images than workers
            continue
        logits = model(images)
        meter.add(loss_of(logits, labels), logits, labels)
    model.train(training)
    return meter.score(workers)
