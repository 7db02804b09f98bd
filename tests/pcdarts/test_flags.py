"""Flags from configurations."""

import argparse

import pytest

from pcdarts.config import SearchConfig
from pcdarts.flags import Parser, add_fields, given


def parse(*argv, several=False):
    parser = Parser(prog="test")
    add_fields(parser, SearchConfig, several=several)
    return given(parser.parse_args(argv), SearchConfig)


def test_only_given_flags_are_returned_with_their_types():
    assert parse() == {}
    assert parse("--k", "8", "--learning-rate", "0.5", "--edge-normalization", "false", "--order", "2") == {
        "k": 8,
        "learning_rate": 0.5,
        "edge_normalization": False,
        "order": 2,
    }


def test_several_values():
    assert parse("--k", "2", "4", "--stem", "cifar", several=True) == {"k": [2, 4], "stem": ["cifar"]}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--k", "a"], "argument --k: invalid int value: 'a'"),
        (["--order", "3"], "argument --order: '3' is not one of 1, 2"),
        (["--edge", "true"], "unrecognized arguments: --edge true"),
        (["--epoch", "3"], "unrecognized arguments"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_help_shows_meaning_and_default(capsys):
    parser = Parser(prog="test", formatter_class=argparse.RawTextHelpFormatter)
    add_fields(parser, SearchConfig(k=8))
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    assert "Partial channel connection" in text and "(default: 8)" in text
