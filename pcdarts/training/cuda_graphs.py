"""CUDA graphs: a step is captured once and replayed, so that one call launches its thousands of kernels.

Not yet run on a GPU.  A step can be captured if it never waits for the host and its shapes stay the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
Step = Callable[..., Tensors]
EAGER_CALLS = 3
"""Calls before the capture: they create optimizer states and cached matrices, and let libraries choose algorithms."""


class CapturedStep:
    """A step from tensors to tensors that is first run eagerly, then captured, then replayed.

    Values other than tensors, such as a learning rate, are constants of the capture: make a new `CapturedStep` to
    change them.  Inputs whose shapes differ from the first ones, such as a smaller last batch, are run eagerly.  A
    replay overwrites the results of earlier replays, of this step and of others.
    """

    def __init__(
        self, step: Step, capture: Callable[[Step, Tensors], tuple[Callable[[], None], Tensors]] | None = None
    ):
        """`capture` turns a step and its inputs into a replay and the tensors it fills; default: a CUDA graph."""
        self._step, self._capture = step, capture or _capture
        self._eager_calls = 0
        self._shapes: list[torch.Size] = []
        self._inputs: Tensors = ()
        self._replay: Callable[[], None] | None = None
        self._results: Tensors = ()

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Run the step."""
        shapes = [x.shape for x in inputs]
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            return self._step(*inputs)
        if self._eager_calls < EAGER_CALLS:
            self._eager_calls += 1
            return _on_side_stream(self._step, inputs)
        if self._replay is None:
            self._inputs = tuple(x.clone() for x in inputs)
            self._replay, self._results = self._capture(self._step, self._inputs)  # records, but does not run
        for static, x in zip(self._inputs, inputs, strict=True):
            static.copy_(x)
        self._replay()
        return self._results


def _capture(step: Step, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool()):
        results = step(*inputs)
    return graph.replay, results


@cache
def _pool() -> Any:
    """The memory pool of all graphs of a process: they are replayed in turn, and their results are read at once."""
    return torch.cuda.graph_pool_handle()


@cache
def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # always the same: the allocator keeps memory for every stream


def _on_side_stream(step: Step, inputs: Tensors) -> Tensors:
    """Run on a side stream, as PyTorch requires of calls before a capture."""
    if not inputs[0].is_cuda:
        return step(*inputs)
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        results = step(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return results
