"""Tests of analysis.cells."""

import itertools
import random
import xml.etree.ElementTree as ElementTree

import pytest

from analysis import cells
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


def samples(edge):
    """Points along an edge, as `cells.path` draws it: level-ended S-curves and straight lanes."""
    for index, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(edge.points)):
        for t in (step / 40 for step in range(41)):
            along = 1.5 * t * (1 - t) + t**3  # cubic Bezier with both controls half-way
            rise = 3 * t**2 - 2 * t**3
            yield x0 + (x1 - x0) * (t if index % 2 else along), y0 + (y1 - y0) * rise


@every_cell
def test_nothing_overlaps(cell, concat):
    layout = cells.layout(cell, concat)
    boxes = [item.box for item in (*layout.nodes, *layout.labels)]
    assert len(boxes) == 2 + len(cell) // 2 + 1 + len(cell)
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    for box in boxes:
        assert 0 <= box.x and box.x + box.width <= layout.width
        assert 0 <= box.y and box.y + box.height <= layout.height


@every_cell
def test_no_edge_crosses_a_node_or_a_label(cell, concat):
    layout = cells.layout(cell, concat)
    boxes = [item.box for item in (*layout.nodes, *layout.labels)]
    for edge in layout.edges:
        for x, y in samples(edge):
            assert 0 <= y <= layout.height
            assert not [b for b in boxes if b.x + 1 < x < b.x + b.width - 1 and b.y < y < b.y + b.height]


@every_cell
def test_edges_run_to_the_right(cell, concat):
    layout = cells.layout(cell, concat)
    assert len(layout.edges) == 2 * len(cell) + len(concat)
    for edge in layout.edges:
        xs = [x for x, _ in edge.points]
        assert xs == sorted(xs) and len(xs) % 2 == 0


def test_columns_are_longest_paths():
    layout = cells.layout([("skip_connect", 0), ("skip_connect", 1), ("skip_connect", 0), ("skip_connect", 2)], [2, 3])
    left = [node.box.x for node in layout.nodes]
    assert left[0] == left[1] < left[2] < left[3] < left[4]
    assert [node.name for node in layout.nodes] == ["c_{k-2}", "c_{k-1}", "2", "3", "c_{k}"]


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
    assert cells.kind(operation) == kind
    assert set(cells.COLOURS) == set(cells.KINDS)


def test_drawing_is_well_formed_and_described():
    genotype = PUBLISHED["PC_DARTS_cifar"]
    svg = cells.draw(cells.layout(genotype.normal, genotype.normal_concat), "Normal <cell>")
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img" and root.find(f"{name}title").text == "Normal <cell>"
    assert root.find(f"{name}desc").text.startswith(
        "Node 2 adds sep_conv_3x3 of c_{k-1} and skip_connect of c_{k-2}. Node 3 adds"
    )
    assert root.find(f"{name}desc").text.endswith("The output c_{k} concatenates the nodes 2, 3, 4, 5.")
    texts = ["".join(text.itertext()) for text in root.iter(f"{name}text")]
    assert texts[:8] == [operation for operation, _ in genotype.normal]
    assert texts[8:] == ["ck-2", "ck-1", "2", "3", "4", "5", "ck"]
    assert svg == cells.draw(cells.layout(genotype.normal, genotype.normal_concat), "Normal <cell>")


def test_shares_fill_labels_and_widen_lines():
    genotype = PUBLISHED["PC_DARTS_cifar"]
    layout = cells.layout(genotype.normal, genotype.normal_concat)
    svg = cells.draw(layout, "Consensus", [(1.0, 0.5), *[(0.75, 0.75)] * 7])
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    told = [
        group.find(f"{name}title").text for group in root.findall(f"{name}g") if group.find(f"{name}title") is not None
    ]
    assert told[0] == "sep_conv_3x3: 100 % keep the edge, 50 % with this operation" and len(told) == 8
    assert [text.text for text in root.iter(f"{name}text")].count("75 %") == 7
    widths = [path.get("stroke-width") for path in root.iter(f"{name}path")]
    assert widths[:4] == ["3", "3", "2.5", "2.5"] and widths[-1] is None
    filled = next(rect for group in root.findall(f"{name}g") for rect in group.findall(f"{name}rect"))
    assert float(filled.get("width")) == cells.LABEL_WIDTH / 2
