"""The super-network of `pcdarts.supernet`, computed several times faster: same weights, results and exact gradients.

Edges that leave the same states are computed together (`pcdarts.fast.fan`), images are channels_last, and pointwise
convolutions, batch norms and mixture weights are one matrix product (`pcdarts.fast.folding`).  Shapes: N images, C
channels of a state, c = C / k of them sampled; E = 14 edges, here ordered by source.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pcdarts.config import SearchConfig
from pcdarts.fast.depthwise import embed
from pcdarts.fast.edge_group import CellPlan
from pcdarts.fast.fan import FanWeights, Norms
from pcdarts.fast.fast_cell import CellFunction, CellTensors
from pcdarts.genotype import INPUTS, PRIMITIVES
from pcdarts.operations import FactorizedReduce, FirstChannels
from pcdarts.spaces import EDGES, NODES
from pcdarts.supernet import SearchCell, Supernet, Weights

BY_SOURCE = sorted(range(len(EDGES)), key=EDGES.__getitem__)
"""Edges in the order of this file: by source, then by target."""
MOMENTUM = 0.1
"""As in nn.BatchNorm2d."""
NAMES = "skip_connect max_pool_3x3 avg_pool_3x3 sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5".split()
OPERATIONS = SKIP, MAX_POOL, AVG_POOL, SEP3, SEP5, DIL3, DIL5 = tuple(PRIMITIVES.index(name) for name in NAMES)
"""Primitives in the order of `FanWeights`."""


class FastCell(SearchCell):
    """A cell whose edges are computed in groups that leave the same states."""

    fast = True

    def forward(
        self,
        before_previous: Tensor,
        previous: Tensor,
        alphas: Tensor | Sequence[Weights],
        betas: Weights,
        *,
        generator: torch.Generator,
        drop_path: float = 0.0,
    ) -> Tensor:
        """Outputs of the two cells before, alphas (E, P) and edge weights (E,), by target, to (N, 4 C, H, W).

        A pass that drops paths or leaves edges out is computed as `SearchCell` does.
        """
        if not self.fast or drop_path or not (isinstance(alphas, Tensor) and isinstance(betas, Tensor)):
            return super().forward(before_previous, previous, alphas, betas, generator=generator, drop_path=drop_path)
        before_previous, previous = (
            x.contiguous(memory_format=torch.channels_last) for x in (before_previous, previous)
        )
        edges: list[Any] = [self.edges[e] for e in BY_SOURCE]  # a Module's children are untyped
        orders = None
        if self.sampling == "random":
            previous_inputs: Any = self.preprocess1
            draws = [
                torch.randperm(previous_inputs[2].num_features, generator=generator) for _ in range(INPUTS + NODES)
            ]
            orders = [order.to(previous.device) for order in draws]
        plan = CellPlan(
            k=self.k,
            shuffle=self.sampling == "shuffle",
            stride=edges[0].stride,
            spatial_stride=edges[0].spatial_stride,
            side_operation=edges[0].side_operation,
            halve=isinstance(self.preprocess0, FactorizedReduce),
            orders=orders,
            running=None if self.training else self._running_statistics(edges),
        )
        side = None
        if edges[0].side_operation != "none":
            side = _stack([[_side_layers(edge)[0] for edge in edges]]).flatten(3)
        betas = _pick(betas, BY_SOURCE)
        mixture = _pick((betas[:, None] * _pick(alphas, BY_SOURCE)).t(), OPERATIONS)
        weights = _gather(edges, mixture)
        convolution0, convolution1 = self._convolutions()
        tensors = CellTensors(
            before_previous=before_previous,
            previous=previous,
            convolution0=convolution0,
            convolution1=convolution1,
            betas=betas,
            side=side,
            **weights._asdict(),
        )
        out: Tensor = CellFunction.apply(plan, *tensors)
        if self.training:
            self._update_running_statistics(edges, plan, previous, out)
        return out

    def _convolutions(self) -> tuple[Tensor, Tensor]:
        """Weights (C, q) of the preprocessing."""
        layers: tuple[Any, Any] = (self.preprocess0, self.preprocess1)
        first, second = (
            _reduction_matrix(layer) if isinstance(layer, FactorizedReduce) else layer[1].weight.flatten(1)
            for layer in layers
        )
        return first, second

    def _norms(self, edges: Sequence[Any]) -> dict[str, list[list[nn.BatchNorm2d]]]:
        before: Any = self.preprocess0
        later: Any = self.preprocess1
        first = before.norm if isinstance(before, FactorizedReduce) else before[2]
        return {"inputs": [[first], [later[2]]], **_edge_norms(edges)}

    def _running_statistics(self, edges: Sequence[Any]) -> Norms:
        def stack(kinds: list[list[nn.BatchNorm2d]], name: str) -> Tensor:
            return torch.stack([getattr(norm, name) for kind in kinds for norm in kind]).unflatten(0, (len(kinds), -1))

        norms = self._norms(edges).items()
        return {name: (stack(kinds, "running_mean"), stack(kinds, "running_var")) for name, kinds in norms}

    @torch.no_grad()
    def _update_running_statistics(self, edges: Sequence[Any], plan: CellPlan, previous: Tensor, out: Tensor) -> None:
        """Update the running statistics by those of the batch, as nn.BatchNorm2d does."""
        counts: list[Tensor] = []
        means: list[Tensor] = []
        variances: list[Tensor] = []
        new_means: list[Tensor] = []
        biased: list[Tensor] = []
        corrections: list[float] = []
        for name, kinds in self._norms(edges).items():
            spatial_stride = plan.spatial_stride if name not in ("inputs", "side") else 1
            n, _, h, w = (previous if name == "inputs" else out).shape
            pixels = n * -(-h // spatial_stride) * -(-w // spatial_stride)
            if pixels == 1:
                raise ValueError("A batch norm needs more than one value per channel in training mode")
            norms: list[Any] = [norm for kind in kinds for norm in kind]
            mean, variance = plan.statistics[name]
            counts += [norm.num_batches_tracked for norm in norms]
            means += [norm.running_mean for norm in norms]
            variances += [norm.running_var for norm in norms]
            new_means += mean.flatten(0, 1).unbind()
            biased.append(variance.flatten(0, 1))
            corrections.append(pixels / (pixels - 1))
        new_variances = [v for stack in torch._foreach_mul(biased, corrections) for v in stack.unbind()]
        torch._foreach_add_(counts, 1)
        torch._foreach_lerp_(means, new_means, MOMENTUM)
        torch._foreach_lerp_(variances, new_variances, MOMENTUM)


class FastSupernet(Supernet):
    """`Supernet` with fast cells: same state dict, same draws, same results up to rounding.

    Gradients can be taken once: differentiating them again raises RuntimeError.  Inside `with supernet.reference():`
    the cells compute like those of `Supernet`, which supports second derivatives.  Raises ValueError for spaces other
    than darts.
    """

    cell_type = FastCell

    def __init__(
        self, config: SearchConfig, classes: int, image_channels: int = 3, *, generator: torch.Generator
    ) -> None:
        if config.space != "darts":
            raise ValueError(f"space is {config.space!r}, but the fast super-network supports only darts; use Supernet")
        super().__init__(config, classes, image_channels, generator=generator)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Context that computes like `Supernet`: differentiable any number of times, but slow."""
        self._set_fast(False)
        try:
            yield
        finally:
            self._set_fast(True)

    def _set_fast(self, fast: bool) -> None:
        for cell in self.cells:
            assert isinstance(cell, FastCell)
            cell.fast = fast


