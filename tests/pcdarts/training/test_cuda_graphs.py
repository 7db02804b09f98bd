"""Captured steps: what a GPU would replay, on the CPU with a capture that runs the step again."""

import dataclasses
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pcdarts import presets
from pcdarts.architect import Architect
from pcdarts.config import SearchConfig
from pcdarts.fast import depthwise, edge_group, fan, folding, panels
from pcdarts.search import SearchState, alpha_step, forward_pass, run_epoch, weight_step
from pcdarts.training import cuda_graphs
from pcdarts.training.cuda_graphs import EAGER_CALLS, CapturedStep, GraphPool
from pcdarts.training.evaluation import Meter
from pcdarts.training.schedules import set_learning_rate

TINY = {"batch_size": 4, "channels": 4, "layers": 3}


def run_again(step, inputs):
    """Stands in for a CUDA graph: the step does not run when it is captured, and again at every replay."""
    results = []

    def replay():
        results[:] = step(*inputs)

    return replay, results


class Recorder:
    """Records like `run_again`, and keeps the inputs of every capture."""

    def __init__(self):
        self.captures = []

    def __call__(self, step, inputs):
        self.captures.append(inputs)
        return run_again(step, inputs)


def fails(step, inputs):
    """As `torch.cuda.graph` does."""
    try:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore lines")
    finally:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_eager_at_first_then_captured_once_then_replayed():
    calls, record = [], Recorder()

    def step(x):
        calls.append(x)
        return (2 * x,)

    captured = CapturedStep(step, GraphPool(record=record))
    for value in range(EAGER_CALLS + 3):
        x = torch.full((3,), float(value))
        assert torch.equal(captured(x)[0], 2 * x)
        assert (calls[-1] is x) == (value < EAGER_CALLS)
    assert len(record.captures) == 1
    assert len({x.data_ptr() for x in calls[EAGER_CALLS:]}) == 1  # replays read one place


def test_another_shape_is_captured_apart():
    record = Recorder()
    captured = CapturedStep(lambda x: (x + 1,), GraphPool(record=record))
    for call in range(EAGER_CALLS + 2):
        assert torch.equal(captured(torch.full((4,), float(call)))[0], torch.full((4,), call + 1.0))
        assert torch.equal(captured(torch.full((2,), float(call)))[0], torch.full((2,), call + 1.0))
    assert [inputs[0].shape for inputs in record.captures] == [(4,), (2,)]


def test_steps_of_a_pool_read_their_inputs_from_the_same_places():
    record = Recorder()
    graphs = GraphPool(record=record)
    steps = [CapturedStep(lambda x, factor=factor: (factor * x,), graphs) for factor in (2, 3)]
    for _ in range(EAGER_CALLS + 2):
        assert [step(torch.ones(1))[0].item() for step in steps] == [2, 3]
    (first,), (second,) = record.captures
    assert first is second


def test_results_keep_no_autograd_graph_alive():
    weight = torch.ones(1, requires_grad=True)
    captured = CapturedStep(lambda x: (weight * x,), GraphPool(record=run_again))
    for _ in range(EAGER_CALLS + 1):
        assert captured(torch.ones(1))[0].grad_fn is None


def test_after_a_failed_capture_steps_run_eagerly_and_one_line_says_why():
    log, attempts = [], []

    def record(step, inputs):
        attempts.append(step)
        fails(step, inputs)

    graphs = GraphPool(log.append, record)
    steps = [CapturedStep(lambda x: (x + 1,), graphs) for _ in range(2)]
    for call in range(EAGER_CALLS + 3):
        assert [step(torch.tensor([float(call)]))[0].item() for step in steps] == [call + 1, call + 1]
    assert len(attempts) == 1
    (line,) = log
    assert line.endswith("CUDA error: operation not permitted when stream is capturing")


def trained(config, graphs, *, rate_tensor=False):
    """State of a search after all its epochs, with a stand-in for CUDA graphs unless `graphs` is None."""
    state = SearchState(config)
    state.graphs = graphs
    if rate_tensor:
        state.optimizer.param_groups[0]["lr"] = torch.tensor(config.learning_rate)
    while not state.ended:
        state.append(run_epoch(state))
    return state


def columns(state):
    """All columns of all epochs but times and memory."""
    return [
        {
            name: value
            for name, value in dataclasses.asdict(record).items()
            if "seconds" not in name and name not in ("peak_memory_bytes", "images_per_second")
        }
        for record in state.history
    ]


