"""`pcdarts import`: results and search logs of other programs become the tables of a study."""

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.commands.arguments import STORAGE, complete, path
from orchestrator.commands.parser import Parser
from pcdarts.config import RetrainConfig
from pcdarts.genotype import Genotype
from pcdarts.presets import RECIPES

if TYPE_CHECKING:
    from analysis.importing.results import Size


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command, with one sub-command for each format."""
    imports = commands.add_parser("import", help="turn results of other programs into the tables of a study")
    formats = imports.add_subparsers(required=True, metavar="FORMAT", parser_class=Parser)
    for kind, text in (("csv", "a CSV file with a header"), ("json", "a JSON list of objects, or one object per line")):
        parser = formats.add_parser(
            kind,
            help=f"results in {text}: a search and the accuracy of its retrained cell in each row",
            description="FIELD is a column of the table `searches`, or retrain. and a column of `retrains`; `pcdarts "
            "columns` explains them. valid_error and test_error are stored as accuracies. Fields without a source stay "
            "missing.",
        )
        parser.add_argument("file", metavar="FILE", help=text)
        if kind == "csv":
            parser.add_argument("--delimiter", metavar="CHARACTER", default=",", help="between values (default: ,)")
        _add_flags(parser)
        parser.set_defaults(command=_import_results, kind=kind)
    robustdarts = formats.add_parser("robustdarts", help="search logs of Understanding and Robustifying DARTS")
    robustdarts.add_argument("logs_dir", metavar="LOGS", help="folder that holds SPACE/DATA_SET/JOB/log_N.txt")
    robustdarts.add_argument("out_dir", metavar="OUT", type=path, help="folder of the study to write")
    robustdarts.set_defaults(command=_import_logs)


def _add_flags(parser: Parser) -> None:
    parser.add_argument("--study", metavar="NAME", required=True, help="name of the study to write")
    parser.add_argument(
        "--storage", metavar="DIR", type=path, default=STORAGE, help=f"folder of studies (default: {STORAGE})"
    )
    for flag, metavar, text in (
        ("map", "FIELD=COLUMN", "columns of the file, as in genotype=cell valid_accuracy=one_shot test_accuracy=final"),
        ("set", "FIELD=VALUE", "fields that are equal in all rows, as in epochs=50 retrain.validation_portion=0"),
    ):
        parser.add_argument(f"--{flag}", nargs="+", action="extend", default=[], metavar=metavar, help=text)
    parser.add_argument(
        "--unit", choices=("percent", "fraction"), help="unit of accuracies and errors; needed for them"
    )
    for flag, metavar, text in (
        ("dataset", "NAME", "data set of the searches and retrainings"),
        ("method", "NAME", "method of the searches: pcdarts, darts or random, ..."),
        ("k", "K", "partial channel connection of the searches"),
    ):
        parser.add_argument(f"--{flag}", metavar=metavar, help=f"{text}; short for --set {flag}={metavar}")
    recipe = parser.add_argument(
        "--recipe", choices=RECIPES, help="recipe of the retrainings, if it was exactly this one; gives network sizes"
    )
    complete(recipe, RECIPES)


def _import_results(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from analysis.importing.fields import Sources
    from analysis.importing.results import read_results, write_results
    from analysis.importing.rows import read_rows
    from analysis.storage.study_files import join

    values = _assignments("--set", arguments.set)
    values |= {name: value for name in ("dataset", "method", "k") if (value := getattr(arguments, name)) is not None}
    sources = Sources(columns=_assignments("--map", arguments.map), values=values, unit=arguments.unit)
    delimiter = {"delimiter": arguments.delimiter} if arguments.kind == "csv" else {}
    rows = read_rows(Path(arguments.file), arguments.kind, **delimiter)
    recipe = RECIPES[arguments.recipe]() if arguments.recipe else None
    size = _size(recipe) if recipe else None
    results = read_results(rows, arguments.file, sources, study=arguments.study, recipe=recipe, size=size)
    out_dir = join(arguments.storage, arguments.study)
    write_results(results, out_dir)
    print(results.text())
    print(f"wrote searches, queue and retrains into {out_dir}; see them with:  pcdarts report {shlex.quote(out_dir)}")
    return 0


def _size(recipe: RetrainConfig) -> "Size":
    """A function that counts parameters and multiply-adds of the network that a recipe trains."""
    from pcdarts.complexity import network_complexity

    def size(genotype: Genotype) -> tuple[int, int]:
        found = network_complexity(genotype, recipe)
        return found.parameters, found.macs

    return size


def _assignments(flag: str, texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise ValueError(f"{flag} is {text!r}, but must look like NAME=VALUE")
        if name in found:
            raise ValueError(f"{flag} has {name} twice, but must have it once; remove one")
        found[name] = value
    return found


def _import_logs(arguments: argparse.Namespace) -> int:
    from analysis.robustdarts.importer import import_logs

    print(import_logs(arguments.logs_dir, arguments.out_dir).text())
    out_dir = arguments.out_dir
    print(f"wrote searches and epochs into {out_dir}; see them with:  pcdarts report {shlex.quote(out_dir)}")
    return 0