def make_supernet(config: SearchConfig, classes: int, image_channels: int, *, generator: torch.Generator) -> Supernet:
    """The super-network of a search: the fast one if `config.implementation` is fast and the space is darts."""
    fast = config.implementation == "fast" and config.space == "darts"
    return (FastSupernet if fast else Supernet)(config, classes, image_channels, generator=generator)


def _pick(x: Tensor, order: Sequence[int]) -> Tensor:
    """Rows of x in a fixed order; indexing with a list would copy it to a GPU each time, and wait for it."""
    rows = x.unbind()
    return torch.stack([rows[i] for i in order])


def _gather(edges: Sequence[Any], mixture: Tensor) -> FanWeights:
    """Weights of the edges of a cell, stacked; mixture (P, E)."""

    def layers(operation: int, stage: int, position: int) -> list[nn.Module]:
        return [edge.operations[operation][stage][position] for edge in edges]

    small = _stack([layers(SEP3, 0, 1), layers(SEP3, 1, 1), layers(DIL3, 0, 1)]).squeeze(3)
    large = _stack([layers(SEP5, 0, 1), layers(SEP5, 1, 1), layers(DIL5, 0, 1)]).squeeze(3)
    apart = computed_apart(small)
    pointwise = [layers(operation, stage, 2) for operation, stage in ((SEP3, 0), (SEP5, 0), (SEP3, 1), (SEP5, 1))]
    pointwise += [layers(operation, 0, 2) for operation in (DIL3, DIL5)]
    reduce = None
    if edges[0].stride == 2:
        reduce = torch.stack([_reduction_matrix(edge.operations[SKIP]) for edge in edges if edge.stride == 2])[None]
    return FanWeights(
        mixture=mixture,
        small=small if apart else None,
        large=large if apart else _join(small, large),
        pointwise=_stack(pointwise).flatten(3),
        reduce=reduce,
    )


