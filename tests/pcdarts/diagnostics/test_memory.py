"""The predicted memory of a search, against what real steps on real batches keep."""

import dataclasses

import pytest
import torch

from pcdarts.config import SearchConfig
from pcdarts.diagnostics import eigenvalue as stability
from pcdarts.diagnostics import memory
from pcdarts.diagnostics.caching_allocator import CachingAllocator
from pcdarts.diagnostics.memory import MemoryPrediction, predict_memory, step_bytes
from pcdarts.fast import depthwise, edge_group, fan, folding, panels
from pcdarts.search import SearchState
from tests.benchmarks.memory import measure_steps

SMALL = SearchConfig(
    dataset="synthetic",
    channels=4,
    layers=3,
    batch_size=16,
    epochs=2,
    warmup_epochs=0,
    eigenvalue_every=0,
    device="cpu",
)
FLOATS = 4
"""Bytes of a float32."""


def test_kept_bytes_of_a_closed_form():
    weight, x = torch.randn(5, requires_grad=True), torch.randn(3, 5)
    assert step_bytes(lambda: x * weight, [weight])[0] == 15 * FLOATS  # x, for the gradient in the weight
    assert step_bytes(lambda: (x * weight).exp(), [weight])[0] == 2 * 15 * FLOATS
    assert step_bytes(lambda: x * x.relu())[0] == 0  # nothing needs a gradient


def test_a_storage_counts_once_and_only_while_it_is_kept():
    weight, x = torch.randn(5, requires_grad=True), torch.randn(3, 5)

    def in_turns():
        for _ in range(4):
            (x * weight).sum().backward()

    assert step_bytes(lambda: (x * weight, x.flatten() * weight[0]), [weight])[0] == 15 * FLOATS
    assert step_bytes(in_turns, [weight])[0] == 15 * FLOATS


def test_temporary_tensors_count_while_they_live():
    x = torch.zeros(1000)

    def step():
        y = x + 1  # 4000 bytes, and as many for every sum before the last is forgotten
        for _ in range(5):
            y = y + 1
        y.add_(1)

    assert step_bytes(step) == (0, 2 * 1000 * FLOATS)


def test_tensors_without_values_count_as_others_do():
    for device in ("cpu", "meta"):
        weight, x = torch.empty(5, requires_grad=True, device=device), torch.empty(3, 5, device=device)
        assert step_bytes(lambda: (x * weight).exp(), [weight])[0] == 2 * 15 * FLOATS  # noqa: B023
        assert step_bytes(lambda: x + 1 + 1)[1] == 2 * 15 * FLOATS  # noqa: B023


def test_an_allocator_follows_a_step():
    x, allocator = torch.empty(4 * 2**20, device="meta"), CachingAllocator()
    step_bytes(lambda: x + 1 + 1 + 1, allocators=[allocator])
    assert allocator.reserved == 2 * 16 * 2**20  # two sums live at a time, and the third takes the place of the first


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"k": 1, "side_operation": "conv_1x1"},
        {"k": 4, "side_operation": "depthwise_3x3"},
        {"k": 2, "side_operation": "conv_1x1_part"},
        {"k": 2, "implementation": "reference", "spatial_stride": 2},
        {"channels": 8, "k": 2, "batch_size": 32, "spatial_stride": 2},
        {"stem": "imagenet"},
        pytest.param({"order": 2}, marks=pytest.mark.slow),
        pytest.param({"order": 2, "hessian_vector_product": "finite_difference"}, marks=pytest.mark.slow),
        pytest.param({"eigenvalue_every": 1, "eigenvalue_batch": 8}, marks=pytest.mark.slow),
        {"dataset": "digits", "space": "s1", "drop_path": 0.2},
        {"dataset": "digits", "batch_size": 128},
    ],
    ids=str,
)
def test_the_prediction_is_within_15_percent_of_real_steps(changes, monkeypatch):
    monkeypatch.setattr(stability, "KRYLOV_DIMENSION", 2)  # a few products instead of many, which take as much each
    config = dataclasses.replace(SMALL, **changes)
    prediction = predict_memory(config)
    state = SearchState(config)
    weights = sum(tensor.nbytes for tensor in (*state.supernet.parameters(), *state.supernet.buffers()))
    steps = measure_steps(state)
    assert prediction.step == max(steps, key=lambda name: steps[name][1])
    kept, live = steps[prediction.step]
    assert prediction.kept + prediction.weights == pytest.approx(kept + weights, rel=0.15)
    assert prediction.weights == weights
    assert prediction.kept + prediction.temporary == pytest.approx(live, rel=0.15)


def test_a_prediction_does_not_depend_on_what_ran_before():
    for module in (depthwise, edge_group, fan, folding, panels):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
    config = dataclasses.replace(SMALL, dataset="digits", batch_size=128)
    memory._PREDICTED.clear()
    first = predict_memory(config)
    memory._PREDICTED.clear()
    assert predict_memory(config) == first


