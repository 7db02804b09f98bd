"""Measures of alpha, beta and the derived cells after an epoch: pure functions that take a few milliseconds.

Shapes: E = 14 edges ordered by target node, P operations of an edge.  `arch` holds `alphas_normal`, `alphas_reduce`
(E, P) and `betas_normal`, `betas_reduce` (E,), raw values before the softmax.  Depth and width: Shu et al.,
"Understanding Architectures Learnt by Cell-based Neural Architecture Search" (ICLR 2020).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pcdarts.genotype import INPUTS, Genotype
from pcdarts.results import EpochRecord, SearchResult
from pcdarts.spaces import EDGES, EDGES_INTO, SPACES, Primitives, SpaceName
from pcdarts.supernet import softmax_into_nodes

Pairs = Sequence[tuple[str, int]]

POOLS = ("max_pool_3x3", "avg_pool_3x3")
TRAINING_PARTS = ("data", "weights", "alpha")
TIMES = ("eigenvalue_seconds", *(f"seconds_{part}" for part in (*TRAINING_PARTS, "validation", "metrics")))
"""Columns that a SearchResult sums over the epochs."""


def architecture_columns(
    arch: Mapping[str, Tensor],
    previous: EpochRecord | None,
    genotype: Genotype,
    edge_normalization: bool,
    space: SpaceName = "darts",
) -> dict[str, Any]:
    """Columns of an EpochRecord that follow from alpha, beta, those of the previous epoch and the derived cells."""
    columns: dict[str, Any] = {
        "alpha_kendall_tau": None if previous is None else alpha_kendall_tau(arch, previous),
        "alpha_norm": norm([arch["alphas_normal"], arch["alphas_reduce"]]),
        "beta_norm": norm([arch["betas_normal"], arch["betas_reduce"]]),
    }
    for cell, pairs in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        primitives = SPACES[space].primitives(cell == "reduce")
        alphas, betas = arch[f"alphas_{cell}"].double(), arch[f"betas_{cell}"].double()
        weights = softmax_into_nodes(betas)
        shares = weights if edge_normalization else torch.ones_like(weights)
        measures = {
            "alphas": tuple(map(tuple, alphas.tolist())),
            "betas": tuple(betas.tolist()),
            "alpha_entropy": float(_entropy(alphas.softmax(dim=1)).mean()),
            "beta_entropy": beta_entropy(weights),
            "alpha_margin": alpha_margin(alphas.softmax(dim=1), pairs, primitives),
            "edge_margin": edge_margin(alphas.softmax(dim=1) * shares[:, None], pairs, primitives),
        }
        columns |= {f"{name}_{cell}": value for name, value in measures.items()}
    return columns | cell_columns(genotype)


def cell_columns(genotype: Genotype) -> dict[str, Any]:
    """Columns that follow from the cells alone."""
    columns: dict[str, Any] = {}
    for cell, pairs in (("normal", genotype.normal), ("reduce", genotype.reduce)):
        skips, pools = (sum(operation in names for operation, _ in pairs) for names in (("skip_connect",), POOLS))
        measures = {
            "skip_connections": skips,
            "pools": pools,
            "parameter_free_share": (skips + pools) / len(pairs),
            "depth": depth(pairs),
            "width": width(pairs),
        }
        columns |= {f"{name}_{cell}": value for name, value in measures.items()}
    return columns


def time_columns(seconds: Mapping[str, float], images: int) -> dict[str, Any]:
    """Seconds of the parts of an epoch, and training images per second."""
    parts = {part: seconds.get(part, 0.0) for part in (*TRAINING_PARTS, "validation", "metrics")}
    training = sum(parts[part] for part in TRAINING_PARTS)
    return {f"seconds_{part}": value for part, value in parts.items()} | {"images_per_second": images / training}


def chosen_columns(history: Sequence[EpochRecord], chosen: int) -> dict[str, Any]:
    """Columns that a SearchResult shares with the EpochRecords: the last values at or before the chosen epoch.

    Times are summed over the whole history instead, and images per second follow from the sums.
    """
    shared = {field.name for field in dataclasses.fields(SearchResult)} - {"seconds", "peak_memory_bytes", "warnings"}
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(EpochRecord):
        if field.name in shared:
            values = [getattr(record, field.name) for record in history[: chosen + 1]]
            columns[field.name] = next((value for value in reversed(values) if value is not None), None)
    columns |= {name: sum(getattr(record, name) or 0.0 for record in history) for name in TIMES}
    training = [sum(getattr(record, f"seconds_{part}") for part in TRAINING_PARTS) for record in history]
    images = sum(record.images_per_second * t for record, t in zip(history, training, strict=True))
    return columns | {"images_per_second": images / sum(training)}


def beta_entropy(weights: Tensor) -> float:
    """Mean over the nodes of the entropy of the edge weights (E,), divided by its maximum."""
    shares = [float(_entropy(weights[list(edges)])) / math.log(len(edges)) for edges in EDGES_INTO]
    return sum(shares) / len(shares)


def alpha_margin(weights: Tensor, pairs: Pairs, primitives: Primitives) -> float:
    """Mean over the kept edges of a cell: weight of the chosen operation minus that of the next best one.

    Weights are softmax(alpha) (E, P), without `none`.  The margin of an edge's only operation is its weight.
    """
    margins = []
    for edge, operation in zip(kept_edges(pairs), (operation for operation, _ in pairs), strict=True):
        by_name = dict(zip(primitives[edge], weights[edge].tolist(), strict=True))
        rivals = [weight for name, weight in by_name.items() if name not in ("none", operation)]
        margins.append(by_name[operation] - max(rivals, default=0.0))
    return sum(margins) / len(margins)


def edge_margin(scores: Tensor, pairs: Pairs, primitives: Primitives) -> float:
    """Mean over the nodes with a dropped edge: score of the worst kept edge minus that of the best dropped one.

    An edge's score is the largest of its operations' scores (E, P), without `none`.
    """
    best = [
        max(score for name, score in zip(names, row, strict=True) if name != "none")
        for names, row in zip(primitives, scores.tolist(), strict=True)
    ]
    kept, margins = set(kept_edges(pairs)), []
    for edges in EDGES_INTO:
        dropped = [best[e] for e in edges if e not in kept]
        if dropped:
            margins.append(min(best[e] for e in edges if e in kept) - max(dropped))
    return sum(margins) / len(margins)


def kept_edges(pairs: Pairs) -> list[int]:
    """Index of the edge of each (operation, source) of a cell."""
    return [EDGES.index((source, INPUTS + position // 2)) for position, (_, source) in enumerate(pairs)]


def depth(pairs: Pairs) -> int:
    """Operations on the longest path from an input of the cell to a node, without the edge to the cell's output."""
    depths = [0] * INPUTS
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        depths.append(1 + max(depths[source] for _, source in (first, second)))
    return max(depths)


