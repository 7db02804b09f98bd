"""The super-network of `pcdarts.supernet`, computed several times faster: same weights, results and exact gradients.

Edges that leave the same states are computed together (`pcdarts.fan`), images are channels_last, and pointwise
convolutions, batch norms and mixture weights are one matrix product (`pcdarts.folding`).  Nodes add up inside the cell's
output, which, with the cell's two inputs, is all that is kept for the backward pass.  Shapes: N images, C channels of a
state, c = C / k of them sampled, S states and F targets of a fan, H x W pixels, h x w of the output; E = 14 edges, here
ordered by source.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pcdarts.depthwise import embed
from pcdarts.fan import Fan, FanWeights, Norms, avg_pool, avg_pool_backward, image, max_pool, max_pool_backward, relu_backward, rows
from pcdarts.folding import Fold, apply_folds, fold, fold_backward
from pcdarts.genotype import INPUTS, PRIMITIVES
from pcdarts.supernet import EDGES, NODES, SearchCell, Supernet

BY_SOURCE = sorted(range(len(EDGES)), key=EDGES.__getitem__)
"""Edges in the order of this file: by source, then by target."""
SEPARABLE = tuple(PRIMITIVES.index(name) for name in ("sep_conv_3x3", "sep_conv_5x5"))
DILATED = tuple(PRIMITIVES.index(name) for name in ("dil_conv_3x3", "dil_conv_5x5"))
POOLS = tuple(PRIMITIVES.index(name) for name in ("max_pool_3x3", "avg_pool_3x3"))
SKIP = PRIMITIVES.index("skip_connect")


class FastSupernet(Supernet):
    """`Supernet` with fast cells: same state dict, same draws, same results up to rounding.

    Gradients can be taken once: differentiating them again raises RuntimeError.  Inside `with supernet.reference():`
    the cells compute as those of `Supernet` do, and second derivatives are right.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for cell in self.cells:
            cell.__class__ = FastCell

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Compute as `Supernet` does: differentiable any number of times, and slow."""
        for cell in self.cells:
            cell.__class__ = SearchCell
        try:
            yield
        finally:
            for cell in self.cells:
                cell.__class__ = FastCell


class FastCell(SearchCell):
    """A cell whose edges are computed in four groups, by the states that they leave."""

    def forward(
        self, before_previous: Tensor, previous: Tensor, alphas: Tensor, betas: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Outputs of the two cells before, alphas (E, P) and edge weights (E,), by target, to (N, 4 C, H, W)."""
        states = torch.cat([self.preprocess0(before_previous), self.preprocess1(previous)], dim=1)
        edges = [self.edges[edge] for edge in BY_SOURCE]
        plan = Plan(
            k=self.k,
            sampling=self.sampling,
            stride=edges[0].stride,
            spatial_stride=edges[0].spatial_stride,
            orders=self._orders(states.shape[1] // INPUTS, generator),
            running=None if self.training else running_statistics(edges),
            statistics=[],
        )
        betas = betas[BY_SOURCE]
        weights = gather_weights(edges, betas[:, None] * alphas[BY_SOURCE])
        side = None if isinstance(edges[0].side, nn.Identity) else _matrices(edge.side[1] for edge in edges)[None]
        out: Tensor = CellFunction.apply(plan, states, betas, side, *weights)
        if self.training:
            update_running_statistics(edges, plan.statistics, out)
        return out

    def _orders(self, channels: int, generator: torch.Generator) -> list[Tensor] | None:
        """For every state its channels (C,), sampled ones first; None where these are the first ones anyway."""
        if self.sampling != "random":
            return None
        return [torch.randperm(channels, generator=generator) for _ in range(INPUTS + NODES)]
