"""The device of a process: choice, memory and name; and random number generators."""

import contextlib
import hashlib
import os
import platform
import resource
import sys
from pathlib import Path

import torch

GPU_CONTEXT = 500_000_000
"""Bytes of GPU memory of a process before its first tensor: CUDA context, cuBLAS and cuDNN.  The usual order of
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
            f"device is {name!r}, but this machine has {torch.cuda.device_count()} CUDA GPUs; use auto or cpu"
        )
    return device


def prepare_device(name: str, threads: int) -> torch.device:
    """Resolve the device, and set this process up to compute on it reproducibly with `threads` CPU threads.

    On a GPU deterministic kernels without TF32 are used.  An operation without a deterministic kernel warns in the log
    of its process, and results then differ in their last digits.
    """
    device = resolve_device(name)
    torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds bugs, slowly
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # it would keep 10 of 23 mantissa bits
        if device.index is not None:
            torch.cuda.set_device(device)  # also for streams and graphs, which use the current device
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # Linux: reset the peak of a process that runs several searches
            Path("/proc/self/clear_refs").write_text("5")
    return device


def limit_gpu_memory(fraction: float) -> None:
    """Limit this process to a share of its GPU's memory, so that it cannot starve other processes on the GPU.

    No effect without a GPU.  Not yet run on a GPU.
    """
    if fraction < 1 and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(max(0.0, fraction - GPU_CONTEXT / total))


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def peak_memory_bytes(device: torch.device) -> int:
    """Peak allocated GPU memory, or peak resident size of the process since `prepare_device`; bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
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
