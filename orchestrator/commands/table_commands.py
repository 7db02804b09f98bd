"""`pcdarts report`, `track`, `compact`, `columns` and `theory`: tables and what is made of them.

They need neither PyTorch nor Ray.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.drawing.svg_files import FILE_FORMATS
from analysis.report.formats import FORMATS
from orchestrator.commands.arguments import add_study_dir, path
from orchestrator.commands.parser import Parser

if TYPE_CHECKING:
    from analysis.store import ResultStore
    from analysis.tracking.tracker import Tracker
    from pcdarts.config import SearchConfig


TRACKERS = ("mlflow", "tensorboard", "wandb")


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the five commands."""
    report = commands.add_parser("report", help="write the report of a study from its tables")
    add_study_dir(report)
    report.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="one page, its tables in Markdown, or a folder of CSV files (default: html)",
    )
    report.add_argument(
        "--out",
        metavar="FILE",
        default="",
        type=path,
        help="write it there, for csv to a folder (default: into the study)",
    )
    report.add_argument(
        "--figures", metavar="DIR", type=path, help="also write every figure to a file, and its numbers as CSV"
    )
    report.add_argument(
        "--figure-format", choices=FILE_FORMATS, default="pdf", help="format of these files (default: pdf)"
    )
    report.add_argument("--latex", metavar="FILE", type=path, help="also write the main tables in LaTeX, with booktabs")
    report.set_defaults(command=_report)

    track = commands.add_parser("track", help="mirror a study in MLflow, TensorBoard or Weights & Biases")
    add_study_dir(track)
    track.add_argument("tracker", choices=TRACKERS, metavar="TRACKER", help=f"{', '.join(TRACKERS)}; each is an extra")
    track.add_argument("target", metavar="TARGET", help="mlflow: URI of a server; tensorboard: folder; wandb: project")
    track.add_argument("--experiment", metavar="NAME", help="mlflow: name of the experiment (default: pcdarts)")
    track.add_argument(
        "--follow",
        action="store_true",
        help="keep updating until the study has finished, and wait for a tracker that fails",
    )
    track.add_argument("--interval", type=float, default=10.0, metavar="S", help="seconds between updates (10)")
    track.set_defaults(command=_track)

    compact = commands.add_parser("compact", help="move the rows of a study into few files, while nothing runs")
    add_study_dir(compact)
    compact.set_defaults(command=_compact)

    theory = commands.add_parser("theory", help="print how partial channels regularize a linear super-network")
    theory.set_defaults(command=_theory)

    columns = commands.add_parser("columns", help="print what every column of the tables means, in Markdown")
    columns.set_defaults(command=_columns)


def _report(arguments: argparse.Namespace) -> int:
    from analysis.report.build import read_report, write_report
    from analysis.storage.storage_retry import StorageError

    _existing_tables(arguments.study_dir)
    report = read_report(arguments.study_dir)
    try:
        print(f"wrote {write_report(arguments.study_dir, arguments.format, report, arguments.out)}")
    except StorageError as error:
        error.remedy = "give --out FILE to write the report elsewhere"
        raise
    if arguments.figures:
        from analysis.report.figure_files import write_figures

        written = write_figures(report, arguments.figures, arguments.figure_format)
        print(f"wrote {len(written)} files to {arguments.figures}")
    if arguments.latex:
        from analysis.report.latex import latex

        Path(arguments.latex).write_text(latex(report), encoding="utf-8")
        print(f"wrote {arguments.latex}")
    return 0


def _track(arguments: argparse.Namespace) -> int:
    from analysis.tracking.mirror import Mirror, follow, summary
    from orchestrator.storage.live_status import read_live_status

    if not arguments.interval > 0:
        raise ValueError(f"--interval is {arguments.interval:g}, but must be above 0")
    if arguments.experiment and arguments.tracker != "mlflow":
        raise ValueError(f"--experiment is of mlflow, but the tracker is {arguments.tracker}; leave it out")
    store = _existing_tables(arguments.study_dir)

    def open_mirror() -> Mirror:
        return Mirror(store, _tracker(arguments), _planned(store))

    def finished() -> bool:
        status = read_live_status(store)
        return status is not None and status.driver.phase == "finished"

    if arguments.follow:
        follow(open_mirror, lambda line: print(line, flush=True), finished=finished, interval=arguments.interval)
        return 0
    mirror = open_mirror()
    print(summary(mirror.update()))
    mirror.close()
    return 0


def _tracker(arguments: argparse.Namespace) -> "Tracker":
    if arguments.tracker == "mlflow":
        from analysis.tracking.mlflow_tracker import MlflowTracker

        return MlflowTracker(arguments.target, arguments.experiment or "pcdarts")
    if arguments.tracker == "tensorboard":
        from analysis.tracking.tensorboard_tracker import TensorBoardTracker

        return TensorBoardTracker(arguments.target)
    from analysis.tracking.wandb_tracker import WandbTracker

    return WandbTracker(arguments.target)


def _planned(store: "ResultStore") -> "dict[str, SearchConfig]":
    """The searches of a study by their id; empty for an import, which has no configuration."""
    from orchestrator.storage.study_folder import STUDY_FILE, open_study

    if "config" not in json.loads(store.read_text(STUDY_FILE) or "{}"):
        return {}
    return {search.search_id: search for search in open_study(store.root)[0].searches()}


def _compact(arguments: argparse.Namespace) -> int:
    from analysis.tables import EPOCHS, RETRAIN_EPOCHS, SEARCHES

    store = _existing_tables(arguments.study_dir)
    for table in (SEARCHES, EPOCHS, RETRAIN_EPOCHS):
        if parts := store.parts(table):
            print(f"{table.name}: {len(parts)} parts, {store.compact(table)} files fewer")
    return 0


def _theory(arguments: argparse.Namespace) -> int:
    from analysis.theory.summary import summary

    print(summary(), end="")
    return 0


def _columns(arguments: argparse.Namespace) -> int:
    from analysis.tables import column_reference

    print(column_reference(), end="")
    return 0


def _existing_tables(study_dir: str) -> "ResultStore":
    """The tables of a study, or of an import, which has no study.json; raises ValueError if there are none."""
    from analysis.store import ResultStore
    from analysis.tables import TABLES

    store = ResultStore(study_dir)
    if store.read_text("study.json") is None and not any(store.parts(table) for table in TABLES):
        raise ValueError(f"{study_dir!r} holds no study; give the folder that `pcdarts run` or an import printed")
    return store
