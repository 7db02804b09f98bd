"""Command line: `python -m analysis` with columns, report, compact, theory or import, see --help."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from analysis.report.blocks import FORMATS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, or 2 where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Tables and report of a study.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("columns", help="print what every column means, in Markdown")
    report = commands.add_parser("report", help="write the report into a study's folder and print its path")
    report.add_argument("study_dir", metavar="STUDY_DIR", help="folder of the study, or a URI such as s3://bucket/demo")
    report.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="one page, its tables in Markdown, or a folder of CSV files (default: html)",
    )
    compact = commands.add_parser("compact", help="move the parts of a study's tables into few files, while none runs")
    compact.add_argument("study_dir", metavar="STUDY_DIR", help="folder of the study, or a URI")
    commands.add_parser("theory", help="print how partial channel connection regularizes a linear super-network")
    imports = commands.add_parser("import", help="turn published search logs into the tables of a study")
    formats = imports.add_subparsers(dest="format", required=True)
    robustdarts = formats.add_parser("robustdarts", help="logs of Understanding and Robustifying DARTS")
    robustdarts.add_argument("logs_dir", metavar="LOGS_DIR", help="folder that holds SPACE/DATA_SET/JOB/log_N.txt")
    robustdarts.add_argument("out_dir", metavar="OUT_DIR", help="folder of the study to write")
    options = parser.parse_args(arguments)
    try:
        if options.command == "columns":
            from analysis.tables import column_reference

            print(column_reference(), end="")
        elif options.command == "theory":
            from analysis.theory import report as theory_report

            print(theory_report(), end="")
        elif options.command == "import":
            from analysis.robustdarts.importer import import_logs

            print(import_logs(options.logs_dir, options.out_dir).text())
            print(
                f"wrote searches and epochs into {options.out_dir}; report: python -m analysis report {options.out_dir}"
            )
        elif options.command == "compact":
            from analysis.store import ResultStore
            from analysis.tables import EPOCHS, SEARCHES

            store = ResultStore(_existing(options.study_dir))
            for table in (SEARCHES, EPOCHS):
                if parts := store.parts(table):
                    print(f"{table.name}: {len(parts)} parts, {store.compact(table)} files fewer")
        else:
            from analysis.report.build import write_report

            _existing(options.study_dir)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                print(write_report(options.study_dir, options.format))
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _existing(study_dir: str) -> str:
    if "://" not in study_dir and not os.path.isdir(study_dir):
        raise ValueError(f"there is no study folder {study_dir!r}; give the folder that holds searches/")
    return study_dir


if __name__ == "__main__":
    sys.exit(main())
