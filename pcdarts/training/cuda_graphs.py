"""CUDA graphs: a step is captured once and replayed, so that one call launches its thousands of kernels.

Not yet run on a GPU.  A step can be captured if it never waits for the host and keeps its shapes, and if what it reads
besides its inputs stays where it is: weights and moments are updated in place, and the learning rate is a tensor.
"""

import gc
from collections import Counter
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
Step = Callable[..., Tensors]
Shapes = tuple[torch.Size, ...]
Record = Callable[[Step, Tensors], tuple[Callable[[], None], Tensors]]
"""Turns a step and its inputs into a replay and the tensors that it fills; the step is recorded, but not run."""

EAGER_CALLS = 3
"""Calls before a capture: they create optimizer states and cached matrices, and let libraries choose algorithms."""


class GraphPool:
    """What the graphs of a search share: one stream, one pool of memory, and the end of captures once one fails.

    The thread that makes it computes on that stream from then on, because warm-ups, captures, replays and all that runs
    between them belong on one: there cuBLAS has its workspaces, freed memory is used again, and autograd waits for no
    other stream.  Graphs are replayed in turn, and their results are read at once, so they can share memory.
    """

    def __init__(self, log: Callable[[str], None] = print, record: Record | None = None) -> None:
        """`log` gets one line when a capture fails; `record` replaces the capture of a CUDA graph."""
        self._log = log
        self._record = record or _CudaRecord()
        self._places: dict[tuple[int, torch.Size, torch.dtype], Tensor] = {}
        self._failed = False

    def capture(self, step: Step, inputs: Tensors) -> "tuple[Tensors, Callable[[], None], Tensors] | None":
        """Inputs, replay and results of a captured step; None, after which it has to run eagerly, if that fails.

        A capture runs no kernel, so a failed one has changed no weights.
        """
        if self._failed:
            return None
        try:
            places = tuple(self._place(i, x) for i, x in enumerate(inputs))
            return places, *self._record(step, places)
        except RuntimeError as error:  # among them: out of memory
            self._failed = True
            cause = error.__context__ or error  # the end of a capture that failed raises, too
            reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        self._log(f"a CUDA graph could not be captured, so the steps that have none yet run eagerly: {reason}")
        return None

    def _place(self, position: int, x: Tensor) -> Tensor:
        """Where replays find an input: the same for all steps, which are replayed right after it is filled."""
        key = position, x.shape, x.dtype
        if key not in self._places:
            self._places[key] = x.clone()
        return self._places[key]


class CapturedStep:
    """A step from tensors to tensors that is first run eagerly, then captured, then replayed.

    That happens for every shape of the inputs, such as those of a smaller last batch.  Values other than tensors are
    constants of the capture.  Results have no gradient: their autograd graph would outlive the step, and its nodes
    would reach into the capture.  A replay overwrites the results of earlier ones, of this step and of others.
    """

    def __init__(self, step: Step, graphs: GraphPool | None = None) -> None:
        self._step, self._graphs = step, graphs or GraphPool()
        self._eager_calls: Counter[Shapes] = Counter()
        self._captured: dict[Shapes, tuple[Tensors, Callable[[], None], Tensors]] = {}

    def __call__(self, *inputs: Tensor) -> Tensors:
        """Run the step."""
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._captured:
            captured = self._graphs.capture(self._detached, inputs) if self._warm(shapes) else None
            if captured is None:
                return self._detached(*inputs)
            self._captured[shapes] = captured
        static, replay, results = self._captured[shapes]
        for place, x in zip(static, inputs, strict=True):
            place.copy_(x)
        replay()
        return results

    def _warm(self, shapes: Shapes) -> bool:
        """Whether inputs of these shapes were seen often enough; counts this call."""
        self._eager_calls[shapes] += 1
        return self._eager_calls[shapes] > EAGER_CALLS

    def _detached(self, *inputs: Tensor) -> Tensors:
        return tuple(result.detach() for result in self._step(*inputs))


class _CudaRecord:
    """`Record` that captures CUDA graphs, on the stream of this thread and in one pool of memory."""

    def __init__(self) -> None:
        stream = _side_stream(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.set_stream(stream)
        self._pool = torch.cuda.graph_pool_handle()
        self._first: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Step, inputs: Tensors) -> tuple[Callable[[], None], Tensors]:
        gc.collect()  # autograd graphs that dead cycles hold would reach into the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph,
            pool=self._pool,
            stream=torch.cuda.current_stream(),
            capture_error_mode="thread_local",  # another thread may pin memory meanwhile
        ):
            results = step(*inputs)
        self._first = self._first or graph  # a pool is valid as long as one of its graphs lives
        return graph.replay, results


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """A stream of a GPU on which graphs can be captured; always the same, as the allocator keeps memory for each."""
    return torch.cuda.Stream(device)
