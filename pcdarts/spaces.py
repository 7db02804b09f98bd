"""Search spaces: the candidate operations of every edge of a cell.  Needs the standard library alone.

`darts` is the space of DARTS and PC-DARTS.  `s1` to `s4` are those of Zela et al., "Understanding and Robustifying
Differentiable Architecture Search" (ICLR 2020), with the lists of github.com/automl/RobustDARTS; in these spaces
DARTS finds degenerate cells.
"""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pcdarts.genotype import INPUTS, OPERATIONS, PRIMITIVES, Genotype

SpaceName = Literal["darts", "s1", "s2", "s3", "s4"]

NODES = 4
"""Intermediate nodes of a cell."""
EDGES = tuple((source, target) for target in range(INPUTS, INPUTS + NODES) for source in range(target))
"""(source, target) of the 14 edges, ordered by target."""
EDGES_INTO = tuple(
    tuple(e for e, (_, t) in enumerate(EDGES) if t == target) for target in range(INPUTS, INPUTS + NODES)
)
"""Indices of the edges that enter each intermediate node: 2, 3, 4 and 5 edges."""

Primitives = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Space:
    """The candidate operations of all 14 edges, the same number on each.  Raises ValueError for anything else."""

    normal: Primitives
    """Operations of each edge of the normal cell: edges as in `EDGES`, operations as the columns of alpha."""
    reduce: Primitives
    """As `normal`, for the reduction cell."""

    def __post_init__(self) -> None:
        for name, cell in (("normal", self.normal), ("reduce", self.reduce)):
            if len(cell) != len(EDGES):
                raise ValueError(f"space: {name} has {len(cell)} edges, but must have {len(EDGES)}")
            for edge, names in enumerate(cell):
                where = f"space: {name}[{edge}] is {names!r}, but must"
                if len(names) != self.operations_per_edge:
                    raise ValueError(f"{where} have {self.operations_per_edge} operations, as the first edge does")
                if len(set(names)) < len(names) or not set(names) <= set(OPERATIONS):
                    raise ValueError(f"{where} name different operations of {', '.join(OPERATIONS)}")
                if not set(names) - {"none"}:
                    raise ValueError(f"{where} name an operation that a cell can keep")

    @property
    def operations_per_edge(self) -> int:
        """P, the number of columns of alpha."""
        return len(self.normal[0])

    def primitives(self, reduction: bool) -> Primitives:
        """The operations of the edges of a cell type."""
        return self.reduce if reduction else self.normal


def _uniform(*names: str) -> Space:
    return Space((names,) * len(EDGES), (names,) * len(EDGES))


def _per_edge(text: str) -> Primitives:
    return tuple(tuple(_SHORT[letter] for letter in edge) for edge in text.split())


_SHORT = {
    "m": "max_pool_3x3",
    "a": "avg_pool_3x3",
    "i": "skip_connect",
    "s": "sep_conv_3x3",
    "d": "dil_conv_3x3",
    "D": "dil_conv_5x5",
}

SPACES: Mapping[SpaceName, Space] = {
    "darts": _uniform(*PRIMITIVES),
    "s1": Space(
        # One group per node.
        normal=_per_edge("id iD  iD is id  mi is is id  is mi id dD dD"),
        reduce=_per_edge("ma md  ma ma iD  ma ms id iD  ma ma iD iD iD"),
    ),
    "s2": _uniform("skip_connect", "sep_conv_3x3"),
    "s3": _uniform("none", "skip_connect", "sep_conv_3x3"),
    "s4": _uniform("noise", "sep_conv_3x3"),
}
"""Search spaces by name."""


def random_genotype(space: Space, seed: int) -> Genotype:
    """A random pair of cells, the same for the same seed.

    Every node reads two different earlier nodes: all pairs are equally likely, and so are all operations of the edges,
    except `none`.
    """
    generator = random.Random(f"{seed}/random cell")

    def cell(primitives: Primitives) -> list[tuple[str, int]]:
        kept = [edge for edges in EDGES_INTO for edge in generator.choice(list(itertools.combinations(edges, 2)))]
        return [
            (generator.choice([name for name in primitives[edge] if name != "none"]), EDGES[edge][0]) for edge in kept
        ]

    concat = range(INPUTS, INPUTS + NODES)
    return Genotype(cell(space.normal), concat, cell(space.reduce), concat)
