"""The figures of a report as files: each chart, its numbers, and the drawn cells."""

from collections.abc import Iterator
from pathlib import Path

from analysis.drawing.svg_files import FILE_FORMATS, FileFormat, svg_file
from analysis.figures import chart_file, unchecked
from analysis.sections.blocks import Card, Report

DRAWING = frozenset({"series", "place"})
"""Columns that only serve the drawing."""


def write_figures(report: Report, folder: str, form: FileFormat) -> list[str]:
    """Write every figure of a report to NAME.pdf (svg, png); of charts also numbers and caption; returns the paths.

    Their numbers are in NAME.csv, the caption is in NAME.txt.

    Raises ValueError for an unknown format.
    """
    if form not in FILE_FORMATS:
        raise ValueError(f"format of a figure is {form!r}, but must be one of {', '.join(FILE_FORMATS)}")
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in _files(report, form):
        path = Path(folder, name)
        path.write_bytes(content)
        written.append(str(path))
    return written


def _files(report: Report, form: FileFormat) -> Iterator[tuple[str, bytes]]:
    for chart in report.charts():
        with unchecked():
            yield f"{chart.id}.{form}", chart_file(chart.draw(chart.frame), form)
        numbers = chart.frame.drop(columns=[name for name in DRAWING if name in chart.frame])
        yield f"{chart.id}.csv", numbers.to_csv(index=False, lineterminator="\n").encode()
        yield f"{chart.id}.txt", f"{chart.caption}\n".encode()
    for section in report.sections:
        for place, card in enumerate((block for block in section.blocks if isinstance(block, Card)), 1):
            for figure in card.figures:
                kind = figure.caption.lower().replace(" ", "-")
                yield f"{section.id}-{place}-{kind}.{form}", svg_file(str(figure.svg), form)
