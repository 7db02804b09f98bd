"""Dominant eigenvalue of the validation loss in alpha.

Source: Zela et al., "Understanding and Robustifying Differentiable Architecture Search" (ICLR 2020).
Nothing here changes the super-network, its running statistics or the random draws of a search.  Shapes: N images of C
channels and H x W pixels; E = 14 edges, P operations of an edge.
"""

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.data.batches import ImageBatches
from pcdarts.supernet import Supernet
from pcdarts.training.device import seeded_generator

TOLERANCE = 0.1
"""Relative residual of the eigenvalue in a search.  The error falls with the square of the residual: a residual of a
tenth leaves an error of about a percent, and the rule compares with 30 percent."""
KRYLOV_DIMENSION = 8
"""Vectors that the Lanczos iteration keeps, and products before its first test of convergence."""
MOST_RESTARTS = 100
"""Largest number of restarts of the Lanczos iteration."""


def eigenvalue_columns(config: SearchConfig, supernet: Supernet, valid: ImageBatches) -> dict[str, Any]:
    """Columns of an EpochRecord: mean and deviation of the dominant eigenvalue over batches, and its time in seconds.

    Validation images, their augmentation and random channels are the same in every epoch.
    """
    started, generator = time.perf_counter(), seeded_generator(config.seed, "eigenvalue")
    batches = list(itertools.islice(valid.epoch(config.eigenvalue_batch, generator), config.eigenvalue_batches))
    values = [
        dominant_eigenvalue(supernet, images, labels, tolerance=TOLERANCE, generator=generator)
        for images, labels in batches
    ]
    return {
        "dominant_eigenvalue": sum(values) / len(values),
        "dominant_eigenvalue_std": None if len(values) < 2 else float(np.std(values, ddof=1)),
        "eigenvalue_seconds": time.perf_counter() - started,
    }


def dominant_eigenvalue(
    supernet: Supernet, images: Tensor, labels: Tensor, *, tolerance: float, generator: torch.Generator
) -> float:
    """Largest algebraic eigenvalue of the Hessian of the loss in the alphas of both cells, at fixed beta.

    The loss is the mean cross-entropy of images (N, C, H, W) and labels (N,), with batch statistics.  Lanczos iteration
    with exact Hessian-vector products (double backpropagation) until the residual |H v - eigenvalue v| is at most
    `tolerance` times the eigenvalue.  The start vector and random channels are drawn from `generator`.  NaN if
    derivatives are not finite or the iteration does not converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # slow to import

    alphas = alphas_of(supernet)
    size = sum(alpha.numel() for alpha in alphas)
    start = torch.randn(size, generator=generator, dtype=torch.float64).numpy()
    with supernet.reference(), drawing_from(supernet, generator), torch.enable_grad():
        gradient = alpha_gradient(supernet, images, labels)

        def product(vector: Any) -> Any:
            """The Hessian times a vector (size,): the derivative of the gradient along it."""
            direction = torch.as_tensor(vector.reshape(-1)).to(gradient)
            parts = torch.autograd.grad(gradient, alphas, direction, retain_graph=True)
            return torch.cat([part.flatten() for part in parts]).double().cpu().numpy()

        first = product(start)
        if not np.isfinite(first).all():
            return math.nan
        if not first.any():
            return 0.0
        hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
        try:
            (value,) = eigsh(
                hessian,
                k=1,
                which="LA",
                v0=first,
                ncv=KRYLOV_DIMENSION,
                tol=tolerance,
                maxiter=MOST_RESTARTS,
                return_eigenvectors=False,
            )
        except ArpackNoConvergence:
            return math.nan
    return float(value)


def alpha_gradient(supernet: Supernet, images: Tensor, labels: Tensor) -> Tensor:
    """Differentiable gradient (2 E P,) of the loss of images (N, C, H, W) and labels (N,) in the alphas of both cells.

    Its graph is what the measurement keeps in memory.
    """
    gradients = torch.autograd.grad(_loss(supernet, images, labels), alphas_of(supernet), create_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def alphas_of(supernet: Supernet) -> list[Tensor]:
    """Alpha (E, P) of the normal and of the reduction cell."""
    return [supernet.architecture.alphas_normal, supernet.architecture.alphas_reduce]


@contextmanager
def drawing_from(supernet: Supernet, generator: torch.Generator) -> Iterator[None]:
    """Context in which random channels and noise are drawn as from `generator`; draws of the search do not change."""
    before = supernet.generator.get_state()
    supernet.generator.set_state(generator.get_state())
    try:
        yield
    finally:
        supernet.generator.set_state(before)


def _loss(supernet: Supernet, images: Tensor, labels: Tensor) -> Tensor:
    """Loss in training mode, with all paths; batch norms update copies of their running statistics.

    Weights are constants here: what alpha does not reach is not kept for the derivatives.
    """
    training, drop_path = supernet.training, supernet.drop_path
    supernet.train()
    supernet.drop_path = 0.0
    constants = {name: weight.detach() for name, weight in supernet.weights().items()}
    constants |= {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    logits = functional_call(supernet, constants, (images,))
    supernet.train(training)
    supernet.drop_path = drop_path
    return functional.cross_entropy(logits, labels)