def width(pairs: Pairs) -> float:
    """Number of nodes that read the inputs of the cell; a node that reads one input counts half."""
    return sum(source < INPUTS for _, source in pairs) / 2


def alpha_kendall_tau(arch: Mapping[str, Tensor], previous: EpochRecord) -> float:
    """Mean of `kendall_tau` over the edges of both cells; NaN if it is undefined on all edges."""
    taus = [
        kendall_tau(arch[name].double(), torch.tensor(before, dtype=torch.float64))
        for name, before in (("alphas_normal", previous.alphas_normal), ("alphas_reduce", previous.alphas_reduce))
    ]
    return float(torch.cat(taus).nanmean())


def kendall_tau(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's tau-b of each row of a and b (E, P), as (E,); NaN for a row with all values tied or with a NaN.

    Over all pairs of columns: (concordant - discordant) / sqrt(pairs untied in a x pairs untied in b).
    """
    orders = [(x[:, :, None] - x[:, None, :]).sign() for x in (a, b)]
    first, second = orders
    untied = first.square().sum((1, 2)) * second.square().sum((1, 2))
    taus = (first * second).sum((1, 2)) / untied.sqrt()
    return taus.masked_fill((a + b).isnan().any(dim=1), math.nan)  # the sign of NaN is 0


def norm(tensors: Sequence[Tensor]) -> float:
    """L2 norm of all values of some tensors together."""
    return float(torch.stack([t.detach().double().square().sum() for t in tensors]).sum().sqrt())


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(dim=-1)
