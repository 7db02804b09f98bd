"""Measurements of an epoch: loss and accuracy over images, and the time of its parts."""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdarts.training.distributed import ALONE, Workers

T = TypeVar("T")


class Clock:
    """Adds up the time of named parts of an epoch, without making the host wait for a GPU.

    On a GPU a part is the time between two events of its stream; only `seconds` waits for them.  Not yet run on a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the body as a part; parts may be nested."""
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
        """Iterate over the items; the time spent waiting for them belongs to a part."""
        iterator = iter(items)
        while True:
            with self.part(name):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """Seconds of each part since the last call, 0 for unknown parts; waits for a GPU."""
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
    """Images whose class is among the five most probable ones, percent; None unless requested."""
    hits: Tensor | None = None
    """Whether each image of this worker was classified correctly (N,), in the order of the batches; None unless
    requested."""


class Meter:
    """Sums loss and hits on the device, so that a step never synchronizes."""

    def __init__(self, device: torch.device, *, top5: bool = False, hits: bool = False) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._images, self._top5 = 0, top5
        self._hits = [torch.zeros(0, dtype=torch.bool, device=device)] if hits else None

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor, weight: float | None = None) -> None:
        """Add a batch: its mean loss (), logits (N, classes) and labels (N,).

        `weight`: images that the loss counts for, N unless given.
        """
        logits = logits.detach()
        correct = logits.argmax(dim=1) == labels
        if self._hits is not None:
            self._hits.append(correct)
        hits = correct.sum()
        among5 = (logits.topk(5, dim=1).indices == labels[:, None]).sum() if self._top5 else torch.zeros_like(hits)
        images = len(labels) if weight is None else weight
        self._sums += torch.stack([loss.detach().double() * images, hits.double(), among5.double()])
        self._images += len(labels)

    def score(self, workers: Workers = ALONE) -> Score:
        """Means over all images added, by all workers; NaN without images."""
        images = self._sums.new_tensor([self._images])
        *sums, images_all = workers.add_up(torch.cat([self._sums, images])).tolist()
        loss, hits, among5 = (value / images_all if images_all else math.nan for value in sums)
        return Score(
            loss,
            100 * hits,
            100 * among5 if self._top5 else None,
            None if self._hits is None else torch.cat(self._hits),
        )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    loss_of: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    *,
    forward: Callable[[Tensor], tuple[Tensor, ...]] | None = None,
    top5: bool = False,
    hits: bool = False,
    workers: Workers = ALONE,
) -> Score:
    """Score of a model in evaluation mode over batches of images (N, C, H, W) and labels (N,).

    `forward` computes the logits (N, classes), alone in a tuple, in place of a call of the model, such as by a captured
    pass.  With several workers each evaluates its own images, and all return the score over all images.
    """
    training = model.training
    if training:  # setting the mode of a super-network takes longer than a pass over a small batch
        model.eval()
    meter = Meter(device, top5=top5, hits=hits)
    for images, labels in batches:
        if not len(labels):  # a last batch with fewer images than workers
            continue
        logits = model(images) if forward is None else forward(images)[0]
        meter.add(loss_of(logits, labels), logits, labels)
    if training:
        model.train()
    return meter.score(workers)
