"""How far the seeds of a setting agree on their cells.

A cell is compared as its set of (target node, input node, operation).  Node numbers are names that a search gives: the
variants "up to isomorphism" match the intermediate nodes as well as they can be matched.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.bootstrap import Floats
from pcdarts.genotype import INPUTS, Genotype
from pcdarts.spaces import SPACES, SpaceName, random_genotype

CellType = Literal["normal", "reduce"]
Triple = tuple[int, int, str]

NOT_KEPT = "not kept"
"""Category of an edge that a cell does not have."""
RANDOM_CELLS = 100
"""Random cells whose agreement is what a search space gives without any search."""


@dataclass(frozen=True, kw_only=True)
class KeptEdge:
    """An edge of a consensus cell."""

    target: int
    """Node that adds the operation up."""
    source: int
    """Node that the operation reads."""
    operation: str
    """Its operation: the most frequent one among the cells that keep this edge."""
    edge_share: float
    """Share of the cells that keep this edge, with whatever operation; 0 to 1."""
    operation_share: float
    """Share of the cells that keep this edge with this operation; 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """What most seeds chose, edge by edge; no single seed need have found it."""

    n: int
    """Cells that were counted."""
    genotype: Genotype
    """The consensus cells."""
    normal: tuple[KeptEdge, ...]
    """Shares behind the pairs of genotype.normal, in their order."""
    reduce: tuple[KeptEdge, ...]
    """Shares behind the pairs of genotype.reduce, in their order."""


@dataclass(frozen=True, kw_only=True)
class CellAgreement:
    """Agreement of the cells of one setting over its seeds; NaN below two cells."""

    n: int
    """Cells."""
    distinct: int
    """Different pairs of cells by digest: isomorphic ones count once."""
    similarity_normal: float
    """Mean similarity over all pairs of seeds, normal cell; 0 to 1."""
    similarity_reduce: float
    """Mean similarity over all pairs of seeds, reduction cell; 0 to 1."""
    isomorphic_similarity_normal: float
    """The same with nodes matched as well as they can be, normal cell."""
    isomorphic_similarity_reduce: float
    """The same with nodes matched as well as they can be, reduction cell."""
    kappa_normal: float
    """Fleiss' kappa over the edges of the normal cell."""
    kappa_reduce: float
    """Fleiss' kappa over the edges of the reduction cell."""


def summarize_agreement(genotypes: Sequence[Genotype]) -> CellAgreement:
    """Agreement of the genotypes of the seeds of one setting; equal genotypes count as often as they come."""
    return CellAgreement(
        n=len(genotypes),
        distinct=distinct_cells(genotypes),
        similarity_normal=mean_similarity(genotypes, "normal"),
        similarity_reduce=mean_similarity(genotypes, "reduce"),
        isomorphic_similarity_normal=mean_similarity(genotypes, "normal", up_to_isomorphism=True),
        isomorphic_similarity_reduce=mean_similarity(genotypes, "reduce", up_to_isomorphism=True),
        kappa_normal=edge_kappa(genotypes, "normal"),
        kappa_reduce=edge_kappa(genotypes, "reduce"),
    )


@functools.cache
def random_agreement(space: SpaceName) -> CellAgreement:
    """Agreement of independent random cells of the space, always the same ones: more than 0, by every measure.

    The space makes cells alike: every node keeps two edges, the first node all that it has, and edges with few
    operations have little to disagree on.
    """
    return summarize_agreement([random_genotype(SPACES[space], seed) for seed in range(RANDOM_CELLS)])


