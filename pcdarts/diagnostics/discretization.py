"""What a derived cell reaches with the weights of the super-network, next to random cells with the same weights.

Weights that were trained in a mixture meet other inputs in a derived cell, so the running statistics of their batch
norms no longer fit: without new ones the accuracy is near chance.  Nothing here changes the super-network or the random
draws of a search.  Shapes: E = 14 edges, P operations of an edge.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pcdarts.config import SearchConfig
from pcdarts.data.batches import ImageBatches, spread
from pcdarts.diagnostics.eigenvalue import drawing_from
from pcdarts.diagnostics.measures import Pairs, kept_edges
from pcdarts.genotype import Genotype
from pcdarts.spaces import EDGES_INTO, SPACES, random_genotype
from pcdarts.supernet import Mixtures, Supernet, Weights
from pcdarts.training.cuda_graphs import Step
from pcdarts.training.device import seeded_generator
from pcdarts.training.evaluation import evaluate

BATCH = 256
"""Images in a pass.  All batches of a calibration are of equal size, as they have equal weight."""
CALIBRATION_IMAGES = 512
"""Training images, at most, from which running statistics are estimated."""
VALIDATION_IMAGES = 2048
"""Validation images, at most, for the accuracies with new running statistics: they are off by about a point."""
RANDOM_CELLS = 8
"""Random cells that the derived one is compared with."""


def discretization_columns(
    config: SearchConfig,
    supernet: Supernet,
    batches: tuple[ImageBatches, ImageBatches],
    genotype: Genotype,
    valid_accuracy: float,
    *,
    captured: Callable[[Step], Step] = lambda step: step,
) -> dict[str, Any]:
    """Columns of an EpochRecord, in percent; `batches` are the images for the weights and those for alpha.

    Images and random cells are the same in every epoch.  `captured` makes a step faster that is run for many batches:
    the pass of the derived cell over all validation images.  The other passes are too few of a kind.
    """
    train, valid = batches
    generator = seeded_generator(config.seed, "discretization")
    device = next(supernet.parameters()).device
    seeds = torch.randint(2**31, (RANDOM_CELLS,), generator=generator).tolist()
    count = min(CALIBRATION_IMAGES, len(train) - len(train) % BATCH or len(train))
    mixed = torch.randperm(count, generator=generator)  # an image tree is stored class by class
    calibration = list(train.in_order(BATCH, spread(len(train), count)[mixed]))
    images = list(valid.in_order(BATCH, spread(len(valid), VALIDATION_IMAGES)))

    def accuracy(cell: Genotype) -> float:
        with discretized(supernet, cell):
            recalibrate(supernet, calibration)
            return evaluate(supernet, images, device).accuracy

    with drawing_from(supernet, generator):
        with discretized(supernet, genotype):  # the weights of edges are made here, so a capture ends here, too
            forward = captured(lambda images: (supernet(images),))
            stale = evaluate(supernet, valid.in_order(BATCH), device, forward=forward).accuracy
        with kept_statistics(supernet):
            found = accuracy(genotype)
            random = [accuracy(random_genotype(SPACES[config.space], seed)) for seed in seeds]
    return {
        "discretized_accuracy": stale,
        "discretization_gap": valid_accuracy - stale,
        "discretized_accuracy_recalibrated": found,
        "random_cells_accuracy_recalibrated": sum(random) / len(random),
    }


@contextmanager
def discretized(supernet: Supernet, genotype: Genotype) -> Iterator[None]:
    """Context in which the super-network computes only the operations and edges of a genotype, see `discrete_mixtures`.

    Passes are not compiled here: every cell would be compiled on its own.
    """
    compiled = supernet._compiled_call_impl is not None
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with eager, supernet.mixed_by(discrete_mixtures(supernet, genotype)):
        yield


@torch.no_grad()
def discrete_mixtures(supernet: Supernet, genotype: Genotype) -> Mixtures:
    """Weights of the operations and edges of a genotype; all others are left out.

    A kept edge has weight 1 on its chosen operation.  A dropped edge is left out with its bypassed channels, as a
    derived network has no such edge.  The weights of the two kept edges of a node are softmax(beta), rescaled to sum to
    1, so that the node stays a weighted mean; without edge normalization each is 1.
    """
    mixtures = {}
    for reduction, (alphas, betas) in supernet.mixtures().items():
        pairs: Pairs = genotype.reduce if reduction else genotype.normal
        kept = kept_edges(pairs)
        one, none = torch.ones_like(alphas[0, 0]), [None] * alphas.shape[1]
        operations: list[Weights] = [none] * len(betas)
        for edge, (operation, _) in zip(kept, pairs, strict=True):
            position = SPACES[supernet.space].primitives(reduction)[edge].index(operation)
            operations[edge] = [*none[:position], one, *none[position + 1 :]]
        edges: list[Tensor | None] = [None] * len(betas)
        for into in EDGES_INTO:
            of_node = [edge for edge in into if edge in kept]
            total = betas[of_node].sum() if supernet.edge_normalization else one
            for edge in of_node:
                edges[edge] = betas[edge] / total
        mixtures[reduction] = (operations, edges)
    return mixtures


@contextmanager
def kept_statistics(supernet: Supernet) -> Iterator[None]:
    """Context at whose end all running statistics of the batch norms are what they were."""
    buffers = dict(supernet.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        yield
    finally:
        for name, buffer in buffers.items():
            buffer.copy_(before[name])


@torch.no_grad()
def recalibrate(supernet: Supernet, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace the running statistics of all batch norms that a pass uses by their means over batches of equal size.

    No path is dropped.
    """
    norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    training, drop_path = supernet.training, supernet.drop_path
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    supernet.drop_path = 0.0
    if not training:
        supernet.train()
    for images, _ in batches:
        supernet(images)
    if not training:
        supernet.eval()
    supernet.drop_path = drop_path
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
