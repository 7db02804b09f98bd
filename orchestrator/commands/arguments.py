"""Flags that several commands share, and the changes to a study that they request."""

import argparse
import os
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from orchestrator.commands.parser import Parser
from orchestrator.overrides import FIELDS, parse_assignments
from orchestrator.presets import STUDIES
from orchestrator.tiny import Scale

STORAGE = "studies"
RUN_FLAGS = {
    "address": "run.address",
    "gpus_per_trial": "run.gpus_per_trial",
    "max_concurrent": "run.max_concurrent",
}
RETRAIN_FLAGS = {"retrain_seeds": "final.seeds", **RUN_FLAGS}
STUDY_FLAGS = {
    "study": "name",
    "seeds": "search.seed",
    "k": "search.k",
    "epochs": "search.epochs",
    "dataset": "search.dataset",
    "data_dir": "search.data_dir",
    "retrain": "run.retrain",
    **RETRAIN_FLAGS,
}
"""The fields that have a flag."""


def path(text: str) -> str:
    """A path or URI given by hand, with `~` for the home folder, which a shell leaves in `--storage=~/x`.

    Raises ArgumentTypeError if that folder is not known.
    """
    found = os.path.expanduser(text)
    if found.partition(os.sep)[0] == "~":
        raise argparse.ArgumentTypeError(f"{text!r} names the home folder, but HOME is not set; give the whole path")
    return found


def add_study_flags(parser: Parser) -> None:
    """The flags of `pcdarts run`: those of a study, its storage, and how to run it."""
    # The cluster files set it to a storage that all machines reach.
    default = os.environ.get("PCDARTS_STORAGE", STORAGE)
    parser.add_argument("--study", metavar="NAME", help="name of the study (default: that of the preset or file)")
    parser.add_argument(
        "--storage",
        metavar="DIR",
        type=path,
        default=default,
        help=f"folder or URI of studies (default: PCDARTS_STORAGE of the environment, else {STORAGE})",
    )
    for flag, metavar, text in (
        ("seeds", "SEED", "seeds to search with"),
        ("k", "K", "partial channel connection: 1 / K of the channels are mixed"),
        ("epochs", "N", "epochs of a search"),
        ("dataset", "NAME", "data set of the search"),
    ):
        parser.add_argument(f"--{flag}", nargs="+", metavar=metavar, help=text)
    parser.add_argument("--data-dir", metavar="DIR", type=path, help="folder that holds the data sets")
    add_retrain_seeds(parser)
    parser.add_argument(
        "--retrain", action=argparse.BooleanOptionalAction, help="retrain the best cells right after the searches"
    )
    add_scale(parser)
    add_run_flags(parser, "search.learning_rate=0.05")


def add_retrain_seeds(parser: Parser) -> None:
    """How often a cell is trained in full."""
    parser.add_argument("--retrain-seeds", metavar="N", help="full trainings of each chosen cell")


def add_scale(parser: Parser) -> None:
    """The scale of a study."""
    parser.add_argument(
        "--scale",
        choices=get_args(Scale),
        default="full",
        help="tiny: the same settings, race and stages on synthetic images in minutes; accuracies mean nothing",
    )


def add_run_flags(parser: Parser, example: str) -> None:
    """How to run a study, and `--set`."""
    parser.add_argument("--address", help="Ray cluster: host:port, auto, or local to start one here")
    parser.add_argument("--gpus-per-trial", metavar="N", help="GPUs of a search or retraining; fractions share one")
    parser.add_argument("--max-concurrent", metavar="N", help="trials at once")
    add_assignments(
        parser,
        FIELDS,
        f"any other field, as in {example}; `pcdarts run --help-fields` lists all",
        "SECTION.FIELD=VALUE",
    )


def add_assignments(parser: Parser, fields: Iterable[str], text: str, metavar: str) -> None:
    """`--set`, which collects assignments to the fields in `assignments`."""
    action = parser.add_argument(
        "--set", dest="assignments", nargs="+", action="extend", default=[], metavar=metavar, help=text
    )
    complete(action, [f"{name}=" for name in fields])


def add_study_dir(parser: Parser, what: str = "folder or URI of the study") -> None:
    """The folder of an existing study."""
    parser.add_argument("study_dir", metavar="STUDY", type=path, help=what)


def add_source(parser: Parser, *, several: bool = False) -> None:
    """The study that a command is about: a preset or a study file."""
    action = parser.add_argument(
        "source",
        nargs="*" if several else "?",
        metavar="PRESET|FILE",
        help=f"a study file NAME.toml, or one of {', '.join(STUDIES)}",
    )
    complete(action, STUDIES)


def complete(action: argparse.Action, words: Any) -> None:
    """Offer words for an argument in the shell's completion."""
    action.completer = lambda **_: list(words)  # type: ignore[attr-defined]


def changes(arguments: argparse.Namespace, flags: Mapping[str, str] = STUDY_FLAGS) -> dict[str, Any]:
    """The changes to a study that the given flags ask for, and then `--set`."""
    texts = []
    for flag, name in flags.items():
        value = getattr(arguments, flag)
        if value is not None:
            texts.append(f"{name}={','.join(value) if isinstance(value, list) else value}")
    return parse_assignments([*texts, *arguments.assignments])
