"""Tests of analysis.drawing.cell_svg."""

import xml.etree.ElementTree as ElementTree

from analysis.drawing import cell_svg as cells
from analysis.drawing.cell_layout import KINDS, LABEL_WIDTH, layout
from pcdarts.genotype import PUBLISHED


def test_every_kind_has_a_color():
    assert set(cells.COLORS) == set(KINDS)


def test_drawing_is_well_formed_and_described():
    genotype = PUBLISHED["PC_DARTS_cifar"]
    svg = cells.draw(layout(genotype.normal, genotype.normal_concat), "Normal <cell>")
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
    assert svg == cells.draw(layout(genotype.normal, genotype.normal_concat), "Normal <cell>")


def test_shares_fill_labels_and_widen_lines():
    genotype = PUBLISHED["PC_DARTS_cifar"]
    placed = layout(genotype.normal, genotype.normal_concat)
    svg = cells.draw(placed, "Consensus", [(1.0, 0.5), *[(0.75, 0.75)] * 7])
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
    assert float(filled.get("width")) == LABEL_WIDTH / 2
