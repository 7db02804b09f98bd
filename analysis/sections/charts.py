"""Figures as blocks of the report: a chart for each panel, with its numbers as a table."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from analysis.figures import FIGURES, panels
from analysis.figures.palette import COLORS, Palette
from analysis.sections.blocks import Chart, Choice, Number, ReportTable
from analysis.sections.wording import MISSING
from analysis.study_data import StudyData

DIGITS = 5
"""Significant digits of the numbers in a table."""
HELPERS = frozenset({"panel", "series", "place", "measure", "unit"})
"""Columns that only serve the drawing."""
TableOf = Callable[[str, pd.DataFrame], ReportTable]


def charts(
    name: str,
    data: StudyData,
    caption: Callable[[str, pd.DataFrame], str],
    *,
    table: TableOf | None = None,
    half: bool = True,
) -> list[Chart]:
    """The charts of one of FIGURES, one for each panel; none without numbers.

    `caption` takes the title and the numbers of a panel; `table` takes an id and the numbers, default: all of them.
    """
    figure = FIGURES[name]
    found = [(title, rows) for title, rows in panels(figure.data(data)).items() if len(rows)]
    made = []
    for place, (title, rows) in enumerate(found, 1):
        id = name if len(found) == 1 else f"{name}-{place}"
        numbers = table(id, rows) if table else numbers_table(id, rows)
        made.append(Chart(id=id, caption=caption(title, rows), frame=rows, draw=figure.chart, table=numbers, half=half))
    return made


def numbers_table(id: str, frame: pd.DataFrame, columns: Sequence[str] = ()) -> ReportTable:
    """The columns of a frame as they are, default: all but those that only serve the drawing."""
    names = list(columns) or [name for name in frame if name not in HELPERS and frame[name].notna().any()]
    texts = frozenset(name.replace("_", " ") for name in names if not pd.api.types.is_numeric_dtype(frame[name]))
    return ReportTable(
        id=f"numbers-{id}",
        caption="The numbers in this figure",
        headings=tuple(name.replace("_", " ") for name in names),
        rows=tuple(tuple(map(_cell, row)) for row in frame[names].itertuples(index=False)),
        text_columns=texts,
        wide_columns=texts & {"setting", "operation", "group"},
    )


def choice(data: StudyData, palette: Palette) -> Choice:
    """The colors of the settings of a palette, and the seeds of their searches."""
    colors = {name: f"var(--series-{n},{COLORS[n]})" for name, n in palette.series.items()}
    seeds = data.searches.loc[data.searches["setting"].isin(palette.settings), "seed"]
    return Choice(settings=tuple(colors.items()), seeds=tuple(sorted({int(seed) for seed in seeds.dropna()})))


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return Number(MISSING, float("nan"))
    if isinstance(value, str):
        return value
    return Number(f"{value:,.{DIGITS}g}" if isinstance(value, float) else f"{value}", value)
