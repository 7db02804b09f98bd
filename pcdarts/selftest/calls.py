"""Part `calls`: times of single calls whose best form on a GPU is not known: layouts, products in place of sums, TF32.

"GB/s" counts each operand and result once, so it can be compared with the copy of the part `machine`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pcdarts.fast.folding import CHUNK, tall_product
from pcdarts.selftest.bench import Bench, tf32_products
from pcdarts.selftest.results import Verdict

CAPTION = "Single calls"
TOLERANCE = 1e-3
"""Largest relative difference between two forms of a call in fp32."""
GRAM_COLUMNS = (16, 128)
REPEATS = 12
"""Times that channels are repeated, as for the operations that leave a state."""


def run(bench: Bench) -> tuple[Verdict, str]:
    """Time all calls, and check that each gives the same as the form next to it."""
    differences = _repeat(bench)
    for channels in bench.sizes.call_channels:
        differences |= _depthwise(bench, channels)
    for columns in GRAM_COLUMNS:
        differences |= _columns(bench, columns)
    wrong = [f"{call}: {value:.1e}" for call, value in differences.items() if not value <= TOLERANCE]  # NaN is wrong
    if wrong:
        return "fail", f"forms of the same call differ by more than {TOLERANCE:g} (relative): {'; '.join(wrong)}"
    return "pass", f"a table; forms of the same call differ by at most {max(differences.values()):.1e} (relative)"


def _time(bench: Bench, function: Callable[[], Tensor], operands: tuple[Tensor, ...], **row: str) -> Tensor:
    """Add a row for a call, and return its result."""
    result = function()
    seconds = bench.seconds(function)
    moved = sum(x.nbytes for x in (*operands, result))
    bench.add(CAPTION, **row, **{"ms": 1000 * seconds, "GB/s": moved / seconds / 1e9})
    return result


def _relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _depthwise(bench: Bench, channels: int) -> dict[str, float]:
    """Depthwise convolutions in both layouts; returns by how much the layouts differ."""
    differences = {}
    for side, dilation in ((3, 1), (5, 1), (5, 2)):
        nchw = _one_depthwise(bench, channels, side, dilation, channels_last=False)
        nhwc = _one_depthwise(bench, channels, side, dilation, channels_last=True)
        for call, one, other in zip(("forward", "input gradient", "kernel gradient"), nhwc, nchw, strict=True):
            name = f"depthwise {side} x {side}, dilation {dilation}, {channels} channels, {call}"
            differences[name] = _relative(one, other)
    return differences


def _one_depthwise(bench: Bench, channels: int, side: int, dilation: int, *, channels_last: bool) -> list[Tensor]:
    """Results of a convolution forward, and of its gradients in the input and in the kernels."""
    sizes, padding = bench.sizes, dilation * (side // 2)
    size = (sizes.call_images, channels, sizes.image_size, sizes.image_size)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x, gradient = (bench.normal(*size, seed=seed).to(memory_format=memory_format) for seed in (2, 3))
    kernels = bench.normal(channels, 1, side, side, seed=1)

    def backward(mask: list[bool]) -> Tensor:
        return torch.ops.aten.convolution_backward(
            gradient, x, kernels, None, [1, 1], [padding] * 2, [dilation] * 2, False, [0, 0], channels, mask
        )[mask.index(True)]

    calls: dict[str, tuple[Callable[[], Tensor], tuple[Tensor, ...]]] = {
        "depthwise": (lambda: functional.conv2d(x, kernels, None, 1, padding, dilation, channels), (x, kernels)),
        "depthwise, input gradient": (lambda: backward([True, False, False]), (gradient, kernels)),
        "depthwise, kernel gradient": (lambda: backward([False, True, False]), (gradient, x)),
    }
    row = {
        "shape": f"{size}, {side} x {side}, dilation {dilation}",
        "form": "NHWC" if channels_last else "NCHW",
    }
    return [_time(bench, call, operands, call=name, **row) for name, (call, operands) in calls.items()]


def _columns(bench: Bench, columns: int) -> dict[str, float]:
    """Gram products and means over the pixels of all images."""
    pixels = bench.sizes.call_images * bench.sizes.image_size**2
    x, shape, ones = bench.normal(pixels, columns), f"({pixels}, {columns})", torch.ones(1, pixels, device=bench.device)
    exact = _time(bench, lambda: x.T @ x, (x,), call="Gram product", shape=shape, form="fp32")
    if bench.on_gpu:
        with tf32_products(True):
            _time(bench, lambda: x.T @ x, (x,), call="Gram product", shape=shape, form="TF32")
    form = f"in chunks of {CHUNK} rows"
    summed = _time(bench, lambda: tall_product(x, x), (x,), call="Gram product", shape=shape, form=form)
    product = _time(bench, lambda: ones @ x, (x,), call="column sums", shape=shape, form="product with ones")
    _time(bench, lambda: tall_product(ones.mT, x), (x,), call="column sums", shape=shape, form=f"product, {form}")
    plain = _time(bench, lambda: x.sum(0, keepdim=True), (x,), call="column sums", shape=shape, form="sum")
    scale = exact.diagonal().sum().sqrt()  # the norm of x: sums of columns cancel to much less
    sums = float((product - plain).norm() / scale)
    return {f"Gram product, {columns} columns": _relative(summed, exact), f"column sums, {columns} columns": sums}


def _repeat(bench: Bench) -> dict[str, float]:
    """Repeat the channels of images side by side."""
    channels = bench.sizes.channels // 4
    pixels = bench.sizes.call_images * bench.sizes.image_size**2
    x, shape = bench.normal(pixels, channels), f"({pixels}, {channels}), {REPEATS} times"
    selection = torch.eye(channels, device=bench.device).repeat(1, REPEATS)
    forms: dict[str, Callable[[], Tensor]] = {
        "product with zeros and ones": lambda: x @ selection,
        "expand and copy": lambda: x[:, None].expand(-1, REPEATS, -1).reshape(pixels, -1),
        "cat": lambda: torch.cat([x] * REPEATS, dim=1),
    }
    found = [_time(bench, call, (x,), call="repeat channels", shape=shape, form=form) for form, call in forms.items()]
    return {f"repeat channels, {form}": _relative(result, found[0]) for form, result in zip(forms, found, strict=True)}
