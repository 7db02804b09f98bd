"""Command line: `python -m analysis columns` and `python -m analysis report STUDY_DIR`."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from analysis.page import FORMATS


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
    options = parser.parse_args(arguments)
    try:
        if options.command == "columns":
            from analysis.tables import column_reference

            print(column_reference(), end="")
        else:
            from analysis.report import write_report

            if "://" not in options.study_dir and not os.path.isdir(options.study_dir):
                raise ValueError(
                    f"there is no study folder {options.study_dir!r}; give the folder that holds searches/"
                )
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                print(write_report(options.study_dir, options.format))
            for warning in caught:
                print(f"warning: {warning.message}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
