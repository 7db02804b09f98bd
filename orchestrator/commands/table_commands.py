"""`pcdarts report`, `compact`, `columns` and `theory`: tables and what is made of them.

They need neither PyTorch nor Ray.
"""

import argparse
from typing import TYPE_CHECKING

from analysis.report.formats import FORMATS
from orchestrator.commands.parser import Parser

if TYPE_CHECKING:
    from analysis.store import ResultStore


def add_parsers(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the four commands."""
    report = commands.add_parser("report", help="write the report of a study from its tables")
    report.add_argument("study_dir", metavar="STUDY", help="folder or URI of the study")
    report.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="one page, its tables in Markdown, or a folder of CSV files (default: html)",
    )
    report.set_defaults(command=_report)

    compact = commands.add_parser("compact", help="move the rows of a study into few files, while nothing runs")
    compact.add_argument("study_dir", metavar="STUDY", help="folder or URI of the study")
    compact.set_defaults(command=_compact)

    theory = commands.add_parser("theory", help="print how partial channels regularize a linear super-network")
    theory.set_defaults(command=_theory)

    columns = commands.add_parser("columns", help="print what every column of the tables means, in Markdown")
    columns.set_defaults(command=_columns)


def _report(arguments: argparse.Namespace) -> int:
    from analysis.report.build import write_report

    _existing_tables(arguments.study_dir)
    print(f"wrote {write_report(arguments.study_dir, arguments.format)}")
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    from analysis.tables import EPOCHS, SEARCHES

    store = _existing_tables(arguments.study_dir)
    for table in (SEARCHES, EPOCHS):
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
