"""TF32: products and convolutions of a GPU that keep 10 of 23 mantissa bits of single precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Context in which matrix products and convolutions of a GPU use TF32, or do not; no effect on a CPU.

    What a process allowed before holds again after it.
    """
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