@pytest.mark.parametrize(
    ("images", "options"),
    [
        pytest.param(16, {}, id="batches of equal size"),
        pytest.param(22, {}, id="a smaller last batch"),
        pytest.param(22, {"order": 2}, id="second order", marks=pytest.mark.slow),
    ],
)
def test_a_captured_search_is_an_eager_one_bit_for_bit(monkeypatch, images, options):
    """With changing learning rates, alpha trained, validation and discretized accuracy."""
    monkeypatch.setattr(cuda_graphs, "EAGER_CALLS", 1)
    monkeypatch.setattr("pcdarts.search.eigenvalue_columns", lambda *_: {})  # takes most of the time, always eagerly
    config = dataclasses.replace(
        presets.smoke(), **TINY, epochs=3, warmup_epochs=0, max_images=images, eigenvalue_every=3, **options
    )
    record = Recorder()
    eager, captured = trained(config, None), trained(config, GraphPool(record=record), rate_tensor=True)
    assert columns(eager) == columns(captured)
    for one, other in zip(eager.supernet.parameters(), captured.supernet.parameters(), strict=True):
        assert torch.equal(one, other)
    assert set(captured._steps) == {alpha_step, weight_step, forward_pass}
    assert len({record["learning_rate"] for record in columns(captured)}) == 3
    shapes = [tuple(len(x) for x in inputs) for inputs in record.captures]
    assert shapes.count((4, 4)) == (1 if "order" in options else 2)  # once a search: weights, and alpha in first order
    assert shapes.count((4,)) == 1  # evaluation


def test_a_search_whose_captures_fail_is_an_eager_one():
    config = dataclasses.replace(presets.smoke(), **TINY, epochs=1, warmup_epochs=0, max_images=40, eigenvalue_every=0)
    log = []
    assert columns(trained(config, None)) == columns(trained(config, GraphPool(log.append, fails)))
    assert len(log) == 1


def test_graphs_from_before_a_load_are_not_used_again():
    config = dataclasses.replace(presets.smoke(), **TINY, epochs=1, warmup_epochs=0, max_images=40, eigenvalue_every=0)
    state = trained(config, GraphPool(record=run_again))
    assert state._steps
    state.load(state.to_dict())
    assert not state._steps


@pytest.mark.parametrize(
    ("options", "captures"),
    [
        ({}, True),
        ({"cuda_graphs": False}, False),
        ({"channel_sampling": "random"}, False),
        ({"space": "s4"}, False),
        ({"drop_path": 0.1}, False),
        ({"implementation": "reference", "compile": True}, False),
        ({"order": 2}, True),
    ],
    ids=str,
)
def test_steps_that_draw_on_the_cpu_or_compile_are_not_captured(options, captures):
    assert SearchConfig(**options).captures == captures


def test_nothing_is_captured_on_a_cpu():
    assert SearchState(dataclasses.replace(presets.smoke(), cuda_graphs=True, device="cpu")).graphs is None


def test_on_a_cpu_optimizers_are_what_they_were():
    state = SearchState(dataclasses.replace(presets.smoke(), device="cpu"))
    (weights,), (alpha,) = state.optimizer.param_groups, state.architect.optimizer.param_groups
    assert (weights["lr"], weights["fused"], weights["foreach"]) == (state.config.learning_rate, None, None)
    assert type(weights["lr"]) is float
    assert (alpha["lr"], alpha["capturable"], alpha["fused"]) == (state.config.alpha_learning_rate, False, None)


def test_gradients_have_the_strides_of_the_weights():
    """Fused optimizers need that."""
    state = SearchState(presets.smoke())
    weight_step(state, torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    for weight in state.supernet.weights().values():
        pairs = zip(weight.shape, weight.stride(), weight.grad.stride(), strict=True)
        assert all(one == other for size, one, other in pairs if size > 1)


@pytest.fixture
def no_cached_matrices():
    """Caches of constant matrices must not mix tensors with values and tensors without."""
    modules = (depthwise, edge_group, fan, folding, panels)
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
def test_no_step_waits_for_the_host_nor_depends_on_values(no_cached_matrices, monkeypatch, options):
    """With tensors that have shapes but no values, anything that reads a value raises.

    Optimizers are in their form for a GPU; the tensors are on the CPU, as autograd needs a real device.
    """
    adam = sys.modules["torch.optim.adam"]  # torch.optim hides it
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    config = dataclasses.replace(presets.smoke(), **options)
    state = SearchState(config)
    with FakeTensorMode():
        for module in state.supernet.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(parameter.shape))
            for name, buffer in module._buffers.items():
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        state.optimizer = torch.optim.SGD(state.supernet.weights().values(), lr=0.1, momentum=0.9, fused=True)
        state.optimizer.param_groups[0]["lr"] = torch.empty(())
        state.architect = Architect(config, state.supernet, state.optimizer)
        state.architect.optimizer.param_groups[0]["capturable"] = True
        images, labels = torch.empty(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
        for step in (partial(weight_step, state, images, labels), partial(alpha_step, state, *2 * (images, labels))):
            step()
            step()  # with optimizer states
        set_learning_rate(state.optimizer, 0.05)
        state.supernet.eval()
        with torch.no_grad():
            Meter(images.device).add(torch.empty(()), *forward_pass(state, images), labels)
        state.supernet.train()
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