def test_second_order_is_the_largest_step_and_knows_it():
    first, second = (predict_memory(dataclasses.replace(SMALL, order=order)) for order in (1, 2))
    assert (first.step, second.step) == ("weights", "alpha")
    assert second.kept > 5 * first.kept


def test_images_of_discretized_cells_count_where_they_are_large():
    config = SearchConfig(dataset="imagenet", stem="imagenet", channels=4, layers=3, batch_size=2, epochs=16)
    prediction = predict_memory(dataclasses.replace(config, eigenvalue_batch=2, image_size=32))
    assert (prediction.step, prediction.kept) == ("discretization", 0)
    assert prediction.temporary == (512 + 2048) * 3 * 32 * 32 * FLOATS
    assert predict_memory(dataclasses.replace(config, eigenvalue_every=0, image_size=32)).step == "weights"


def test_the_parts_add_up_to_what_pytorch_reports():
    sizes = dict(
        kept=1, temporary=2, weights=4, optimizer=8, data=16, workspaces=32, unused=64, graphs=128, context=256
    )
    prediction = MemoryPrediction(**sizes, step="weights")
    assert (prediction.allocated, prediction.reserved, prediction.total) == (63, 255, 511)


def test_a_cpu_has_neither_workspaces_nor_an_allocator_that_reserves():
    prediction = predict_memory(SMALL)
    assert (prediction.workspaces, prediction.unused, prediction.graphs) == (0, 0, 0)


def test_a_gpu_reserves_whole_segments_and_a_workspace_for_either_thread():
    prediction = predict_memory(dataclasses.replace(SMALL, cuda_graphs=False), gpu=True)
    assert prediction.workspaces == 2 * 8 * 4096 * 1024
    assert prediction.reserved % (2 * 2**20) == 0 and prediction.unused > 0
    assert prediction.graphs == 0


def test_captured_steps_have_one_pool_of_their_own():
    eager, captured = (predict_memory(dataclasses.replace(SMALL, cuda_graphs=on), gpu=True) for on in (False, True))
    assert captured.workspaces == eager.workspaces
    assert captured.graphs % (2 * 2**20) == 0
    inputs = SMALL.batch_size * (3 * 16 * 16 * FLOATS + 8)
    assert captured.graphs >= captured.kept + captured.temporary + inputs
    assert captured.kept + captured.temporary == eager.kept + eager.temporary
    drawing = dataclasses.replace(SMALL, channel_sampling="random")  # draws in every step, so nothing is captured
    assert predict_memory(drawing, gpu=True).graphs == 0


def test_a_gpu_and_a_cpu_keep_the_same_but_for_padded_kernels():
    small = sum(p.numel() for p in SearchState(SMALL).supernet.parameters() if p.shape[1:] == (1, 3, 3))
    zeros = small // 9 * (25 - 9) * 4
    assert predict_memory(SMALL, gpu=True).kept == predict_memory(SMALL).kept + zeros


def test_bf16_is_predicted_as_float32_on_a_gpu():
    plain = dataclasses.replace(SMALL, implementation="reference")
    autocast = dataclasses.replace(plain, precision="bf16")
    assert predict_memory(autocast, gpu=True) == predict_memory(plain, gpu=True)


def test_predictions_for_gpus_leave_no_tensors_without_values_behind():
    memory._PREDICTED.clear()
    predict_memory(SMALL, gpu=True)
    state = SearchState(SMALL)
    assert all(not tensor.is_meta for tensor in state.supernet.parameters())
    assert measure_steps(state)  # computes with values


@pytest.mark.parametrize(
    "changes", [{"seed": 7}, {"learning_rate": 0.3, "gradient_clip": 1.0}, {"epochs": 60, "warmup_epochs": 59}], ids=str
)
def test_what_changes_no_byte_is_predicted_once(changes):
    assert predict_memory(SMALL) is predict_memory(dataclasses.replace(SMALL, **changes))


def test_a_field_that_is_read_is_predicted_again():
    plain = predict_memory(dataclasses.replace(SMALL, momentum=0.0))
    assert predict_memory(SMALL).optimizer > plain.optimizer


def test_the_data_set_counts_on_a_gpu_as_far_as_it_is_used():
    assert predict_memory(SMALL).data == 0
    assert predict_memory(SMALL, gpu=True).data == 320 * (3 * 16 * 16 + 8)
    assert predict_memory(dataclasses.replace(SMALL, max_images=100), gpu=True).data == 100 * (3 * 16 * 16 + 8)


def test_random_cells_need_no_prediction():
    assert predict_memory(dataclasses.replace(SMALL, method="random")) is None


def test_predicting_leaves_random_draws_as_they_were():
    before = torch.get_rng_state()
    predict_memory(dataclasses.replace(SMALL, channels=12))
    assert torch.equal(torch.get_rng_state(), before)
