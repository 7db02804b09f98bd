"""Captured steps: what a GPU would replay, on the CPU with a capture that runs the step again."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pcdarts import presets
from pcdarts.architect import Architect
from pcdarts.fast import depthwise, edge_group, fan, folding
from pcdarts.search import SearchState, train_epoch, weight_step
from pcdarts.training import cuda_graphs
from pcdarts.training.cuda_graphs import EAGER_CALLS, CapturedStep


def run_again(step, inputs):
    """Stands in for a CUDA graph: the step does not run when it is captured, and again at every replay."""
    results = []

    def replay():
        results[:] = step(*inputs)

    return replay, results


def test_eager_at_first_then_captured_once_then_replayed():
    calls, captures = [], []

    def step(x):
        calls.append(x)
        return (2 * x,)

    def capture(step, inputs):
        captures.append(inputs)
        return run_again(step, inputs)

    captured = CapturedStep(step, capture)
    for value in range(EAGER_CALLS + 3):
        x = torch.full((3,), float(value))
        assert torch.equal(captured(x)[0], 2 * x)
        assert (calls[-1] is x) == (value < EAGER_CALLS)
    assert len(captures) == 1
    assert len({x.data_ptr() for x in calls[EAGER_CALLS:]}) == 1  # replays read one place


def test_another_shape_runs_eagerly():
    captured = CapturedStep(lambda x: (x + 1,), run_again)
    for _ in range(EAGER_CALLS + 1):
        captured(torch.zeros(4))
    assert torch.equal(captured(torch.zeros(2))[0], torch.ones(2))
    assert torch.equal(captured(torch.ones(4))[0], torch.full((4,), 2.0))


def test_captured_steps_train_as_eager_ones(monkeypatch):
    captures = []

    def capture(step, inputs):
        captures.append(step)
        return run_again(step, inputs)

    monkeypatch.setattr(cuda_graphs, "_capture", capture)
    config = dataclasses.replace(presets.smoke(), warmup_epochs=0, max_images=90, batch_size=10)
    eager, captured = SearchState(config), SearchState(config)
    captured.config = dataclasses.replace(config, cuda_graphs=True)
    for epoch in range(2):
        assert train_epoch(eager, 0.05, True) == train_epoch(captured, 0.05, True)
        assert len(captures) == 2 * (epoch + 1)  # the steps on alpha and on weights
    for one, other in zip(eager.supernet.parameters(), captured.supernet.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def no_cached_matrices():
    """Caches of constant matrices must not mix tensors with values and tensors without."""
    modules = (depthwise, edge_group, fan, folding)
    cached = [f for module in modules for f in vars(module).values() if hasattr(f, "cache_clear")]
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"implementation": "reference"}, marks=pytest.mark.slow),
        pytest.param({"order": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_no_step_waits_for_the_host_nor_depends_on_values(no_cached_matrices, options):
    """With tensors that have shapes but no values, anything that reads a value raises."""
    config = dataclasses.replace(presets.smoke(), **options)
    state = SearchState(config)
    with FakeTensorMode():
        for module in state.supernet.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(parameter.shape))
            for name, buffer in module._buffers.items():
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        state.optimizer = torch.optim.SGD(state.supernet.weights().values(), lr=0.1, momentum=0.9)
        state.architect = Architect(config, state.supernet, state.optimizer)
        images, labels = torch.empty(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
        for step in (
            partial(weight_step, state, images, labels),
            partial(state.architect.step, (images, labels), (images, labels), 0.1),
        ):
            step()
            step()  # with optimizer states
        with pytest.raises(DataDependentOutputException):
            weight_step(state, images, labels)[0].item()


class Copies(TorchDispatchMode):
    """Notes where tensors go from the host to a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [x for x in args if isinstance(x, torch.Tensor) and x.device.type == "cpu"]
        if given and "copy" in str(function) and result.device.type == "cuda":
            self.found.append(str(function))
        return result


@pytest.mark.parametrize(
    "options",
    [
        {"side_operation": "conv_1x1", "spatial_stride": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"k": 1}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_fast_supernet_copies_nothing_to_a_gpu(no_cached_matrices, options):
    """Neither does a capture allow that, nor is it quick.  The GPU is one that has shapes, but no values."""
    state = SearchState(dataclasses.replace(presets.smoke(), device="cpu", **options))
    with FakeTensorMode(), torch.no_grad():
        for module in state.supernet.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device="cuda"))
            for name, buffer in module._buffers.items():
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
        images = torch.empty(4, 3, 8, 8, device="cuda")
        state.supernet(images)  # makes what is kept
        with Copies() as copies:
            assert state.supernet(images).device.type == "cuda"
    assert not copies.found


def test_needs_a_gpu():
    with pytest.raises(ValueError, match="cuda_graphs is True, but the device is cpu"):
        SearchState(dataclasses.replace(presets.smoke(), cuda_graphs=True, device="cpu"))
