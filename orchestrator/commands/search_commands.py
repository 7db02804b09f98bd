"""`pcdarts search`, `split` and `selftest`: what runs on this machine without Ray."""

import argparse
import dataclasses
import os
import shlex
import sys
from typing import Any

from orchestrator.commands.arguments import add_assignments, path
from orchestrator.commands.parser import Parser
from orchestrator.overrides import parse_assignments, section_fields
from pcdarts.config import OWN_IMAGES, SearchConfig
from pcdarts.presets import SEARCHES
from pcdarts.selftest import kit


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the three commands."""
    search = commands.add_parser("search", help="search one cell on this machine, without Ray")
    search.add_argument("--preset", default="demo", choices=SEARCHES, help="where the other fields come from (demo)")
    search.add_argument("--checkpoint", metavar="FILE", type=path, help="save the search here, and resume it from here")
    text = "any field of the search, as in k=2; `pcdarts run --help-fields` explains them"
    add_assignments(search, section_fields("search"), text, "FIELD=VALUE")
    search.set_defaults(command=_search)

    split = commands.add_parser("split", help="write the ImageNet search lists (10 %% and 2.5 %% of every class)")
    split.add_argument(
        "--data-dir", default="data", type=path, metavar="DIR", help="folder that holds train/<class>/<image>"
    )
    split.add_argument(
        "--output", default="imagenet_search_split.txt", type=path, metavar="FILE", help="where to write them"
    )
    split.set_defaults(command=_split)

    testing = commands.add_parser(
        "selftest",
        help="test a new machine: correctness, speed, memory, cost; writes a page with verdicts",
        description="Compare GPU and CPU, measure steps, memory and loading, and extrapolate the cost of whole runs. "
        "Needs neither Ray nor downloads, and at most 10 minutes on a GPU.",
    )
    kit.add_flags(testing)
    testing.set_defaults(command=_selftest)


def search_config(preset: str, assignments: list[str]) -> SearchConfig:
    """The preset with the assigned fields; raises ValueError for other fields and for several values."""
    names = section_fields("search")
    texts = [f"search.{text}" if text.partition("=")[0] in names else text for text in assignments]
    values: dict[str, Any] = {}
    for name, value in parse_assignments(texts).items():
        section, _, field = name.partition(".")
        if section != "search":
            raise ValueError(f"{name} is not a field of a search and has no effect here")
        if isinstance(value, list):
            raise ValueError(f"{name} has {len(value)} values, but one search takes one; `pcdarts run` searches all")
        values[field] = os.path.expanduser(value) if field in ("data_dir", "split_file") else value
    return dataclasses.replace(SEARCHES[preset](), **values)


def _search(arguments: argparse.Namespace) -> int:
    config = search_config(arguments.preset, arguments.assignments)

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pcdarts.results import EpochRecord
    from pcdarts.search import search
    from pcdarts.training.checkpoint import CheckpointFile

    if config.method == "random":
        print(f"random cell of the space {config.space}, seed {config.seed}; nothing is trained")
        print(search(config).genotype)
        return 0
    if config.dataset in OWN_IMAGES:
        config = _described(config)
    checkpoint = CheckpointFile(arguments.checkpoint) if arguments.checkpoint else None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("epochs", total=config.epochs)

        def on_epoch(record: EpochRecord) -> None:
            bar.update(task, completed=record.epoch + 1)
            accuracy = "" if record.valid_accuracy is None else f"  validation {record.valid_accuracy:6.2f} %"
            phase = "weights and alpha" if record.alpha_trained else "weights only"
            bar.console.print(
                f"epoch {record.epoch:3d}  {phase:17s}  training {record.train_accuracy:6.2f} %{accuracy}  "
                f"{record.seconds:.1f} s",
                highlight=False,
            )

        try:
            result = search(config, checkpoint=checkpoint, on_epoch=on_epoch, log=bar.console.print)
        except FloatingPointError as error:
            print(f"pcdarts: error: {error}", file=sys.stderr)
            return 1
    if result.stop_reason:
        print(f"stopped after epoch {result.epochs_trained - 1}, with the cell of epoch {result.chosen_epoch}")
        print(result.stop_reason)
    print(f"validation accuracy {result.valid_accuracy:.2f} % (shared weights), {result.seconds:.0f} s")
    print(result.genotype)
    return 0


def _described(config: SearchConfig) -> SearchConfig:
    """The configuration with what was found in its images, which are printed."""
    from orchestrator.trials.progress import image_progress
    from pcdarts.data.sources import described

    with image_progress(f"images in {config.data_dir}") as on_progress:
        config, description = described(config, processes=os.cpu_count() or 1, on_progress=on_progress)
    print(f"Images: {description.summary}")
    return config


def _split(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from pcdarts.data.imagenet_split import search_split, write_split

    lists = search_split(Path(arguments.data_dir, "train"))
    write_split(arguments.output, lists)
    use = shlex.quote(f"search.split_file={arguments.output}")
    print(f"wrote {len(lists)} images to {arguments.output}; use it with --set {use}")
    return 0


def _selftest(arguments: argparse.Namespace) -> int:
    return kit.selftest(kit.options_of(arguments))
