"""Errors of the command line: one line, exit code 2, and a suggestion."""

import pytest

from orchestrator.commands.parser import Parser


def parse(*argv):
    parser = Parser(prog="all")
    one = parser.add_subparsers(parser_class=Parser).add_parser("one")
    one.add_argument("--batch-size", type=int)
    one.add_argument("--epochs", type=int)
    return parser.parse_args(["one", *argv])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "a"], "argument --epochs: invalid int value: 'a'"),
        (["--batchsize=3"], "unrecognized arguments: --batchsize=3; did you mean --batch-size?"),
        (["--batch", "3"], "unrecognized arguments: --batch 3; did you mean --batch-size?"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
    ],
)
def test_errors_are_one_line_of_the_sub_command_and_exit_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"all one: error: {message} (see all one --help)\n"


def test_whole_flags_are_read():
    assert parse("--batch-size", "3").batch_size == 3
