"""The super-network of PC-DARTS: all candidate cells at once, weighted by alpha and beta.

Paper: Xu et al., "Partially-Connected Neural Architecture Search for Reduced Computational Redundancy" (TPAMI 2021),
section 3; ICLR 2020 version: arXiv 1907.05737.  Shapes: N images, C channels, H x W pixels, E = 14 edges of a cell
ordered by target node, P primitives of an edge: 8 in the space darts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdarts.config import SearchConfig
from pcdarts.genotype import INPUTS, PRIMITIVES, Genotype
from pcdarts.operations import (
    STEM_MULTIPLIER,
    apply_stem,
    cell_inputs,
    cifar_stem,
    drop_path_per_image,
    imagenet_stem,
    initialize,
    make_operation,
    make_side_operation,
    reduction_layers,
)
from pcdarts.spaces import EDGES, EDGES_INTO, NODES, SPACES, SpaceName

Weights = Tensor | Sequence[Tensor | None]
"""Weights (P,) of the operations of an edge, or (E,) of the edges of a cell; None leaves one out of the computation."""
Mixtures = Mapping[bool, tuple[Tensor | Sequence[Weights], Weights]]
"""For the normal (False) and the reduction cell (True): weights of the operations (E, P) and of the edges (E,)."""


class Architecture(nn.Module):
    """Alpha and beta of both cell types: raw values before the softmax, drawn from 1e-3 * N(0, 1)."""

    def __init__(self, operations_per_edge: int, generator: torch.Generator) -> None:
        super().__init__()

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(1e-3 * torch.randn(*shape, generator=generator))

        self.alphas_normal = draw(len(EDGES), operations_per_edge)
        self.alphas_reduce = draw(len(EDGES), operations_per_edge)
        self.betas_normal = draw(len(EDGES))
        self.betas_reduce = draw(len(EDGES))

    def mixture(self, reduction: bool) -> tuple[Tensor, Tensor]:
        """softmax(alpha) (E, P) and softmax(beta) (E,) of a cell type."""
        alphas = self.alphas_reduce if reduction else self.alphas_normal
        betas = self.betas_reduce if reduction else self.betas_normal
        return alphas.softmax(dim=1), softmax_into_nodes(betas)


def softmax_into_nodes(betas: Tensor) -> Tensor:
    """Softmax of beta (E,) over the edges that enter each node (edge normalization, section 3.3)."""
    return torch.cat([part.softmax(dim=0) for part in betas.split([len(edges) for edges in EDGES_INTO])])


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave `groups` blocks of channels (N, C, H, W), so that the next node samples different channels."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class MixedEdge(nn.Module):
    """An edge: C / k sampled channels pass all primitives, weighted by softmax(alpha); the others bypass them."""

    def __init__(
        self, config: SearchConfig, channels: int, stride: int, primitives: Sequence[str] = PRIMITIVES
    ) -> None:
        super().__init__()
        self.k, self.stride, self.spatial_stride = config.k, stride, config.spatial_stride
        sampled = channels // config.k
        self.operations = nn.ModuleList()
        for name in primitives:
            operation = make_operation(name, sampled, stride, affine=False)
            if "pool" in name:
                operation = nn.Sequential(operation, nn.BatchNorm2d(sampled, affine=False))
            self.operations.append(operation)
        self.side_operation = config.side_operation if sampled < channels else "none"
        self.side = make_side_operation(self.side_operation, channels, channels - sampled)

    def forward(self, sampled: Tensor, bypassed: Tensor, alphas: Weights) -> Tensor:
        """Sampled (N, C/k, H, W), bypassed (N, C - C/k, H, W), softmax(alpha) (P,) to (N, C, H/stride, W/stride)."""
        size = [-(-side // self.stride) for side in sampled.shape[2:]]
        if self.spatial_stride == 2:
            sampled = functional.avg_pool2d(sampled, 2, ceil_mode=True)
        weighted = [pair for pair in zip(alphas, self.operations, strict=True) if pair[0] is not None]
        mixed = sum(weight * operation(sampled) for weight, operation in weighted)
        assert isinstance(mixed, Tensor)
        if self.spatial_stride == 2:
            mixed = functional.interpolate(mixed, size=size, mode="nearest")
        if not bypassed.shape[1]:
            return mixed
        if self.stride == 2:
            bypassed = functional.max_pool2d(bypassed, 2, ceil_mode=True)
        return torch.cat([mixed, self.side(bypassed)], dim=1)


class SearchCell(nn.Module):
    """A cell with a mixed edge between every pair of nodes."""

    def __init__(
        self,
        config: SearchConfig,
        channels_before: tuple[int, int],
        channels: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        self.k, self.sampling, self.reduction = config.k, config.channel_sampling, reduction
        self.preprocess0, self.preprocess1 = cell_inputs(
            channels_before, channels, halve=reduction_before, affine=False
        )
        self.edges = nn.ModuleList(
            MixedEdge(config, channels, 2 if reduction and source < INPUTS else 1, primitives)
            for (source, _), primitives in zip(EDGES, SPACES[config.space].primitives(reduction), strict=True)
        )

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
        """Outputs of the two cells before, alphas (E, P) and edge weights (E,) to (N, 4 C, H, W).

        `drop_path` is the probability of dropping an edge's output for an image.
        """
        states = [self.preprocess0(before_previous), self.preprocess1(previous)]
        parts = [self._sample(state, generator) for state in states]
        for edges in EDGES_INTO:
            kept = [(e, weight) for e in edges if (weight := betas[e]) is not None]
            outputs = [self._edge(e, parts[EDGES[e][0]], alphas[e]) for e, _ in kept]
            if drop_path:
                outputs = [drop_path_per_image(output, drop_path, generator) for output in outputs]
            node = torch.stack([w * output for (_, w), output in zip(kept, outputs, strict=True)]).sum(dim=0)
            states.append(channel_shuffle(node, self.k) if self.sampling == "shuffle" else node)
            parts.append(self._sample(states[-1], generator))
        return torch.cat(states[INPUTS:], dim=1)

    def _sample(self, state: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Split a state into sampled and bypassed channels; the last item restores their order."""
        count = state.shape[1]
        if self.sampling != "random":
            return state[:, : count // self.k], state[:, count // self.k :], None
        order = torch.randperm(count, generator=generator).to(state.device)
        sampled, bypassed = state[:, order[: count // self.k]], state[:, order[count // self.k :]]
        return sampled, bypassed, order.argsort()

    def _edge(self, edge: int, parts: tuple[Tensor, Tensor, Tensor | None], alphas: Weights) -> Tensor:
        sampled, bypassed, original_order = parts
        out: Tensor = self.edges[edge](sampled, bypassed, alphas)
        return out if original_order is None else out[:, original_order]


class Supernet(nn.Module):
    """The super-network.  `weights()` are trained by SGD on the training half, `architecture` by Adam on the other.

    All draws (initial weights, random channels, noise, dropped paths) come from `generator`, which is on the CPU.
    `drop_path` is the probability of dropping an edge's output for an image in training; set it in every epoch.
    """

    cell_type: type[SearchCell] = SearchCell

    def __init__(
        self, config: SearchConfig, classes: int, image_channels: int = 3, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.edge_normalization, self.generator = config.edge_normalization, generator
        self.autocast = config.precision == "bf16"
        self.space, self.drop_path = config.space, 0.0
        self._mixtures: Mixtures | None = None
        stem_channels = STEM_MULTIPLIER * config.channels
        make_stem = cifar_stem if config.stem == "cifar" else imagenet_stem
        self.stem = make_stem(image_channels, stem_channels)
        self.cells = nn.ModuleList()
        before, channels, reduction_before = (stem_channels, stem_channels), config.channels, config.stem == "imagenet"
        for layer in range(config.layers):
            reduction = layer in reduction_layers(config.layers)
            channels = 2 * channels if reduction else channels
            self.cells.append(self.cell_type(config, before, channels, reduction, reduction_before))
            before, reduction_before = (before[1], NODES * channels), reduction
        self.classifier = nn.Linear(before[1], classes)
        initialize(self, generator)
        self.architecture = Architecture(SPACES[config.space].operations_per_edge, generator)

    def weights(self) -> dict[str, nn.Parameter]:
        """All parameters except alpha and beta, by name."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("architecture.")}

    def reference(self) -> AbstractContextManager[None]:
        """Context in which second derivatives are supported; a faster implementation may lack them outside."""
        return nullcontext()

    @contextmanager
    def mixed_by(self, mixtures: Mixtures) -> Iterator[None]:
        """Context in which operations and edges have these weights instead of those of alpha and beta."""
        self._mixtures = mixtures
        try:
            yield
        finally:
            self._mixtures = None

    def mixtures(self) -> Mapping[bool, tuple[Tensor, Tensor]]:
        """Weights of operations and edges from alpha and beta; without edge normalization all edges have weight 1."""
        found = {}
        for reduction in (False, True):
            alphas, betas = self.architecture.mixture(reduction)
            found[reduction] = (alphas, betas if self.edge_normalization else torch.ones_like(betas))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, image_channels, H, W) to logits (N, classes)."""
        if not self.autocast:
            return self._logits(images)
        with torch.autocast(images.device.type, torch.bfloat16):
            return self._logits(images).float()

    def _logits(self, images: Tensor) -> Tensor:
        before_previous, previous = apply_stem(self.stem, images)
        mixtures = self._mixtures or self.mixtures()
        drop_path = self.drop_path if self.training else 0.0
        for cell in self.cells:
            assert isinstance(cell, SearchCell)
            output = cell(
                before_previous, previous, *mixtures[cell.reduction], generator=self.generator, drop_path=drop_path
            )
            before_previous, previous = previous, output
        return self.classifier(previous.mean(dim=(2, 3)))


def derive_genotype(
    arch: Mapping[str, Tensor], edge_normalization: bool = True, space: SpaceName = "darts"
) -> Genotype:
    """Derive the cells from alpha and beta.

    `arch` holds `alphas_normal`, `alphas_reduce` (14, P) and `betas_normal`, `betas_reduce` (14,), raw values before
    the softmax.  An edge's score is softmax(alpha) * softmax(beta), without `none`; each node keeps its two best edges,
    each with its best operation.  Without edge normalization beta is ignored.  Ties go to the first in order.
    """
    concat = range(INPUTS, INPUTS + NODES)
    cells = {}
    for cell in ("normal", "reduce"):
        scores = arch[f"alphas_{cell}"].detach().double().softmax(dim=1)
        if edge_normalization:
            scores = scores * softmax_into_nodes(arch[f"betas_{cell}"].detach().double())[:, None]
        best = [
            max((score, -p, name) for p, (score, name) in enumerate(zip(row, names, strict=True)) if name != "none")
            for row, names in zip(scores.tolist(), SPACES[space].primitives(cell == "reduce"), strict=True)
        ]
        kept = [edge for edges in EDGES_INTO for edge in sorted(edges, key=lambda edge: -best[edge][0])[:2]]
        cells[cell] = [(best[edge][2], EDGES[edge][0]) for edge in kept]
    return Genotype(cells["normal"], concat, cells["reduce"], concat)
