"""The command `pcdarts`: studies, their queue and report, networks.  Bad input ends in one line and exit code 2.

What needs PyTorch or Ray is imported where it is used: a report needs neither, and is there at once.
"""

import argparse
import dataclasses
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.page import FORMATS
from orchestrator import cluster_commands
from orchestrator.config import ProxyConfig, SeedConfig, SelectionConfig, StudyConfig
from orchestrator.options import RunOptions
from orchestrator.presets import RETRAIN_AT_ONCE, STUDIES, study_preset
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.flags import Parser, add_fields, given
from pcdarts.presets import RECIPES

STORAGE_FAILED, INTERRUPTED = 3, 130
STORAGE = "studies"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; its exit code: 0 done, 1 something failed, 2 bad input, 3 storage failed, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", category=UserWarning, message="left out the broken part")  # said once, below
    try:
        return int(arguments.command(arguments, argv))
    except ValueError as error:
        print(f"pcdarts: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # StorageError is one
        print(f"pcdarts: error: {error}; what is done is stored, the same command goes on", file=sys.stderr)
        return STORAGE_FAILED
    except KeyboardInterrupt:
        from orchestrator import output

        print(
            f"\nInterrupted. What is done is stored; go on with:  {output.program()} {shlex.join(argv)}",
            file=sys.stderr,
        )
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pcdarts", description="PC-DARTS searches over seeds and sampling rates on a Ray cluster.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    run = commands.add_parser("run", help="run a study, or go on with one")
    run.add_argument("preset", help=f"what to run: {', '.join(STUDIES)}")
    run.add_argument("--study", metavar="NAME", help="name of the study (default: the preset's name)")
    _add_storage(run)
    run.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="seeds to search with (default: the preset's)"
    )
    run.add_argument(
        "--retrain",
        action=argparse.BooleanOptionalAction,
        help=f"retrain the best cells at once (default: for {', '.join(sorted(RETRAIN_AT_ONCE))}; "
        "else `pcdarts retrain` does it)",
    )
    add_fields(run.add_argument_group("how to run; no result depends on it"), RunOptions)
    swept = run.add_argument_group("the search; several values are searched in every combination")
    add_fields(swept, SearchConfig, several=True, skip=("seed",))
    add_fields(run.add_argument_group("seeds beyond the given ones"), SeedConfig)
    selection = run.add_argument_group("which cells are queued")
    add_fields(selection, SelectionConfig)
    proxies = run.add_argument_group("the short retraining that ranks them before")
    add_fields(proxies, ProxyConfig, prefix="proxy-", skip=("recipe",))
    add_fields(proxies, RetrainConfig, prefix="proxy-", skip=("seed",))
    _add_recipe(run.add_argument_group("how they are retrained"), "the preset's")
    run.set_defaults(command=_run)

    for name, command, text in (
        ("queue", _queue, "print or mend the retraining queue of a study"),
        ("retrain", _retrain, "work off the retraining queue of a study"),
        ("report", _report, "write the report of a study anew, from its tables"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("study_dir", metavar="STUDY_DIR", help="folder or URI of the study")
        sub.set_defaults(command=command)
        if name == "queue":
            sub.add_argument("action", nargs="?", choices=("add", "drop", "retry"), help="what to change")
            sub.add_argument(
                "target", nargs="?", help="add: a genotype or a published name; drop, retry: a job or its beginning"
            )
            sub.add_argument("--top", type=int, metavar="N", help="print the first N jobs")
        if name == "retrain":
            sub.add_argument("--dry-run", action="store_true", help="print the jobs that would run, and stop")
            sub.add_argument("--data-dir", metavar="DIR", help="folder that holds the data sets (default: the study's)")
            add_fields(sub, RunOptions)
            _add_recipe(sub.add_argument_group("another recipe, which the best cells are queued with"), "the study's")
        if name == "report":
            sub.add_argument(
                "--format",
                choices=FORMATS,
                default="html",
                help="one page, its tables in Markdown, or a folder of CSV files (default: html)",
            )

    checking = commands.add_parser("check", help="before a long run: data, storage, cluster, cost")
    checking.add_argument("presets", nargs="*", metavar="PRESET", help="default: cifar10")
    _add_storage(checking)
    checking.add_argument("--data-dir", metavar="DIR", help="folder that holds the data sets")
    looked_at = ("address", "gpus_per_trial", "memory_per_trial", "max_concurrent", "autoscaling")
    add_fields(checking, RunOptions, only=looked_at)
    checking.set_defaults(command=_check)

    counting = commands.add_parser("complexity", help="count weights, multiply-adds and activations of a network")
    counting.add_argument("genotype", metavar="GENOTYPE", help="a published name, a genotype's text, or a file of it")
    counting.add_argument("--recipe", choices=("cifar10", "imagenet"), default="imagenet", help="sizes (imagenet)")
    counting.add_argument("--input", type=int, metavar="PIXELS", help="height and width of images (the recipe's)")
    for name, text in (("channels", "channels of the first cell"), ("layers", "cells"), ("classes", "classes")):
        counting.add_argument(f"--{name}", type=int, metavar="INT", help=f"{text} (default: the recipe's)")
    counting.add_argument("--stem", choices=("cifar", "imagenet"), help="first layers (default: the recipe's)")
    counting.set_defaults(command=_complexity)

    exporting = commands.add_parser("export", help="write the network of a retrained job: weights, cells, model card")
    exporting.add_argument("study_dir", metavar="STUDY_DIR", help="folder or URI of the study")
    exporting.add_argument("job", metavar="JOB", help="job of the queue, as `pcdarts queue` prints it")
    exporting.add_argument("out_dir", metavar="OUT_DIR", help="folder to write to, new or empty")
    exporting.add_argument("--onnx", action="store_true", help="also model.onnx, checked against PyTorch")
    exporting.add_argument(
        "--ema", action="store_true", help="the moving average of the weights (recipes with ema_decay)"
    )
    exporting.set_defaults(command=_export)
    cluster_commands.add_parser(commands)
    return parser


def _add_recipe(parser: argparse._ArgumentGroup, default: str) -> None:
    parser.add_argument("--recipe", choices=RECIPES, help=f"recipe of the retraining (default: {default})")
    add_fields(parser, RetrainConfig, prefix="retrain-")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    """Cluster files set PCDARTS_STORAGE to what all their machines reach."""
    default = os.environ.get("PCDARTS_STORAGE", STORAGE)
    text = f"folder or URI of studies (default: PCDARTS_STORAGE of the environment, else {STORAGE})"
    parser.add_argument("--storage", metavar="DIR", default=default, help=text)


def study_from_arguments(arguments: argparse.Namespace) -> StudyConfig:
    """The preset with what the command line changes; raises ValueError where that cannot work."""
    study = study_preset(arguments.preset)
    values = given(arguments, SearchConfig) | ({"seed": arguments.seeds} if arguments.seeds else {})
    if "epochs" in values:
        for name, scaled in _scaled_warmups(study.search, min(values["epochs"]), values, "--").items():
            values[name] = [scaled]
    single = {name: options[0] for name, options in values.items() if len(options) == 1 and name not in study.sweep}
    swept = {name: tuple(options) for name, options in values.items() if name not in single}
    return StudyConfig(
        name=arguments.study or study.name,
        search=_replaced(study, single, swept),
        sweep={**study.sweep, **swept},
        retrain=_recipe(
            arguments, RECIPES[arguments.recipe]() if arguments.recipe else study.retrain, study.search, "retrain-"
        ),
        proxy=dataclasses.replace(
            study.proxy,
            **given(arguments, ProxyConfig, prefix="proxy-"),
            recipe=_recipe(arguments, study.proxy.recipe, study.search, "proxy-"),
        ),
        selection=dataclasses.replace(study.selection, **given(arguments, SelectionConfig)),
        seeds=dataclasses.replace(study.seeds, **given(arguments, SeedConfig)),
    )


def _recipe(arguments: argparse.Namespace, preset: RetrainConfig, search: SearchConfig, prefix: str) -> RetrainConfig:
    """A retraining with what the command line changes, also where it says so of the search alone."""
    values: dict[str, Any] = given(arguments, RetrainConfig, prefix=prefix)
    of_search = given(arguments, SearchConfig)
    if "data_dir" in of_search:
        values.setdefault("data_dir", of_search["data_dir"][0])
    if "dataset" in of_search and preset.dataset == search.dataset:
        values.setdefault("dataset", of_search["dataset"][0])
    if "epochs" in values:
        values |= _scaled_warmups(preset, values["epochs"], values, f"--{prefix}")
    return dataclasses.replace(preset, **values)


def _scaled_warmups(
    preset: SearchConfig | RetrainConfig, epochs: int, told: Mapping[str, Any], prefix: str
) -> dict[str, int]:
    """Warm-ups that keep their share of the epochs, where the command line changes the epochs alone."""
    scaled = {}
    for name in ("warmup_epochs", "learning_rate_warmup_epochs"):
        before = getattr(preset, name, 0)
        if before and name not in told:
            scaled[name] = max(0, min(round(before * epochs / preset.epochs), epochs - 1))
            flag = f"{prefix}{name.replace('_', '-')}"
            print(f"{name} is {scaled[name]} instead of {before}, in proportion to {prefix}epochs; {flag} sets it")
    return scaled


def _replaced(study: StudyConfig, single: dict[str, Any], swept: dict[str, tuple[Any, ...]]) -> SearchConfig:
    """The common part of all searches, made with the first value of every swept field so that it is checked whole.

    But for the method: darts would forget k.
    """
    first = {name: values[0] for name, values in {**study.sweep, **swept}.items() if name != "method"}
    return dataclasses.replace(study.search, **first, **single)


def _run(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.files import join
    from orchestrator import output
    from orchestrator.storage import open_study
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
    from orchestrator import output
    from orchestrator.queue import RetrainQueue
    from orchestrator.storage import open_study

    if arguments.action and arguments.target is None:
        raise ValueError(f"queue {arguments.action} needs a genotype or a job, as in `pcdarts queue STUDY drop 1f2e`")
    if arguments.top is not None and arguments.top < 1:
        raise ValueError(f"--top is {arguments.top}, but must be at least 1")
    study, store = open_study(arguments.study_dir)
    queue = RetrainQueue(study, store)
    if arguments.action:
        change = {"add": queue.add, "drop": queue.drop, "retry": queue.retry}[arguments.action]
        print(f"{arguments.action}: {change(arguments.target)}")
    jobs = queue.jobs()[: arguments.top]
    print(output.queue(jobs, queue.events.broken))
    return 0


def _retrain(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.report import write_report
    from orchestrator import output
    from orchestrator.queue import RetrainQueue
    from orchestrator.retraining import work_queue
    from orchestrator.storage import open_study
    from orchestrator.study import failures

    options = RunOptions(**given(arguments, RunOptions))
    study, store = open_study(arguments.study_dir, options.storage_patience)
    study = _retrained_otherwise(study, arguments)
    queue = RetrainQueue(study, store)
    if arguments.dry_run:
        jobs = [job for job in queue.jobs() if job.state in ("queued", "running")]
        print(output.queue(jobs, queue.events.broken) if jobs else "No job waits.")
        if unqueued := queue.unqueued():
            print(f"{len(unqueued)} more would be queued: {', '.join(unqueued)}")
        return 0
    work_queue(study, store, options=options)
    write_report(arguments.study_dir)
    print(output.queue(queue.jobs(), queue.events.broken))
    return 1 if failures(store, queue) else 0


def _retrained_otherwise(study: StudyConfig, arguments: argparse.Namespace) -> StudyConfig:
    """The study with the recipe and the data folder that `pcdarts retrain` was given."""
    recipe, proxy = study.retrain, study.proxy.recipe
    if arguments.recipe:
        recipe = dataclasses.replace(RECIPES[arguments.recipe](), data_dir=recipe.data_dir)
    changes = given(arguments, RetrainConfig, prefix="retrain-")
    if "epochs" in changes:
        changes |= _scaled_warmups(recipe, changes["epochs"], changes, "--retrain-")
    if arguments.data_dir:
        proxy = dataclasses.replace(proxy, data_dir=arguments.data_dir)
        changes.setdefault("data_dir", arguments.data_dir)
    return dataclasses.replace(
        study,
        retrain=dataclasses.replace(recipe, **changes),
        proxy=dataclasses.replace(study.proxy, recipe=proxy),
    )


def _report(arguments: argparse.Namespace, argv: list[str]) -> int:
    from analysis.report import write_report
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
    from orchestrator.checks import check

    options = RunOptions(**given(arguments, RunOptions))
    presets = [study_preset(name) for name in arguments.presets or ["cifar10"]]
    problems = [check(study, arguments.storage, arguments.data_dir, options) for study in presets]
    return 1 if any(problems) else 0


def _complexity(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.costs import complexity_text
    from pcdarts.genotype import read_genotype

    names = ("channels", "layers", "classes", "stem", "input")
    sizes = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    print(complexity_text(read_genotype(arguments.genotype), arguments.recipe, sizes))
    return 0


def _export(arguments: argparse.Namespace, argv: list[str]) -> int:
    from orchestrator.exporting import export_job

    options = {"onnx": arguments.onnx, "ema": arguments.ema}
    for path in export_job(arguments.study_dir, arguments.job, arguments.out_dir, **options):
        print(f"wrote {path}")
    return 0


def run_main() -> int:
    """`orchestrator/run.py`: the same as `pcdarts run`."""
    return main(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
