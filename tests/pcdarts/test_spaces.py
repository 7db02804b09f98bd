"""Search spaces: their lists, what is refused, and random cells."""

from collections import Counter
from typing import get_args

import pytest

from pcdarts.genotype import PRIMITIVES
from pcdarts.spaces import EDGES, EDGES_INTO, SPACES, Space, SpaceName, random_genotype


def test_edges_are_ordered_by_target():
    assert EDGES == tuple(sorted(EDGES, key=lambda edge: edge[1])) and len(EDGES) == 14
    assert [len(edges) for edges in EDGES_INTO] == [2, 3, 4, 5]


def test_every_named_space_is_there():
    assert tuple(SPACES) == get_args(SpaceName)
    assert {name: space.operations_per_edge for name, space in SPACES.items()} == {
        "darts": 8,
        "s1": 2,
        "s2": 2,
        "s3": 3,
        "s4": 2,
    }


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("darts", PRIMITIVES),
        ("s2", ("skip_connect", "sep_conv_3x3")),
        ("s3", ("none", "skip_connect", "sep_conv_3x3")),
        ("s4", ("noise", "sep_conv_3x3")),
    ],
)
def test_uniform_spaces_have_the_same_operations_on_every_edge(name, operations):
    assert SPACES[name].normal == SPACES[name].reduce == (operations,) * 14
    assert SPACES[name].primitives(reduction=True) is SPACES[name].reduce


def test_s1_differs_between_edges_and_cell_types():
    normal, reduce = SPACES["s1"].normal, SPACES["s1"].reduce
    assert normal[0] == ("skip_connect", "dil_conv_3x3") and normal[-1] == ("dil_conv_3x3", "dil_conv_5x5")
    assert normal[5] == ("max_pool_3x3", "skip_connect") and normal[10] == ("max_pool_3x3", "skip_connect")
    assert reduce[1] == ("max_pool_3x3", "dil_conv_3x3") and reduce[6] == ("max_pool_3x3", "sep_conv_3x3")
    assert Counter(name for edge in normal for name in edge) == {
        "skip_connect": 12,
        "max_pool_3x3": 2,
        "sep_conv_3x3": 4,
        "dil_conv_3x3": 6,
        "dil_conv_5x5": 4,
    }
    assert Counter(name for edge in reduce for name in edge) == {
        "max_pool_3x3": 8,
        "avg_pool_3x3": 6,
        "skip_connect": 6,
        "sep_conv_3x3": 1,
        "dil_conv_3x3": 2,
        "dil_conv_5x5": 5,
    }


PAIR = ("skip_connect", "sep_conv_3x3")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ((PAIR,) * 13, "normal has 13 edges, but must have 14"),
        ((PAIR,) * 13 + (PAIR[:1],), "have 2 operations, as the first edge does"),
        ((PAIR,) * 13 + (PAIR[:1] * 2,), "name different operations"),
        ((PAIR,) * 13 + (("skip_connect", "conv_9x9"),), "name different operations"),
        ((("none",),) * 14, "an operation that a cell can keep"),
    ],
)
def test_what_is_no_space_is_refused(cell, message):
    with pytest.raises(ValueError, match=message):
        Space(cell, cell)


@pytest.mark.parametrize("name", SPACES)
def test_random_cells_are_of_the_space(name):
    space = SPACES[name]
    for seed in range(20):
        genotype = random_genotype(space, seed)
        for cell, primitives in ((genotype.normal, space.normal), (genotype.reduce, space.reduce)):
            for position, (operation, source) in enumerate(cell):
                assert operation in primitives[EDGES.index((source, position // 2 + 2))] and operation != "none"
            assert all(first[1] < second[1] for first, second in zip(cell[::2], cell[1::2], strict=True))


def test_random_cells_depend_on_the_seed_and_are_uniform():
    cells = [random_genotype(SPACES["s2"], seed) for seed in range(600)]
    assert cells == [random_genotype(SPACES["s2"], seed) for seed in range(600)]
    inputs = Counter((cell.normal[2][1], cell.normal[3][1]) for cell in cells)  # of node 3, which can read three nodes
    assert sorted(inputs) == [(0, 1), (0, 2), (1, 2)] and max(inputs.values()) < 240  # 200 +- 40: 3.5 deviations
    skips = sum(sum(cell.count("skip_connect")) for cell in cells)
    assert abs(skips - 600 * 8) < 200  # half of 600 x 16 operations, deviation 49