def computed_apart(kernels: Tensor) -> bool:
    """Whether small and large depthwise kernels are faster in calls of their own, where the kernels are."""
    return kernels.is_cpu


def _join(small: Tensor, large: Tensor) -> Tensor:
    """All depthwise kernels as 5x5 kernels, in the order of `FanWeights`."""
    (small3, second3, dilated3), (large5, second5, dilated5) = small.unbind(), large.unbind()
    return torch.stack([embed(small3), large5, embed(dilated3, dilation=2), dilated5, embed(second3), second5])


def _reduction_matrix(operation: Any) -> Tensor:
    """Both 1x1 convolutions of a `FactorizedReduce` as one matrix (c, 2 c), from even and odd pixels."""
    even, odd = (layer.weight.flatten(1) for layer in (operation.even, operation.odd))
    return torch.block_diag(even, odd)


def _stack(rows: Sequence[Sequence[nn.Module]]) -> Tensor:
    """Weights of layers in rows of equal length: (rows, E, *weight)."""
    weights: list[Any] = [layer.weight for row in rows for layer in row]
    return torch.stack(weights).unflatten(0, (len(rows), -1))


def _side_layers(edge: Any) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Convolution and batch norm of an edge's side operation."""
    layers: Any = edge.side.operation if isinstance(edge.side, FirstChannels) else edge.side
    return layers[-2], layers[-1]


def _edge_norms(edges: Sequence[Any]) -> dict[str, list[list[nn.BatchNorm2d]]]:
    """The batch norms of a cell, in the order of `Norms`: by kind, then by edge."""

    def layers(operation: int, *path: int) -> list[nn.BatchNorm2d]:
        found = []
        for edge in edges:
            layer = edge.operations[operation]
            for position in path:
                layer = layer[position]
            found.append(layer)
        return found

    norms = {
        "middle": [layers(SEP3, 0, 3), layers(SEP5, 0, 3)],
        "last": [
            *(layers(pool, 1) for pool in (MAX_POOL, AVG_POOL)),
            *(layers(separable, 1, 3) for separable in (SEP3, SEP5)),
            *(layers(dilated, 0, 3) for dilated in (DIL3, DIL5)),
        ],
    }
    if edges[0].stride == 2:
        norms["reduce"] = [[edge.operations[SKIP].norm for edge in edges if edge.stride == 2]]
    if edges[0].side_operation != "none":
        norms["side"] = [[_side_layers(edge)[1] for edge in edges]]
    return norms
