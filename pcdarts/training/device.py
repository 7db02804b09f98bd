"""The device of a process: choice, memory and name; and random number generators."""

import contextlib
import gc
import hashlib
import os
import platform
import resource
import sys
from pathlib import Path

import torch

GPU_CONTEXT = 500_000_000
"""Assumption: bytes of GPU memory that a process takes outside PyTorch's allocator, for the CUDA context and the
libraries."""
CUBLAS_WORKSPACE = 8 * 4096 * 1024
"""Bytes that cuBLAS works in, for every handle and stream: the eight buffers of 4096 KiB that `prepare_device` asks
for."""


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
            f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA GPUs; use auto or cpu"
        )
    return device


def prepare_device(name: str, threads: int, *, tf32: bool = False) -> torch.device:
    """Resolve the device, and set this process up to compute on it reproducibly with `threads` CPU threads.

    On a GPU deterministic kernels are used.  An operation without one warns in the log of its process, and results
    then differ in their last digits.  `tf32` allows products and convolutions of a GPU to keep 10 of 23 mantissa bits.
    Settings and memory of an earlier trial in this process do not last: its cached GPU memory is freed, and peaks count
    from here.

    Raises ValueError for a device that is missing, and for TF32 on a CPU.
    """
    device = resolve_device(name)
    if tf32 and device.type != "cuda":
        raise ValueError(f"precision is tf32, but the device is {device}; it needs a GPU, use fp32")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cuda", warn_only=True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds bugs, slowly
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        if device.index is not None:
            torch.cuda.set_device(device)  # also for streams and graphs, which use the current device
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # Linux: reset the peak of a process that runs several searches
            Path("/proc/self/clear_refs").write_text("5")
    return device


def limit_gpu_memory(fraction: float, device: str = "auto") -> None:
    """Limit this process to a share of a GPU's memory, so that it cannot starve other processes on the GPU.

    The share includes the CUDA context, which PyTorch does not count; 1 lifts the limit.  Call it for every trial,
    because the limit of an earlier one in this process lasts.  No effect on a CPU.  Not yet run on a GPU.
    """
    target = resolve_device(device)
    if target.type == "cuda":
        total = torch.cuda.get_device_properties(target).total_memory
        share = fraction - GPU_CONTEXT / total if fraction < 1 else 1.0
        torch.cuda.set_per_process_memory_fraction(max(0.0, share), target)


def mps_runs() -> bool:
    """Whether the control daemon of NVIDIA's Multi-Process Service has its pipe where CUDA looks for it."""
    return Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def peak_memory_bytes(device: torch.device) -> int:
    """Peak GPU memory reserved by PyTorch, or peak resident size of the process since `prepare_device`; bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)  # what a limit of memory counts
    status = Path("/proc/self/status")
    if status.exists():
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seeded_generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose; equal seeds and purposes give equal draws, others independent ones."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
