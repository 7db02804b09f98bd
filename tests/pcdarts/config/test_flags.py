"""Flags from configurations."""

import argparse

import pytest

from pcdarts.config import SearchConfig
from pcdarts.config.flags import Parser, add_fields, given


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
        (["--batchsize=3"], "unrecognized arguments: --batchsize=3; did you mean --batch-size?"),
        (["--edge", "true"], "unrecognized arguments: --edge true"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
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


def test_a_default_that_is_decided_elsewhere_is_told_in_words(capsys):
    parser = Parser(prog="test")
    add_fields(parser, SearchConfig, default="the preset's")
    text = " ".join(parser.format_help().split())
    assert "--k INT" in text and "(default: the preset's)" in text
    assert text.count("(default: ") == text.count("(default: the preset's)")


def test_a_sub_command_names_its_own_flags(capsys):
    parser = Parser(prog="all")
    add_fields(parser.add_subparsers(parser_class=Parser).add_parser("one"), SearchConfig)
    with pytest.raises(SystemExit):
        parser.parse_args(["one", "--epoch", "3"])
    error = "all one: error: unrecognized arguments: --epoch 3; did you mean --epochs? (see all one --help)\n"
    assert capsys.readouterr().err == error
