"""`python -m pcdarts`: one search without Ray, and the ImageNet image lists."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pcdarts.config import SearchConfig
from pcdarts.config.flags import Parser, add_fields, given
from pcdarts.data.imagenet_split import search_split, write_split
from pcdarts.presets import SEARCHES
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training.checkpoint import CheckpointFile


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; bad input ends in one line and exit code 2."""
    parser = Parser(prog="python -m pcdarts", description="One PC-DARTS search on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    one = commands.add_parser("search", help="search a cell")
    one.add_argument("--preset", default="demo", choices=SEARCHES, help="where the other fields come from")
    one.add_argument("--checkpoint", metavar="FILE", help="save the search here, and go on from here if it exists")
    add_fields(one, SearchConfig, default="the preset's")
    one.set_defaults(command=_search)
    split = commands.add_parser("split", help="write the ImageNet search lists (10 %% and 2.5 %% of every class)")
    split.add_argument("--data-dir", default="data", metavar="DIR", help="folder that holds train/<class>/<image>")
    split.add_argument("--output", default="imagenet_search_split.txt", metavar="FILE", help="where to write them")
    split.set_defaults(command=_split)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"python -m pcdarts: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        checkpoint = getattr(arguments, "checkpoint", None)
        saved = f"; the same command goes on from {checkpoint}" if checkpoint else ""
        print(f"\nInterrupted{saved}.", file=sys.stderr)
        return 130


def _search(arguments: argparse.Namespace) -> int:
    config = dataclasses.replace(SEARCHES[arguments.preset](), **given(arguments, SearchConfig))
    if config.method == "random":
        print(f"random cell of the space {config.space}, seed {config.seed}; nothing is trained")
        print(search(config).genotype)
        return 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
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

        checkpoint = CheckpointFile(arguments.checkpoint) if arguments.checkpoint else None
        result = search(config, checkpoint=checkpoint, on_epoch=on_epoch, log=bar.console.print)
    if result.stop_reason:
        print(f"stopped after epoch {result.epochs_trained - 1}, with the cell of epoch {result.chosen_epoch}")
        print(result.stop_reason)
    print(f"validation accuracy {result.valid_accuracy:.2f} % (shared weights), {result.seconds:.0f} s")
    print(result.genotype)
    return 0


def _split(arguments: argparse.Namespace) -> int:
    lists = search_split(Path(arguments.data_dir, "train"))
    write_split(arguments.output, lists)
    print(f"wrote {len(lists)} images to {arguments.output}; use it with --split-file {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
