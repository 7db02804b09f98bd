"""`pcdarts cluster`: write a cluster file, and submit a study to a cluster."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from cluster.authentication import private_token
from cluster.templates import TEMPLATES, check, edits, fill, next_steps
from orchestrator.commands.parser import Parser

SCRIPT = Path(__file__).parents[1] / "run.py"


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command `cluster` with its own commands."""
    cluster = commands.add_parser("cluster", help="write a cluster file, submit a study to a cluster")
    actions = cluster.add_subparsers(required=True, metavar="ACTION", parser_class=Parser)

    init = actions.add_parser("init", help="write a cluster file into this folder, from flags or questions")
    kinds = init.add_subparsers(required=True, metavar="KIND", parser_class=Parser)
    for kind, file in TEMPLATES.items():
        parser = kinds.add_parser(kind, help=f"from {file} of the folder cluster/")
        for edit in edits(kind):
            default = "must be given" if edit.required else f"default: {edit.default}"
            parser.add_argument(f"--{edit.name}", metavar="TEXT", help=f"{edit.help} ({default})".replace("%", "%%"))
        output = "slurm.sh" if kind == "slurm" else "cluster.yaml"
        parser.add_argument("--output", metavar="FILE", default=output, help=f"file to write (default: {output})")
        parser.add_argument("--force", action="store_true", help="overwrite an existing file")
        parser.set_defaults(command=_init, kind=kind)

    submit = actions.add_parser("submit", help="sync the project, then `ray submit` a study, its arguments quoted")
    submit.add_argument("cluster_file", metavar="FILE", help="cluster file that `ray up` started")
    submit.add_argument("study", nargs=argparse.REMAINDER, metavar="PRESET ...", help="as for `pcdarts run`")
    submit.set_defaults(command=_submit)


def _init(arguments: argparse.Namespace) -> int:
    kind, path = arguments.kind, Path(arguments.output)
    if path.exists() and not arguments.force:
        raise ValueError(f"{path} exists; give --force to overwrite it, or --output FILE")
    values = {}
    for edit in edits(kind):
        value = getattr(arguments, edit.name.replace("-", "_"))
        if value is None and sys.stdin.isatty():
            value = input(f"{edit.name} ({edit.help}){'' if edit.required else f' [{edit.default}]'}: ").strip()
        if value:
            values[edit.name] = value
    text = fill(kind, values)
    check(kind, text)
    try:
        path.write_text(text)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); give --output FILE in a folder that exists and is yours"
        ) from None
    if token := private_token():
        print(f"The cluster answers only clients with the token in {token}.")
    print(f"wrote {path}; next commands:", *(f"    {command}" for command in next_steps(kind)), sep="\n")
    return 0


def _submit(arguments: argparse.Namespace) -> int:
    if not arguments.study:
        raise ValueError("nothing to submit; give a preset, as in `pcdarts cluster submit cluster.yaml cifar10`")
    ray = str(Path(sys.executable).with_name("ray"))
    # `ray submit` joins the arguments with spaces, for a shell to read; and it sends no file but the script.
    study = [shlex.quote(argument) for argument in arguments.study]
    for command in (
        [ray, "rsync-up", arguments.cluster_file],
        [ray, "submit", arguments.cluster_file, str(SCRIPT), "--", *study],
    ):
        if code := subprocess.run(command).returncode:
            return code
    return 0
