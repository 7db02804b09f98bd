"""Tests of analysis.statistics.agreement."""

import itertools
import math

import numpy as np
import pytest

from analysis.statistics.agreement import (
    NOT_KEPT,
    chance_agreement,
    consensus,
    distinct_cells,
    edge_kappa,
    mean_similarity,
    similarity_matrix,
    summarize_agreement,
    triples,
)
from pcdarts.genotype import PUBLISHED, Genotype
from pcdarts.spaces import SPACES, random_genotype

SHORT = {"sk": "skip_connect", "mp": "max_pool_3x3", "s3": "sep_conv_3x3", "d3": "dil_conv_3x3", "d5": "dil_conv_5x5"}
SHORT_OF = {name: short for short, name in SHORT.items()}
# Data of "Understanding and Robustifying DARTS", github.com/automl/RobustDARTS (Apache-2.0): the cells that the three
# seeds of space S1, CIFAR-10, drop-path 0, L2 3e-4 found.
S1_CELLS = [
    ("sk,1 d3,0 sk,2 sk,0 sk,0 sk,2 sk,2 sk,1", "mp,1 mp,0 sk,2 mp,1 sk,2 mp,0 mp,0 mp,1"),
    ("sk,1 d3,0 sk,1 sk,2 sk,1 sk,2 sk,2 sk,1", "mp,1 mp,0 mp,0 sk,2 mp,1 mp,0 d5,4 mp,0"),
    ("sk,0 sk,1 sk,1 sk,2 sk,2 sk,1 sk,2 d3,4", "mp,1 mp,0 sk,2 mp,0 sk,2 mp,1 mp,0 sk,3"),
]


def cell(text):
    return [(SHORT[op], int(source)) for op, source in (pair.split(",") for pair in text.split())]


