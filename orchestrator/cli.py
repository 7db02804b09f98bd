# PYTHON_ARGCOMPLETE_OK
"""The command `pcdarts`: puts the commands together, and turns errors into one line and an exit code.

What needs PyTorch or Ray is imported where it is used: a report needs neither, and is there at once.
"""

import argparse
import contextlib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

from analysis.storage.storage_retry import StorageError
from orchestrator.commands import (
    cluster_files,
    import_commands,
    network_commands,
    queue_commands,
    search_commands,
    study_commands,
    table_commands,
    watch_command,
)
from orchestrator.commands.parser import Parser
from orchestrator.signals import INTERRUPTED, TERMINATED, Terminated, interruptible

STORAGE_FAILED, LEASE_TAKEN, MACHINE_FAILED, PIPE_CLOSED = 3, 4, 5, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; its exit code, see the table in docs/cluster.md."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(argv, argparse.Namespace(argv=argv))
    warnings.filterwarnings("ignore", category=UserWarning, message="left out the broken part")  # printed once, below
    try:
        with interruptible():
            code = int(arguments.command(arguments))
            sys.stdout.flush()
        return code
    except ValueError as error:
        print(f"pcdarts: error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        from orchestrator.storage.lease import LeaseError  # imports pyarrow, which completion must not wait for

        if not isinstance(error, LeaseError):
            raise
        print(f"pcdarts: error: {error}", file=sys.stderr)
        return LEASE_TAKEN
    except StorageError as error:
        print(f"pcdarts: error: {error}; {error.remedy}", file=sys.stderr)
        return STORAGE_FAILED
    except BrokenPipeError:  # what reads the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        return PIPE_CLOSED
    except OSError as error:  # ours, without a number, name the remedy themselves
        remedy = "; check that the path exists, that you may write there, and that space is left" if error.errno else ""
        print(f"pcdarts: error: {error}{remedy}", file=sys.stderr)
        return MACHINE_FAILED
    except KeyboardInterrupt as error:
        from orchestrator.commands import terminal

        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        what = "Interrupted" if code == INTERRUPTED else "Terminated"
        kept = f"Progress is saved; resume with:  {terminal.program()} {shlex.join(argv)}"
        if getattr(arguments, "checkpoint", "") is None:  # of `pcdarts search`
            kept = "Nothing is saved; a search with --checkpoint FILE can be resumed."
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"\n{what}. {kept}", file=sys.stderr)
        return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pcdarts", description="PC-DARTS searches over seeds and sampling rates on a Ray cluster.")
    parser.add_argument("--version", action="version", version=f"pcdarts {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    study_commands.add_parsers(commands)
    queue_commands.add_parsers(commands)
    watch_command.add_parser(commands)
    table_commands.add_parsers(commands)
    import_commands.add_parser(commands)
    search_commands.add_parsers(commands)
    network_commands.add_parsers(commands)
    cluster_files.add_parser(commands)
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser


def _version() -> str:
    try:
        return metadata.version("pcdarts-orchestrator")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def command() -> NoReturn:
    """The command `pcdarts`."""
    leave(main())


def run_main() -> NoReturn:
    """`orchestrator/run.py`: the same as `pcdarts run`."""
    leave(main(["run", *sys.argv[1:]]))


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    After SIGTERM and SIGHUP it ends without Ray's way out: if the processes of Ray got the signal as well, as from
    Slurm or `timeout`, that would wait a minute for them, and end with another code.
    """
    if code == TERMINATED:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
