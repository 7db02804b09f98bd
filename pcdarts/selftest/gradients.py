"""Parts `gradients` and `bf16`: one step's loss and gradients against those of the reference on the CPU in float64.

Error: relative L2 distance of all gradients together, those of weights, alpha and beta.  Memory that PyTorch hands out
is filled with NaN, so that reading what was never written shows.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.fast.fast_supernet import FastSupernet
from pcdarts.selftest.bench import Bench
from pcdarts.selftest.results import Verdict
from pcdarts.supernet import Supernet

CLASSES = 10
SETTINGS: dict[str, dict[str, Any]] = {
    "K = 1": {"k": 1},
    "K = 2": {"k": 2},
    "K = 4": {"k": 4},
    "spatial stride 2": {"k": 4, "spatial_stride": 2},
    "side operation": {"k": 4, "side_operation": "conv_1x1"},
    "random sampling": {"k": 2, "channel_sampling": "random"},
}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest error of the reference network, by the type that is computed in."""
FAST_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""The same for the fast network: in fp32, Gram matrices cancel in its folded batch norms."""
BF16_EXPECTED, BF16_TOLERANCE = 1e-2, 1e-1
"""Errors in bf16 above which the part says so, and above which it fails."""


class Step(NamedTuple):
    """Loss and gradients of a step, on the CPU in float64."""

    loss: float
    gradients: Tensor


def run(bench: Bench) -> tuple[Verdict, str]:
    """Compare both networks in float64 and in fp32 with the reference on the CPU in float64."""
    caption = (
        f"Against the reference on the CPU in float64, C = {bench.sizes.channels}, {bench.sizes.parity_layers} cells"
    )
    failed, worst = [], dict.fromkeys(TOLERANCE, 0.0)
    for name, options in SETTINGS.items():
        truth = step_of(bench, Supernet, options, torch.float64, torch.device("cpu"))
        for kind, tolerances in ((Supernet, TOLERANCE), (FastSupernet, FAST_TOLERANCE)):
            for dtype, tolerance in tolerances.items():
                if kind is Supernet and dtype == torch.float64 and not bench.on_gpu:
                    continue  # the truth itself
                found = step_of(bench, kind, options, dtype, bench.device)
                error, loss_error = relative(found, truth), abs(found.loss - truth.loss) / abs(truth.loss)
                passed = error <= tolerance and loss_error <= tolerance
                network, numbers = ("reference" if kind is Supernet else "fast"), str(dtype).removeprefix("torch.")
                bench.add(
                    caption,
                    setting=name,
                    network=network,
                    numbers=numbers,
                    **{"gradients, relative error": error, "loss, relative error": loss_error, "at most": tolerance},
                    passed=passed,
                )
                worst[dtype] = max(worst[dtype], error)
                if not passed:
                    failed.append(f"{network}, {name}, {numbers}: {max(error, loss_error):.1e}")
    if failed:
        return "fail", f"errors above the tolerance: {'; '.join(failed)}"
    return "pass", f"largest errors {worst[torch.float64]:.1e} in float64, {worst[torch.float32]:.1e} in float32"


def run_bf16(bench: Bench) -> tuple[Verdict, str]:
    """Gradients of the reference network under bf16 autocast; the fast network refuses bf16."""
    worst = 0.0
    for name in ("K = 4", "spatial stride 2"):
        options = SETTINGS[name] | {"implementation": "reference"}
        truth = step_of(bench, Supernet, options, torch.float64, torch.device("cpu"))
        found = step_of(bench, Supernet, options | {"precision": "bf16"}, torch.float32, bench.device)
        error = relative(found, truth)
        bench.add("bf16 autocast against float64", setting=name, **{"gradients, relative error": error})
        worst = max(worst, error)
    if not worst <= BF16_TOLERANCE:
        return "fail", f"gradients are {worst:.1e} from those in float64, but must be at most {BF16_TOLERANCE:g}"
    than = "at most" if worst <= BF16_EXPECTED else "above"
    return "pass", f"gradients are {worst:.1e} from those in float64, {than} the {BF16_EXPECTED:g} hoped for"


def relative(found: Step, truth: Step) -> float:
    """Relative L2 distance of the gradients."""
    return float((found.gradients - truth.gradients).norm() / truth.gradients.norm())


def step_of(
    bench: Bench, kind: type[Supernet], options: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> Step:
    """One step of a network of this kind; equal options give equal weights and images on every device."""
    sizes = bench.sizes
    config = SearchConfig(**{"channels": sizes.channels, "layers": sizes.parity_layers} | options)
    network = kind(config, CLASSES, generator=torch.Generator().manual_seed(3)).to(device, dtype)
    with torch.no_grad():
        for parameter in network.architecture.parameters():
            parameter.mul_(500)  # an architecture that is far from uniform
    generator = torch.Generator().manual_seed(4)
    shape = (sizes.parity_batch, 3, sizes.image_size, sizes.image_size)
    images = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
    labels = torch.randint(CLASSES, shape[:1], generator=generator).to(device)
    with fresh_memory_is_nan():
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()
    gradients = [p.grad.flatten().double().cpu() for p in network.parameters() if p.grad is not None]
    return Step(loss.item(), torch.cat(gradients))


@contextlib.contextmanager
def fresh_memory_is_nan() -> Iterator[None]:
    """Context in which memory that PyTorch hands out holds NaN; deterministic kernels are requested for that."""
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=warn_only)
        settings.fill_uninitialized_memory = before[1]