def triples(genotype: Genotype, cell: CellType) -> frozenset[Triple]:
    """The cell as its set of (target, input, operation); an operation that a node has twice on an input counts once."""
    pairs = genotype.normal if cell == "normal" else genotype.reduce
    return frozenset((place // 2 + INPUTS, source, operation) for place, (operation, source) in enumerate(pairs))


def similarity_matrix(genotypes: Sequence[Genotype], cell: CellType, *, up_to_isomorphism: bool = False) -> Floats:
    """Dice coefficients of all pairs' sets of triples, 2 |A and B| / (|A| + |B|), (n, n): symmetric, 1 on the diagonal.

    For cells of eight different operations: the shared ones of eight.  1 only for equal cells.  Up to isomorphism: the
    largest value over all ways to renumber the intermediate nodes of one cell, the inputs staying what they are; 1 for
    isomorphic cells.  Which nodes are concatenated is not compared.  Memory and time grow with n squared.
    """
    sets = [triples(genotype, cell) for genotype in genotypes]
    places = {triple: place for place, triple in enumerate(sorted(frozenset().union(*sets)))}
    sizes = np.array([len(each) for each in sets], dtype=float)
    members = np.zeros((len(sets), len(places)), dtype=np.float32)  # exact: counts are small
    for row, each in enumerate(sets):
        members[row, [places[triple] for triple in each]] = 1
    shared = members @ members.T
    if up_to_isomorphism:
        nodes = range(INPUTS, max((target for target, _, _ in places), default=INPUTS - 1) + 1)
        for order in itertools.permutations(nodes):
            shared = np.maximum(shared, members @ _renumbered(members, places, dict(zip(nodes, order, strict=True))).T)
    return np.asarray(2 * shared / (sizes[:, None] + sizes[None, :]), dtype=float)


def mean_similarity(genotypes: Sequence[Genotype], cell: CellType, *, up_to_isomorphism: bool = False) -> float:
    """Mean similarity over all pairs of genotypes; NaN below two."""
    n = len(genotypes)
    if n < 2:
        return math.nan
    counts = Counter(genotypes)  # many seeds often share few cells
    weights = np.array(list(counts.values()), dtype=float)
    matrix = similarity_matrix(list(counts), cell, up_to_isomorphism=up_to_isomorphism)
    return float((weights @ matrix @ weights - n) / (n * (n - 1)))  # n: every genotype with itself


def distinct_cells(genotypes: Iterable[Genotype]) -> int:
    """How many different pairs of cells there are by digest: isomorphic ones count once."""
    return len({genotype.digest for genotype in set(genotypes)})


def edge_kappa(genotypes: Sequence[Genotype], cell: CellType) -> float:
    """Fleiss' kappa (1971) of several cells: edges are the subjects, cells the raters, operations the categories.

    A further category is NOT_KEPT.  Two operations on one edge count as a category of their own.  Chance draws the
    categories of all edges by one distribution.  A cell cannot: it keeps two edges into every node, so random cells
    have a kappa above 0, that of `random_agreement`.  Kappa is 1 where all agree on all edges, even if there is a
    single category and chance gives the same; NaN below two cells.  Raises ValueError for cells of different sizes.
    """
    nodes = _node_count(genotypes, cell)
    edges = [(target, source) for target in range(INPUTS, INPUTS + nodes) for source in range(target)]
    n = len(genotypes)
    if n < 2:
        return math.nan
    kept = [_operations_by_edge(genotype, cell) for genotype in genotypes]
    counts = [Counter(" + ".join(sorted(operations.get(edge, (NOT_KEPT,)))) for operations in kept) for edge in edges]
    agreement = [sum(count * (count - 1) for count in counted.values()) / (n * (n - 1)) for counted in counts]
    totals: Counter[str] = sum(counts, Counter())
    chance = sum((total / (n * len(edges))) ** 2 for total in totals.values())
    observed = sum(agreement) / len(edges)
    return 1.0 if observed == 1 else (observed - chance) / (1 - chance)


def consensus(genotypes: Sequence[Genotype]) -> Consensus:
    """The two edges into every node that most genotypes keep, each with its most frequent operation.

    Of equally frequent edges the lower input comes first, of equally frequent operations the first by name.  Raises
    ValueError for no genotypes and for cells of different sizes.
    """
    if not genotypes:
        raise ValueError("consensus of 0 genotypes is not defined; give those of at least one search with a result")
    normal, reduce = _consensus_cell(genotypes, "normal"), _consensus_cell(genotypes, "reduce")
    concats = Counter((tuple(g.normal_concat), tuple(g.reduce_concat)) for g in genotypes)
    normal_concat, reduce_concat = max(sorted(concats), key=lambda pair: concats[pair])
    genotype = Genotype(
        [(edge.operation, edge.source) for edge in normal],
        normal_concat,
        [(edge.operation, edge.source) for edge in reduce],
        reduce_concat,
    )
    return Consensus(n=len(genotypes), genotype=genotype, normal=normal, reduce=reduce)


def _renumbered(members: NDArray[np.float32], places: dict[Triple, int], new: dict[int, int]) -> NDArray[np.float32]:
    """Members (n, triples) under new node numbers; triples that no cell has are dropped: they match nothing."""
    renumbered = np.zeros_like(members)
    for (target, source, operation), place in places.items():
        moved = places.get((new[target], new.get(source, source), operation))
        if moved is not None:
            renumbered[:, moved] = members[:, place]
    return renumbered


def _node_count(genotypes: Sequence[Genotype], cell: CellType) -> int:
    counts = sorted({len(getattr(genotype, cell)) // 2 for genotype in genotypes})
    if len(counts) > 1:
        raise ValueError(f"{cell} cells have {' and '.join(map(str, counts))} nodes; compare cells of one search space")
    return counts[0] if counts else 0


def _operations_by_edge(genotype: Genotype, cell: CellType) -> dict[tuple[int, int], list[str]]:
    operations: dict[tuple[int, int], list[str]] = {}
    for place, (operation, source) in enumerate(getattr(genotype, cell)):
        operations.setdefault((place // 2 + INPUTS, source), []).append(operation)
    return operations


def _consensus_cell(genotypes: Sequence[Genotype], cell: CellType) -> tuple[KeptEdge, ...]:
    n, nodes = len(genotypes), _node_count(genotypes, cell)
    kept = [_operations_by_edge(genotype, cell) for genotype in genotypes]
    chosen: list[KeptEdge] = []
    for target in range(INPUTS, INPUTS + nodes):
        edges = Counter(source for operations in kept for (node, source) in operations if node == target)
        candidates = []
        for source in sorted(edges, key=lambda source: (-edges[source], source))[:2]:
            counted = Counter(op for operations in kept for op in set(operations.get((target, source), ())))
            candidates.append(
                [
                    KeptEdge(
                        target=target,
                        source=source,
                        operation=operation,
                        edge_share=edges[source] / n,
                        operation_share=counted[operation] / n,
                    )
                    for operation in sorted(counted, key=lambda op: (-counted[op], op))
                ]
            )
        # A node that reads one input only, in every cell, takes both of its operations from there.
        chosen += [edge[0] for edge in candidates] if len(candidates) == 2 else (candidates[0] * 2)[:2]
    return tuple(chosen)