def genotype(normal, reduce=None):
    """A genotype from short texts; the reduction cell is the normal one where none is given."""
    concat = range(2, 2 + len(normal.split()) // 2)
    return Genotype(cell(normal), concat, cell(reduce or normal), concat)


def similarity(a, b, kind, **options):
    return similarity_matrix([a, b], kind, **options)[0, 1]


@pytest.fixture
def s1():
    return [genotype(normal, reduce) for normal, reduce in S1_CELLS]


CHAIN = genotype("s3,0 s3,1 sk,0 d3,2")
PARALLEL = genotype("s3,0 s3,1 sk,0 d3,1")
PARALLEL_RENUMBERED = genotype("sk,0 d3,1 s3,0 s3,1")


def test_published_similarity_over_seeds(s1):
    assert mean_similarity(s1, "normal") == pytest.approx((6 + 4 + 6) / (3 * 8))  # 0.667: shared operations of eight
    assert mean_similarity(s1, "reduce") == pytest.approx((5 + 5 + 6) / (3 * 8))
    assert similarity_matrix(s1, "normal").tolist() == [[1, 0.75, 0.5], [0.75, 1, 0.75], [0.5, 0.75, 1]]


def test_a_cell_as_a_set():
    assert triples(CHAIN, "normal") == {
        (2, 0, "sep_conv_3x3"), (2, 1, "sep_conv_3x3"), (3, 0, "skip_connect"), (3, 2, "dil_conv_3x3"),
    }  # fmt: skip


def test_similarity_of_equal_and_of_disjoint_cells():
    assert similarity(CHAIN, CHAIN, "normal") == 1
    assert similarity(genotype("sk,0 sk,1"), genotype("s3,0 s3,1"), "reduce") == 0
    assert similarity(CHAIN, PARALLEL, "normal") == 0.75
    assert similarity(genotype("sk,0 sk,0"), genotype("sk,0 sk,1"), "normal") == 2 / 3  # sets of 1 and 2, 1 shared


def test_renumbered_nodes_are_the_same_cell():
    assert PARALLEL.digest == PARALLEL_RENUMBERED.digest
    assert similarity(PARALLEL, PARALLEL_RENUMBERED, "normal") == 0
    assert similarity(PARALLEL, PARALLEL_RENUMBERED, "normal", up_to_isomorphism=True) == 1
    assert distinct_cells([PARALLEL, PARALLEL_RENUMBERED, CHAIN]) == 2


def test_isomorphic_similarity_is_symmetric_and_at_least_the_plain_one(s1):
    cells = [*s1, *(g for g in PUBLISHED.values() if len(g.normal) == 8)]
    plain, best = similarity_matrix(cells, "normal"), similarity_matrix(cells, "normal", up_to_isomorphism=True)
    assert (best >= plain).all() and (best == best.T).all() and (np.diag(best) == 1).all()


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_isomorphic_similarity_is_the_best_over_all_matchings(s1, kind):
    a, b = PUBLISHED["PC_DARTS_cifar"], s1[2]
    best = 0
    for order in itertools.permutations(range(2, 6)):
        new = {0: 0, 1: 1} | dict(zip(range(2, 6), order, strict=True))
        renumbered = {(new[t], new[s], op) for t, s, op in triples(b, kind)}
        best = max(best, len(triples(a, kind) & renumbered) / 8)
    assert similarity(a, b, kind, up_to_isomorphism=True) == best


def test_mean_similarity_counts_every_pair():
    assert mean_similarity([CHAIN, CHAIN, PARALLEL], "normal") == pytest.approx((1 + 0.75 + 0.75) / 3)
    assert mean_similarity([CHAIN] * 9, "normal", up_to_isomorphism=True) == 1
    assert math.isnan(mean_similarity([CHAIN], "normal")) and math.isnan(mean_similarity([], "normal"))


def test_kappa_of_known_counts():
    # edges (2,0) (2,1): both agree; (3,0): agree; (3,1) and (3,2): one keeps d3, the other does not
    chance = (4**2 + 2**2 + 2**2 + 2**2) / 10**2  # s3, sk, d3 and not kept, of 2 x 5
    assert edge_kappa([CHAIN, PARALLEL], "normal") == pytest.approx((0.6 - chance) / (1 - chance))


def test_kappa_of_agreement_and_of_too_little():
    assert edge_kappa([CHAIN] * 3, "normal") == 1
    assert edge_kappa([genotype("sk,0 sk,1")] * 3, "normal") == 1  # one category: chance agrees too
    assert math.isnan(edge_kappa([CHAIN], "normal"))
    assert math.isnan(edge_kappa([], "normal"))


def test_two_operations_on_one_edge_are_a_category():
    # edge (2,0): s3 + sk twice, sk once; edge (2,1): not kept twice, sk once; three categories of equal share
    found = edge_kappa([genotype("sk,0 s3,0"), genotype("s3,0 sk,0"), genotype("sk,0 sk,1")], "normal")
    assert found == pytest.approx(0, abs=1e-12)
    assert NOT_KEPT not in SHORT.values()


def test_cells_of_different_sizes_are_not_mixed():
    with pytest.raises(ValueError, match="normal cells have 2 and 5 nodes; compare cells of one search space"):
        edge_kappa([CHAIN, PUBLISHED["NASNet"]], "normal")
    assert 0 <= similarity(CHAIN, PUBLISHED["DARTS_V1"], "normal", up_to_isomorphism=True) < 1


def test_consensus_of_published_seeds(s1):
    found = consensus(s1)
    assert found.n == 3
    assert [(e.target, e.source, SHORT_OF[e.operation], round(3 * e.edge_share), round(3 * e.operation_share))
            for e in found.normal] == [
        (2, 0, "d3", 3, 2), (2, 1, "sk", 3, 3),
        (3, 2, "sk", 3, 3), (3, 1, "sk", 2, 2),
        (4, 2, "sk", 3, 3), (4, 1, "sk", 2, 2),
        (5, 2, "sk", 3, 3), (5, 1, "sk", 2, 2),
    ]  # fmt: skip
    assert found.genotype.normal == tuple((e.operation, e.source) for e in found.normal)
    assert found.genotype.normal_concat == (2, 3, 4, 5)


def test_consensus_of_one_is_the_cell_itself():
    for name in ("PC_DARTS_cifar", "NASNet"):
        found = consensus([PUBLISHED[name]])
        assert found.genotype.digest == PUBLISHED[name].digest
        assert {(e.edge_share, e.operation_share) for e in found.normal + found.reduce} == {(1, 1)}


def test_consensus_of_ties_goes_to_the_lower_input():
    found = consensus([genotype("sk,0 sk,0"), genotype("s3,1 s3,1")])
    assert [(e.source, SHORT_OF[e.operation], e.edge_share) for e in found.normal] == [(0, "sk", 0.5), (1, "s3", 0.5)]
    with pytest.raises(ValueError, match="consensus of 0 genotypes"):
        consensus([])


def test_summary_of_a_setting(s1):
    found = summarize_agreement(s1)
    assert (found.n, found.distinct) == (3, 3)
    assert (round(found.similarity_normal, 3), round(found.similarity_reduce, 3)) == (0.667, 0.667)
    assert found.isomorphic_similarity_normal >= found.similarity_normal
    assert found.kappa_reduce == edge_kappa(s1, "reduce")
    for few in ([], s1[:1]):
        assert math.isnan(summarize_agreement(few).similarity_normal) and summarize_agreement(few).distinct == len(few)


@pytest.mark.parametrize(
    ("space", "n", "similarity", "kappa"), [("darts", 3, 21, 18), ("darts", 8, 12, 10), ("s1", 3, 50, 34)]
)
def test_random_cells_agree_as_their_space_makes_them(space, n, similarity, kappa):
    found = chance_agreement(space, n)
    assert [round(100 * value) for value in (found.similarity_normal, found.kappa_normal)] == [similarity, kappa]


def test_few_sets_of_random_cells_exceed_the_chance_level():
    level = chance_agreement("darts", 4)
    sets = [[random_genotype(SPACES["darts"], 10_000 + 4 * i + j) for j in range(4)] for i in range(300)]
    above = sum(mean_similarity(each, "normal") > level.similarity_normal for each in sets)
    assert above <= 0.08 * len(sets)
