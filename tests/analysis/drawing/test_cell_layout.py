"""Tests of analysis.drawing.cell_layout."""

import itertools
import random

import pytest

from analysis.drawing import cell_layout
from analysis.drawing.cell_layout import layout
from pcdarts.genotype import OPERATIONS, PUBLISHED

CELLS = {
    f"{name} {kind}": (getattr(g, kind), getattr(g, f"{kind}_concat"))
    for name, g in PUBLISHED.items()
    for kind in ("normal", "reduce")
}
CELLS["chain of seven"] = ([(op, node + i) for node in range(7) for i, op in enumerate(("noise", "skip_connect"))], [8])
CELLS["parallel edges"] = ([("sep_conv_3x3", 0), ("conv_7x1_1x7", 0)] * 4, range(2, 6))
for number in range(20):
    rng = random.Random(number)
    count = rng.randint(1, 7)
    CELLS[f"random {number}"] = (
        [(rng.choice(OPERATIONS), rng.randrange(node)) for node in range(2, 2 + count) for _ in range(2)],
        sorted(rng.sample(range(2, 2 + count), rng.randint(1, count))),
    )
every_cell = pytest.mark.parametrize(("cell", "concat"), CELLS.values(), ids=CELLS.keys())


def overlap(a, b):
    """Whether two rectangles share more than an edge."""
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def samples(edge):
    """Points along an edge, as `cells.path` draws it: level-ended S-curves and straight lanes."""
    for index, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(edge.points)):
        for t in (step / 40 for step in range(41)):
            along = 1.5 * t * (1 - t) + t**3  # cubic Bezier with both controls half-way
            rise = 3 * t**2 - 2 * t**3
            yield x0 + (x1 - x0) * (t if index % 2 else along), y0 + (y1 - y0) * rise


@every_cell
def test_nothing_overlaps(cell, concat):
    placed = layout(cell, concat)
    boxes = [item.box for item in (*placed.nodes, *placed.labels)]
    assert len(boxes) == 2 + len(cell) // 2 + 1 + len(cell)
    assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair)]
    for box in boxes:
        assert 0 <= box.x and box.x + box.width <= placed.width
        assert 0 <= box.y and box.y + box.height <= placed.height


@every_cell
def test_no_edge_crosses_a_node_or_a_label(cell, concat):
    placed = layout(cell, concat)
    boxes = [item.box for item in (*placed.nodes, *placed.labels)]
    for edge in placed.edges:
        for x, y in samples(edge):
            assert 0 <= y <= placed.height
            assert not [b for b in boxes if b.x + 1 < x < b.x + b.width - 1 and b.y < y < b.y + b.height]


@every_cell
def test_edges_run_to_the_right(cell, concat):
    placed = layout(cell, concat)
    assert len(placed.edges) == 2 * len(cell) + len(concat)
    for edge in placed.edges:
        xs = [x for x, _ in edge.points]
        assert xs == sorted(xs) and len(xs) % 2 == 0


def test_columns_are_longest_paths():
    placed = layout([("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 0), ("skip_connect", 2)], [2, 3])
    left = [node.box.x for node in placed.nodes]
    assert left[0] == left[1] < left[2] < left[3] < left[4]
    assert [node.name for node in placed.nodes] == ["c_{k-2}", "c_{k-1}", "2", "3", "c_{k}"]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("sep_conv_3x3", "conv"),
        ("conv_7x1_1x7", "conv"),
        ("dil_conv_5x5", "dilated"),
        ("max_pool_3x3", "pool"),
        ("skip_connect", "skip"),
        ("noise", "other"),
        ("none", "other"),
    ],
)
def test_kinds(operation, kind):
    assert cell_layout.kind(operation) == kind
