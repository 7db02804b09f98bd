"""Agreement between the cells of a setting's seeds.

A cell is compared as its set of (target node, input node, operation) triples.  Node numbers are arbitrary: the variants
"up to isomorphism" use the best matching of the intermediate nodes.
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
CELL_TYPES: tuple[CellType, ...] = ("normal", "reduce")
Triple = tuple[int, int, str]

NOT_KEPT = "not kept"
"""Category of an edge that a cell does not have."""
RANDOM_SETS = 200
"""Sets of random cells whose agreement gives the chance level of a search space."""


@dataclass(frozen=True, kw_only=True)
class KeptEdge:
    """An edge of a consensus cell."""

    target: int
    """Node that sums the operation."""
    source: int
    """Node that the operation reads."""
    operation: str
    """The most frequent operation among the cells that keep this edge."""
    edge_share: float
    """Share of the cells that keep this edge, with any operation; 0 to 1."""
    operation_share: float
    """Share of the cells that keep this edge with this operation; 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """The most frequent choice for each edge; possibly a cell that no seed found."""

    n: int
    """Number of cells."""
    genotype: Genotype
    """The consensus cells."""
    normal: tuple[KeptEdge, ...]
    """Edges of genotype.normal, in its order, with their shares."""
    reduce: tuple[KeptEdge, ...]
    """Edges of genotype.reduce, in its order, with their shares."""


@dataclass(frozen=True, kw_only=True)
class CellAgreement:
    """Agreement between the cells of one setting; NaN for fewer than two cells."""

    n: int
    """Number of cells."""
    distinct: int
    """Distinct genotypes by digest: isomorphic ones count once."""
    similarity_normal: float
    """Mean similarity over all pairs of seeds, normal cell; 0 to 1."""
    similarity_reduce: float
    """Mean similarity over all pairs of seeds, reduction cell; 0 to 1."""
    isomorphic_similarity_normal: float
    """Mean similarity up to isomorphism, normal cell."""
    isomorphic_similarity_reduce: float
    """Mean similarity up to isomorphism, reduction cell."""
    kappa_normal: float
    """Fleiss' kappa over the edges of the normal cell."""
    kappa_reduce: float
    """Fleiss' kappa over the edges of the reduction cell."""


def summarize_agreement(genotypes: Sequence[Genotype]) -> CellAgreement:
    """Agreement between the genotypes of one setting's seeds; repeated genotypes count repeatedly."""
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


@dataclass(frozen=True, kw_only=True)
class ChanceAgreement:
    """Agreement that independent random cells of a search space exceed in 5 % of the sets."""

    similarity_normal: float
    """Mean similarity over all pairs, normal cell."""
    similarity_reduce: float
    """Mean similarity over all pairs, reduction cell."""
    kappa_normal: float
    """Fleiss' kappa, normal cell."""
    kappa_reduce: float
    """Fleiss' kappa, reduction cell."""


@functools.cache
def chance_agreement(space: SpaceName, n: int) -> ChanceAgreement:
    """95 % quantiles over RANDOM_SETS sets of n >= 2 random cells of the space, always the same ones.

    Random cells agree more than not at all: every node keeps two edges, the first node has only two, and edges with few
    operations often agree by chance.
    """
    pool = [random_genotype(SPACES[space], seed) for seed in range(max(100, 5 * n))]
    generator = np.random.default_rng(0)
    sets = [generator.choice(len(pool), n, replace=False) for _ in range(RANDOM_SETS)]
    matrices = {cell: similarity_matrix(pool, cell) for cell in CELL_TYPES}

    def similarity(cell: CellType) -> float:
        means = [(matrices[cell][np.ix_(each, each)].sum() - n) / (n * (n - 1)) for each in sets]
        return float(np.quantile(means, 0.95))

    def kappa(cell: CellType) -> float:
        return float(np.quantile([edge_kappa([pool[i] for i in each], cell) for each in sets], 0.95))

    return ChanceAgreement(
        similarity_normal=similarity("normal"),
        similarity_reduce=similarity("reduce"),
        kappa_normal=kappa("normal"),
        kappa_reduce=kappa("reduce"),
    )


def triples(genotype: Genotype, cell: CellType) -> frozenset[Triple]:
    """The cell as a set of (target, input, operation); an operation that a node has twice on an input counts once."""
    pairs = genotype.normal if cell == "normal" else genotype.reduce
    return frozenset((place // 2 + INPUTS, source, operation) for place, (operation, source) in enumerate(pairs))


def similarity_matrix(genotypes: Sequence[Genotype], cell: CellType, *, up_to_isomorphism: bool = False) -> Floats:
    """Dice coefficients of the sets of triples, `2 |A and B| / (|A| + |B|)`, for all pairs, (n, n).

    1 only for equal cells.  Up to isomorphism: the largest value over all renumberings of the intermediate nodes of one
    cell; 1 for isomorphic cells.  Concatenations are not compared.  Memory and time are O(n^2).
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
    """Mean similarity over all pairs of genotypes; NaN for fewer than two."""
    n = len(genotypes)
    if n < 2:
        return math.nan
    counts = Counter(genotypes)  # many seeds often share few cells
    weights = np.array(list(counts.values()), dtype=float)
    matrix = similarity_matrix(list(counts), cell, up_to_isomorphism=up_to_isomorphism)
    return float((weights @ matrix @ weights - n) / (n * (n - 1)))  # n: every genotype with itself


def distinct_cells(genotypes: Iterable[Genotype]) -> int:
    """Number of distinct genotypes by digest: isomorphic ones count once."""
    return len({genotype.digest for genotype in set(genotypes)})


def edge_kappa(genotypes: Sequence[Genotype], cell: CellType) -> float:
    """Fleiss' kappa (1971) of several cells: edges are the subjects, cells the raters, operations the categories.

    NOT_KEPT is a category, and so is each pair of operations on one edge.  Chance agreement assumes one distribution
    of categories for all edges, but a cell keeps exactly two edges into each node, so random cells have a kappa above 0
    (see `chance_agreement`).  Kappa is 1 if all cells agree on all edges, even with a single category; NaN for fewer
    than two cells.  Raises ValueError for cells of different sizes.
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
    """The two most frequent edges into each node, each with its most frequent operation.

    Ties go to the lower input and to the first operation by name.  Raises ValueError for an empty sequence and for
    cells of different sizes.
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
    """Members (n, triples) under new node numbers; triples that no cell has are dropped, as they match nothing."""
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
