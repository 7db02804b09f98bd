"""Part `machine`: versions, clocks, and the two ceilings of the machine: bytes copied and arithmetic a second."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from pcdarts.selftest.bench import Bench, tf32_products
from pcdarts.selftest.results import Row, Value, Verdict
from pcdarts.training.device import device_name, mps_runs

PACKAGES = ("pcdarts-orchestrator", "torch", "torchvision", "numpy", "pillow")
GPU_FACTS = (
    "name",
    "driver_version",
    "memory.total",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "clocks.max.mem",
    "power.limit",
    "compute_mode",
)
"""What `nvidia-smi` is asked for."""


def versions(device: torch.device) -> dict[str, Value]:
    """Versions of the software, and names of processor and GPU; does not use the GPU."""
    found: dict[str, Value] = {"Python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    found |= {"CUDA of PyTorch": torch.version.cuda, "processor": _processor(), "CPUs": os.cpu_count()}
    return found | (gpu_facts(device.index or 0) if device.type == "cuda" else {})


def gpu_facts(index: int) -> dict[str, Value]:
    """What `nvidia-smi` says about a GPU; one line that says why if it cannot be asked."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    wanted = visible[index] if index < len(visible) else str(index)
    if not shutil.which("nvidia-smi"):
        return {"nvidia-smi": "not found"}
    command = ["nvidia-smi", f"--query-gpu={','.join(GPU_FACTS)}", "--format=csv,noheader", "-i", wanted]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError) as error:
        return {"nvidia-smi": f"failed: {error}"}
    return {f"GPU {name}": value.strip() for name, value in zip(GPU_FACTS, answer.split(","), strict=False)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def run(bench: Bench) -> tuple[Verdict, str]:
    """Measure both ceilings; clocks are read right after them, when the GPU is not idle."""
    sizes = bench.sizes
    source = bench.normal(sizes.copied_bytes // 4)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / bench.seconds(lambda: target.copy_(source)) / 1e9
    bench.add("Ceilings", what="copy, bytes read and written", value=copied, unit="GB/s")
    side = sizes.product_side
    left, right = bench.normal(side, side), bench.normal(side, side, seed=1)
    product = torch.empty_like(left)
    for tf32 in (False, True) if bench.on_gpu else (False,):
        with tf32_products(tf32):
            seconds = bench.seconds(lambda: torch.mm(left, right, out=product))
        name = f"matrix product, {side} x {side}, {'TF32' if tf32 else 'fp32'}"
        bench.add("Ceilings", what=name, value=2 * side**3 / seconds / 1e12, unit="TFLOP/s")
    facts: dict[str, Value] = {"device": device_name(bench.device), "CPU threads": torch.get_num_threads()}
    if bench.on_gpu:
        facts |= {"MPS daemon": mps_runs(), "deterministic kernels": torch.are_deterministic_algorithms_enabled()}
        facts |= gpu_facts(bench.device.index or 0)
    for what, value in facts.items():
        row: Row = {"what": what, "value": value}
        bench.add("Device", **row)
    return "pass", f"copies {copied:.0f} GB/s; a table, nothing can fail"
