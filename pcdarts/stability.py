"""How stable a search is: the dominant eigenvalue of the validation loss in alpha, and the accuracy of the cell alone.

Source of the first: Zela et al., "Understanding and Robustifying Differentiable Architecture Search" (ICLR 2020).
Nothing here changes the super-network, its running statistics or the random draws of a search.  Shapes: N images of C
channels and H x W pixels; E = 14 edges, P operations of an edge.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from pcdarts.genotype import Genotype
from pcdarts.measures import DARTS_SPACE, Pairs, Primitives, kept_edges
from pcdarts.supernet import EDGES_INTO, Mixtures, Supernet
from pcdarts.training import Score, evaluate, seeded_generator

if TYPE_CHECKING:
    from pcdarts.search import SearchState

TOLERANCE = 1e-2
"""Relative error of the dominant eigenvalue in a search: far below what its rule looks at."""
KRYLOV_DIMENSION = 8
"""Vectors that the Lanczos iteration keeps, and products before it first looks whether it has converged."""
MOST_RESTARTS = 100
"""Restarts of the Lanczos iteration."""


def stability_columns(state: "SearchState", genotype: Genotype) -> dict[str, Any]:
    """Dominant eigenvalue and its time, on the same validation images and random channels in every epoch."""
    config, started = state.config, time.perf_counter()
    generator = seeded_generator(config.seed, "eigenvalue")
    images, labels = next(iter(state.valid.epoch(config.eigenvalue_batch, generator)))
    value = dominant_eigenvalue(state.supernet, images, labels, tolerance=TOLERANCE, generator=generator)
    return {"dominant_eigenvalue": value, "eigenvalue_seconds": time.perf_counter() - started}


def dominant_eigenvalue(
    supernet: Supernet, images: Tensor, labels: Tensor, *, tolerance: float, generator: torch.Generator
) -> float:
    """Largest algebraic eigenvalue of the Hessian of the loss in the alphas of both cells; beta stands still.

    Of the mean cross-entropy of images (N, C, H, W) and labels (N,), with batch statistics.  Exact Hessian-vector
    products by double back-propagation, Lanczos iteration to the relative `tolerance` (0: machine precision).  The
    start vector and random channels are drawn from `generator`.  NaN where derivatives are not finite and where the
    iteration does not converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh  # takes a while to import

    architecture = supernet.architecture
    alphas = [architecture.alphas_normal, architecture.alphas_reduce]
    size = sum(alpha.numel() for alpha in alphas)
    start = torch.randn(size, generator=generator, dtype=torch.float64).numpy()
    with supernet.reference(), drawing_from(supernet, generator), torch.enable_grad():
        loss = _loss(supernet, images, labels)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, alphas, create_graph=True)])

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
                v0=start,
                ncv=KRYLOV_DIMENSION,
                tol=tolerance,
                maxiter=MOST_RESTARTS,
                return_eigenvectors=False,
            )
        except ArpackNoConvergence:
            return math.nan
    return float(value)


def discretized_score(
    supernet: Supernet,
    genotype: Genotype,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    generator: torch.Generator,
) -> Score:
    """Score, in evaluation mode, of the same weights with only the chosen operations and edges.

    Random channels are drawn from `generator`.  See `discrete_mixtures` for what is kept.
    """
    with supernet.mixed_by(discrete_mixtures(supernet, genotype)), drawing_from(supernet, generator):
        return evaluate(supernet, batches, device)


@torch.no_grad()
def discrete_mixtures(
    supernet: Supernet, genotype: Genotype, primitives: Mapping[bool, Primitives] = {False: DARTS_SPACE, True: DARTS_SPACE}  # noqa: B006 (read only)
) -> Mixtures:
    """Weights that keep a genotype's operations and edges alone.

    A kept edge has weight 1 on its chosen operation.  A dropped edge has weight 0 as a whole, its bypassed channels
    included, as a derived network has no such edge.  The two kept edges of a node share the weight of all edges in
    proportion to softmax(beta), so that the node stays a weighted mean; without edge normalization each weighs 1.
    """
    mixtures = {}
    for reduction, (alphas, betas) in supernet.mixtures().items():
        pairs: Pairs = genotype.reduce if reduction else genotype.normal
        kept = kept_edges(pairs)
        operations, edges = torch.zeros_like(alphas), torch.zeros_like(betas)
        for edge, (operation, _) in zip(kept, pairs, strict=True):
            operations[edge, primitives[reduction][edge].index(operation)] = 1
        edges[kept] = betas[kept]
        if supernet.edge_normalization:
            for into in EDGES_INTO:
                edges[list(into)] /= edges[list(into)].sum()
        mixtures[reduction] = (operations, edges)
    return mixtures


@contextmanager
def drawing_from(supernet: Supernet, generator: torch.Generator) -> Iterator[None]:
    """Random channels come from `generator` inside, so that those of the search stay as they would have been."""
    own = supernet.generator
    supernet.generator = generator
    try:
        yield
    finally:
        supernet.generator = own


def _loss(supernet: Supernet, images: Tensor, labels: Tensor) -> Tensor:
    """Loss in training mode; batch norms update copies of their running statistics."""
    training = supernet.training
    supernet.train()
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    logits = functional_call(supernet, buffers, (images,))
    supernet.train(training)
    return functional.cross_entropy(logits, labels)
