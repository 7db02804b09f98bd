"""Cells as files."""

import xml.etree.ElementTree as ElementTree

from analysis.drawing.cell_svg import draw_cells
from analysis.drawing.svg_files import svg_file
from orchestrator.cli import main
from pcdarts.genotype import PUBLISHED


def test_a_file_has_the_colors_of_light_paper():
    text = svg_file(draw_cells(PUBLISHED["PC_DARTS_cifar"]), "svg").decode()
    assert "var(" not in text and "currentColor" not in text
    root = ElementTree.fromstring(text)
    assert len(root.findall("{http://www.w3.org/2000/svg}svg")) == 2


def test_the_command_takes_the_format_from_the_ending(tmp_path, capsys):
    assert main(["draw", "PC_DARTS_cifar", "-o", str(tmp_path / "cell.pdf"), "--cell", "normal"]) == 0
    assert (tmp_path / "cell.pdf").read_bytes().startswith(b"%PDF")
    assert main(["draw", "PC_DARTS_cifar", "-o", str(tmp_path / "cell.gif")]) == 2
    assert "must end in one of .pdf, .svg, .png" in capsys.readouterr().err
