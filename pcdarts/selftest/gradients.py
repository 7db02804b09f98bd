"""Parts `gradients` and `bf16`: one step's loss and gradients against those of the reference on the CPU in float64.

Error: relative L2 distance of all gradients together, those of weights, alpha and beta.  Memory that PyTorch hands out
is filled with NaN, so that reading what was never written shows.

In fp32 the gradient is not a smooth function of rounding: a value that crosses zero before a ReLU, or a maximum that
moves to another pixel, changes it by a finite amount.  Such a change shows with some images and not with others, while
a wrong kernel is wrong with all.  So a comparison that fails is repeated with other images.
"""

import contextlib
import functools
import itertools
import math
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
DRAWS = 3
"""Draws of images and weights, of which one must be within the tolerance."""
BF16_TOLERANCE = 1e-1
"""Largest error in bf16."""


class Size(NamedTuple):
    """Channels and cells of a network, number and side of its images, and the largest errors of its gradients."""

    channels: int
    layers: int
    batch: int
    side: int
    float32: float
    """Tolerance in fp32."""
    float64: float = 1e-9
    """Tolerance in float64."""

    def tolerance(self, dtype: torch.dtype) -> float:
        """Largest error of numbers of this type."""
        return self.float64 if dtype == torch.float64 else self.float32


STRICT = Size(channels=8, layers=3, batch=4, side=8, float32=1e-4)
"""So small that values which cross zero are rare."""
WIDE = Size(channels=16, layers=3, batch=8, side=32, float32=1e-2)
"""The widths and images of the official search, on a GPU: some values cross zero with almost all images."""


class Step(NamedTuple):
    """Loss and gradients of a step, on the CPU in float64."""

    loss: float
    gradients: Tensor


BF16 = Size(channels=16, layers=3, batch=8, side=16, float32=math.inf)
"""Where gradients in bf16 are compared: their error grows with the number of cells, and falls with that of pixels."""


def run(bench: Bench) -> tuple[Verdict, str]:
    """Compare both networks in float64 and in fp32 with the reference on the CPU in float64."""
    failed, worst = [], {torch.float64: 0.0, torch.float32: 0.0}
    for size in (STRICT, WIDE) if bench.on_gpu else (STRICT,):
        for name, options in SETTINGS.items():
            for kind, dtype in itertools.product((Supernet, FastSupernet), worst):
                if kind is Supernet and not bench.on_gpu:
                    continue  # the truth itself
                error, draws = _smallest_error(bench, size, kind, options, dtype)
                network, numbers = ("reference" if kind is Supernet else "fast"), str(dtype).removeprefix("torch.")
                passed = error <= size.tolerance(dtype)
                bench.add(
                    f"Against the reference on the CPU in float64: C = {size.channels}, {size.layers} cells, "
                    f"{size.batch} images of {size.side} pixels",
                    setting=name,
                    network=network,
                    numbers=numbers,
                    **{"relative error": error, "at most": size.tolerance(dtype), "draws": draws},
                    passed=passed,
                )
                worst[dtype] = max(worst[dtype], error)
                if not passed:
                    failed.append(f"C = {size.channels}, {network}, {name}, {numbers}: {error:.1e}")
    if failed:
        return "fail", f"errors above the tolerance: {'; '.join(failed)}"
    return "pass", f"largest errors {worst[torch.float64]:.1e} in float64, {worst[torch.float32]:.1e} in float32"


def _smallest_error(
    bench: Bench, size: Size, kind: type[Supernet], options: dict[str, Any], dtype: torch.dtype
) -> tuple[float, int]:
    """The larger error of loss and gradients, in the first draw within the tolerance or the best one; and the draws."""
    best = math.inf
    for draw in range(DRAWS):
        truth = _truth(size, tuple(options.items()), draw)
        found = step_of(size, kind, options, dtype, device=bench.device, draw=draw)
        error = max(relative(found, truth), abs(found.loss - truth.loss) / abs(truth.loss))
        best = min(best, error)  # NaN is no smaller
        if error <= size.tolerance(dtype):
            break
    return best, draw + 1


@functools.cache
def _truth(size: Size, options: tuple[tuple[str, Any], ...], draw: int) -> Step:
    return step_of(size, Supernet, dict(options), torch.float64, device=torch.device("cpu"), draw=draw)


def run_bf16(bench: Bench) -> tuple[Verdict, str]:
    """Gradients of the reference network under bf16 autocast; the fast network refuses bf16."""
    errors = []
    for name in ("K = 4", "spatial stride 2"):
        options = SETTINGS[name] | {"implementation": "reference"}
        truth = _truth(BF16, tuple(options.items()), 0)
        found = step_of(BF16, Supernet, options | {"precision": "bf16"}, torch.float32, device=bench.device)
        errors.append(relative(found, truth))
        bench.add("bf16 autocast against float64", setting=name, **{"relative error of gradients": errors[-1]})
    verdict: Verdict = "pass" if all(error <= BF16_TOLERANCE for error in errors) else "fail"  # NaN is above
    shown = " and ".join(f"{error:.1e}" for error in errors)
    return verdict, f"gradients are {shown} from those in float64, where {BF16_TOLERANCE:g} is allowed"


def relative(found: Step, truth: Step) -> float:
    """Relative L2 distance of the gradients."""
    return float((found.gradients - truth.gradients).norm() / truth.gradients.norm())


def step_of(
    size: Size,
    kind: type[Supernet],
    options: dict[str, Any],
    dtype: torch.dtype,
    *,
    device: torch.device,
    draw: int = 0,
) -> Step:
    """One step of a network of this kind; equal draws give equal weights and images on every device."""
    config = SearchConfig(**{"channels": size.channels, "layers": size.layers} | options)
    network = kind(config, CLASSES, generator=torch.Generator().manual_seed(draw)).to(device, dtype)
    with torch.no_grad():
        for parameter in network.architecture.parameters():
            parameter.mul_(500)  # an architecture that is far from uniform
    generator = torch.Generator().manual_seed(DRAWS + draw)
    images = torch.randn(size.batch, 3, size.side, size.side, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (size.batch,), generator=generator).to(device)
    with fresh_memory_is_nan():
        loss = functional.cross_entropy(network(images.to(device, dtype)), labels)
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
