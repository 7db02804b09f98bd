"""The command `pcdarts`: studies, their queue and report, networks.  Bad input ends in one line and exit code 2.

What needs PyTorch or Ray is imported where it is used: a report needs neither, and is there at once.
"""

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata

from analysis.report.blocks import FORMATS
from orchestrator.commands import cluster_files as cluster_commands
from orchestrator.commands.arguments import retrained_otherwise, study_from_arguments
from orchestrator.config import ProxyConfig, SeedConfig, SelectionConfig
from orchestrator.options import RunOptions
from orchestrator.presets import RETRAIN_AT_ONCE, STUDIES
from orchestrator.storage.lease import LeaseError
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.flags import Parser, add_fields, given
from pcdarts.presets import RECIPES

STORAGE_FAILED, LEASE_TAKEN, INTERRUPTED = 3, 4, 130
STORAGE = "studies"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; its exit code, see the table in docs/cluster.md."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=UserWarning, message="left out the broken part")  # said once, below
    try:
        return int(arguments.command(arguments, argv))
    except ValueError as error:
        print(f"pcdarts: error: {error}", file=sys.stderr)
        return 2
    except LeaseError as error:
        print(f"pcdarts: error: {error}", file=sys.stderr)
        return LEASE_TAKEN
    except OSError as error:  # StorageError is one
        print(f"pcdarts: error: {error}; progress is saved, rerun this command to resume", file=sys.stderr)
        return STORAGE_FAILED
    except KeyboardInterrupt:
        from orchestrator.commands import terminal as output

        print(
            f"\nInterrupted. Progress is saved; resume with:  {output.program()} {shlex.join(argv)}",
            file=sys.stderr,
        )
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pcdarts", description="PC-DARTS searches over seeds and sampling rates on a Ray cluster.")
    parser.add_argument("--version", action="version", version=f"pcdarts {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser("run", help="run a study, or go on with one")
    run.add_argument("preset", help=f"what to run: {', '.join(STUDIES)}")
    _add_storage(run)
    run.add_argument(
        "--retrain",
        action=argparse.BooleanOptionalAction,
        help=f"retrain the best cells at once (default: for {', '.join(sorted(RETRAIN_AT_ONCE))}; "
        "else `pcdarts retrain` does it)",
    )
    add_fields(run.add_argument_group("how to run; no result depends on it"), RunOptions)
    _add_study(run)
    run.set_defaults(command=_run)

    queue = _study_command(commands, "queue", "show or change the retraining queue of a study", _queue)
    queue.add_argument("action", nargs="?", choices=("add", "drop", "retry"), help="what to change")
    queue.add_argument(
        "target", nargs="?", help="add: a genotype or a published name; drop, retry: a job or a prefix of it"
    )
    queue.add_argument("--top", type=int, metavar="N", help="print the first N jobs")

    retrain = _study_command(commands, "retrain", "work off the retraining queue of a study", _retrain)
    retrain.add_argument("--dry-run", action="store_true", help="print the jobs that would run, and stop")
    retrain.add_argument("--data-dir", metavar="DIR", help="folder that holds the data sets (default: the study's)")
    add_fields(retrain, RunOptions)
    _add_recipe(retrain.add_argument_group("another recipe, which the best cells are queued with"), "the study's")

    report = _study_command(commands, "report", "write the report of a study anew, from its tables", _report)
    forms = "one page, its tables in Markdown, or a folder of CSV files (default: html)"
    report.add_argument("--format", choices=FORMATS, default="html", help=forms)

    checking = commands.add_parser("check", help="before a long run: data, storage, cluster, cost")
    checking.add_argument("presets", nargs="*", metavar="PRESET", help="default: cifar10")
    _add_storage(checking)
    looked_at = ("address", "gpus_per_trial", "memory_per_trial", "max_concurrent", "autoscaling")
    add_fields(checking, RunOptions, only=looked_at)
    _add_study(checking)
    checking.set_defaults(command=_check)

    counting = commands.add_parser("complexity", help="count weights, multiply-adds and activations of a network")
    counting.add_argument("genotype", metavar="GENOTYPE", help="a published name, a genotype's text, or a file of it")
    counting.add_argument("--recipe", choices=("cifar10", "imagenet"), default="imagenet", help="sizes (imagenet)")
    counting.add_argument("--input", type=int, metavar="PIXELS", help="height and width of images (the recipe's)")
    for name, text in (("channels", "channels of the first cell"), ("layers", "cells"), ("classes", "classes")):
        counting.add_argument(f"--{name}", type=int, metavar="INT", help=f"{text} (default: the recipe's)")
    counting.add_argument("--stem", choices=("cifar", "imagenet"), help="first layers (default: the recipe's)")
    counting.set_defaults(command=_complexity)

    text = "write the network of a retrained job: weights, cells, model card"
    exporting = _study_command(commands, "export", text, _export)
    exporting.add_argument("job", metavar="JOB", help="job of the queue, as `pcdarts queue` prints it, or a prefix")
    exporting.add_argument("out_dir", metavar="OUT_DIR", help="folder to write to, new or empty")
    exporting.add_argument("--onnx", action="store_true", help="also model.onnx, checked against PyTorch")
    exporting.add_argument(
        "--ema", action="store_true", help="the moving average of the weights (recipes with ema_decay)"
    )
    cluster_commands.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("pcdarts-orchestrator")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def _study_command(
    commands: "argparse._SubParsersAction[Parser]", name: str, text: str, command: Callable[..., int]
) -> Parser:
    """Add a command whose first argument is a study's folder."""
    parser = commands.add_parser(name, help=text)
    parser.add_argument("study_dir", metavar="STUDY_DIR", help="folder or URI of the study")
    parser.set_defaults(command=command)
    return parser


def _add_study(parser: Parser) -> None:
    """What changes a preset: see `study_from_arguments`."""
    parser.add_argument("--study", metavar="NAME", help="name of the study (default: the preset's name)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="seeds to search with (default: the preset's)"
    )
    swept = parser.add_argument_group("the search; several values are searched in every combination")
    add_fields(swept, SearchConfig, several=True, skip=("seed",), default="the preset's")
    add_fields(parser.add_argument_group("seeds beyond the given ones"), SeedConfig, default="the preset's")
    selection = parser.add_argument_group("which cells are queued")
    add_fields(selection, SelectionConfig, default="the preset's")
    proxies = parser.add_argument_group("the short retraining that ranks them before")
    add_fields(proxies, ProxyConfig, prefix="proxy-", skip=("recipe",), default="the preset's")
    add_fields(proxies, RetrainConfig, prefix="proxy-", skip=("seed",), default="the preset's")
    _add_recipe(parser.add_argument_group("how they are retrained"), "the preset's")


def _add_recipe(parser: argparse._ArgumentGroup, default: str) -> None:
    parser.add_argument("--recipe", choices=RECIPES, help=f"recipe of the retraining (default: {default})")
    add_fields(parser, RetrainConfig, prefix="retrain-", default="the recipe's")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    """Cluster files set PCDARTS_STORAGE to what all their machines reach."""
    default = os.environ.get("PCDARTS_STORAGE", STORAGE)
    text = f"folder or URI of studies (default: PCDARTS_STORAGE of the environment, else {STORAGE})"
    parser.add_argument("--storage", metavar="DIR", default=default, help=text)


def _run(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.storage.study_files import join
    from orchestrator.commands import terminal as output
    from orchestrator.storage.study_folder import open_study
    from orchestrator.study import run_study

    study = study_from_arguments(arguments)
    root = join(arguments.storage, study.name)
    retrain = arguments.preset in RETRAIN_AT_ONCE if arguments.retrain is None else arguments.retrain
    options = RunOptions(**given(arguments, RunOptions))
    failed = run_study(study, root, options=options, retrain=retrain, command=["pcdarts", *argv])
    _, store = open_study(root)
    print("\n" + output.summary(store))
    print(output.where_to_look(root))
    return 1 if failed else 0


def _queue(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.commands import terminal as output
    from orchestrator.queue.retrain_queue import RetrainQueue
    from orchestrator.storage.study_folder import open_study

    if arguments.action and arguments.target is None:
        raise ValueError(f"queue {arguments.action} needs a genotype or a job, as in `pcdarts queue STUDY drop 1f2e`")
    if arguments.top is not None and arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}, but must be at least 1")
    study, store = open_study(arguments.study_dir)
    queue = RetrainQueue(study, store)
    if arguments.action:
        change = {"add": queue.add, "drop": queue.drop, "retry": queue.retry}[arguments.action]
        print(f"{arguments.action}: {change(arguments.target)}")
    print(output.queue(queue.rows()[: arguments.top], queue.events.broken))
    return 0


def _retrain(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.report.build import write_report
    from orchestrator.commands import terminal as output
    from orchestrator.queue.retrain_queue import RetrainQueue
    from orchestrator.storage.study_folder import open_study
    from orchestrator.study import count_failed
    from orchestrator.trials.retrain_trials import work_queue

    options = RunOptions(**given(arguments, RunOptions))
    study, store = open_study(arguments.study_dir, options.storage_patience)
    study = retrained_otherwise(study, arguments)
    queue = RetrainQueue(study, store)
    if arguments.dry_run:
        jobs = [row for row in queue.rows() if row["state"] in ("queued", "running")]
        print(output.queue(jobs, queue.events.broken) if jobs else "No job waits.")
        if unsubmitted := queue.unsubmitted():
            print(f"{len(unsubmitted)} more would be queued: {', '.join(unsubmitted)}")
        return 0
    work_queue(queue, options=options)
    write_report(arguments.study_dir)
    print(output.queue(queue.rows(), queue.events.broken))
    return 1 if count_failed(queue) else 0


def _report(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.report.build import write_report
    from analysis.store import ResultStore
    from analysis.tables import TABLES

    # Tables that an import wrote have a report too, though no study.json.
    store = ResultStore(arguments.study_dir)
    if store.read_text("study.json") is None and not any(store.parts(table) for table in TABLES):
        raise ValueError(
            f"{arguments.study_dir!r} holds no study; give the folder that `pcdarts run` or an import printed"
        )
    print(f"wrote {write_report(arguments.study_dir, arguments.format)}")
    return 0


def _check(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.commands.check import check

    options = RunOptions(**given(arguments, RunOptions))
    studies = [
        study_from_arguments(argparse.Namespace(**vars(arguments), preset=preset))
        for preset in arguments.presets or ["cifar10"]
    ]
    problems = [check(study, arguments.storage, options) for study in studies]
    return 1 if any(problems) else 0


def _complexity(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.commands.network_cost import complexity_text
    from pcdarts.genotype import read_genotype

    names = ("channels", "layers", "classes", "stem", "input")
    sizes = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(complexity_text(read_genotype(arguments.genotype), arguments.recipe, sizes))
    return 0


def _export(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.commands.export_job import export_job

    options = {"onnx": arguments.onnx, "ema": arguments.ema}
    for path in export_job(arguments.study_dir, arguments.job, arguments.out_dir, **options):
        print(f"wrote {path}")
    return 0


def run_main() -> int:
    """`orchestrator/run.py`: the same as `pcdarts run`."""
    return main(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
