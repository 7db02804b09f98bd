"""What `pcdarts complexity` prints: the counts of the official networks, sizes that replace the recipe's, bad input."""

import re

import pytest

from orchestrator.cli import main
from pcdarts.genotype import PUBLISHED


def printed(capsys, *argv):
    assert main(["complexity", *argv]) == 0
    return capsys.readouterr().out


def totals(text):
    """Parameters and multiply-adds of the last row of the table."""
    (row,) = re.findall(r"^\s*total\s+([\d,]+)\s+([\d,]+)\s+[\d.]+", text, re.MULTILINE)
    return tuple(int(number.replace(",", "")) for number in row)


@pytest.mark.parametrize(
    ("genotype", "recipe", "expected"),
    [
        ("PC_DARTS_cifar", "cifar10", (3_634_678, 556_670_592)),
        ("PC_DARTS_image", "imagenet", (5_342_464, 581_627_328)),
        ("PC_DARTS_cifar", "imagenet", (5_270_560, 571_137_408)),
        ("DARTS_V2", "cifar10", (3_349_342, 528_359_040)),
        ("DARTS_V2", "imagenet", (4_718_752, 529_911_552)),
    ],
)
def test_the_official_networks_to_the_digit(genotype, recipe, expected, capsys):
    text = printed(capsys, genotype, "--recipe", recipe)
    assert totals(text) == expected
    assert "convolutions and linear layers, one image" in text
    assert ("it is meant for ImageNet" in text) == (recipe == "cifar10")


def test_the_mobile_limit_holds_or_fails_by_a_number(capsys):
    assert "at most 600M multiply-adds: holds, 18,372,672 below." in printed(capsys, "PC_DARTS_image")
    assert "at most 600M multiply-adds: fails, 4,031,616 above." in printed(capsys, "NASNet")


def test_sizes_replace_those_of_the_recipe(capsys, tmp_path):
    (tmp_path / "cells").write_text(str(PUBLISHED["PC_DARTS_cifar"]))
    sizes = ("--stem", "cifar", "--layers", "20", "--channels", "36", "--classes", "10", "--input", "32")
    text = printed(capsys, str(tmp_path / "cells"), *sizes)
    assert totals(text) == (3_634_678, 556_670_592) and "32 x 32 pixels, 36 channels, 20 cells, 10 classes" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "genotype is 'nothing', but must be one of PC_DARTS_cifar"),
        (["Genotype(normal=[])"], "genotype has fields"),
        (["NASNet", "--channels", "3"], "channels is 3, but must be at least 2 and even"),
        (["NASNet", "--layers", "2"], "layers is 2, but must be at least 3"),
        (["NASNet", "--input", "0"], "input is 0, but must be at least 1"),
    ],
)
def test_bad_input_is_one_line(argv, message, capsys):
    assert main(["complexity", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
