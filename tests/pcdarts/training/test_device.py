"""The device that a process computes on."""

from types import SimpleNamespace

import pytest
import torch

from pcdarts.training.device import (
    GPU_CONTEXT,
    limit_gpu_memory,
    mps_runs,
    peak_memory_bytes,
    prepare_device,
    resolve_device,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", "mps", "meta"])
def test_an_impossible_device_is_named(name):
    with pytest.raises(ValueError, match=f"device is '{name}', but"):
        resolve_device(name)
    assert resolve_device("cpu") == CPU


def test_peak_memory_is_a_plausible_size():
    assert 10**7 < peak_memory_bytes(CPU) < 10**12


TOTAL = 10 * GPU_CONTEXT


@pytest.fixture
def fake_cuda(monkeypatch):
    """Two invented GPUs; returns the calls that reach them, in order."""
    calls = []

    def noted(name):
        return lambda *arguments: calls.append((name, *arguments))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=TOTAL))
    for name in ("set_device", "empty_cache", "reset_peak_memory_stats", "set_per_process_memory_fraction"):
        monkeypatch.setattr(torch.cuda, name, noted(name))
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda on, warn_only: calls.append(("deterministic", on))
    )
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    yield calls
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize(("fraction", "share"), [(0.5, 0.4), (0.05, 0.0), (1.0, 1.0)])
def test_the_limit_leaves_room_for_the_context_and_is_lifted_by_1(fake_cuda, fraction, share):
    limit_gpu_memory(fraction, "cuda:1")
    assert fake_cuda == [("set_per_process_memory_fraction", share, torch.device("cuda:1"))]


def test_a_trial_on_a_cpu_limits_no_gpu(fake_cuda):
    limit_gpu_memory(0.5, "cpu")
    assert fake_cuda == []


def test_a_trial_inherits_neither_memory_nor_precision_of_an_earlier_one(fake_cuda):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    device = prepare_device("cuda:1", torch.get_num_threads())
    assert fake_cuda == [
        ("deterministic", True),
        ("set_device", device),
        ("empty_cache",),
        ("reset_peak_memory_stats", device),
    ]
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    prepare_device("cpu", torch.get_num_threads())
    assert fake_cuda[-1] == ("deterministic", False)


def test_a_training_may_ask_for_tf32_on_a_gpu_only(fake_cuda):
    prepare_device("cuda:1", torch.get_num_threads(), tf32=True)
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    with pytest.raises(ValueError, match="precision is tf32, but the device is cpu; it needs a GPU, use fp32"):
        prepare_device("cpu", torch.get_num_threads(), tf32=True)


def test_mps_is_seen_by_the_pipe_of_its_daemon(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not mps_runs()
    (tmp_path / "control").touch()
    assert mps_runs()
