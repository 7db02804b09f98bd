"""What a page shows, as files: all rows of the tables and charts that its view keeps, unrounded, and the charts."""

import io

import pandas as pd

from analysis.drawing.svg_files import FILE_FORMATS
from analysis.figures.export import chart_file
from analysis.figures.live_curves import LABELS
from orchestrator.watch import curves, panels
from orchestrator.watch.reading.snapshot import Snapshot
from orchestrator.watch.rows import ROWS, column_names, search_rows, selected, shown, with_columns
from orchestrator.watch.view import View

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "png": "image/png",
}
"""Media types of the formats."""
TABLES = (*ROWS, "settings", "curves")
TABLE_FORMATS = ("csv", "parquet")


def download(snapshot: Snapshot, what: str, form: str, view: View) -> bytes:
    """A table of the page, or the chart of a measure, as a file.  Raises ValueError for unknown names and formats."""
    if what not in (*TABLES, *LABELS):
        raise ValueError(f"{what!r} cannot be downloaded; there are {', '.join((*TABLES, *LABELS))}")
    formats = TABLE_FORMATS if what in TABLES else FILE_FORMATS
    if form not in formats:
        raise ValueError(f"format is {form!r}, but must be one of {', '.join(formats)}")
    if what in LABELS:
        kept = selected(search_rows(snapshot, view.at), view)
        return chart_file(curves.chart(curves.panel(snapshot, kept, view), what), form)  # type: ignore[arg-type]
    frame = table_frame(snapshot, what, view)
    if form == "csv":
        return frame.to_csv(index=False).encode()
    buffer = io.BytesIO()
    plain = frame.assign(**{name: _column(frame[name]) for name in frame if frame[name].dtype == object})
    plain.to_parquet(buffer, index=False)
    return buffer.getvalue()


def table_frame(snapshot: Snapshot, table: str, view: View) -> pd.DataFrame:
    """The rows of a table of the page, in their order."""
    if table in ROWS:
        names = column_names(table, view)
        return with_columns(shown(snapshot, table, view), snapshot, table, names)[names].reset_index(drop=True)
    kept = selected(search_rows(snapshot, view.at), view)
    if table == "settings":
        found = panels.settings(kept, most=len(kept))
        rows = [{"setting": name, **found["rows"][name]} for name in found["order"]]
        return pd.DataFrame([{**row, **row.pop("counts")} for row in rows])
    panel = curves.panel(snapshot, kept, view)
    pieces = [
        pd.DataFrame({"measure": measure, **series})
        for measure in LABELS
        for series in panel["measures"][measure].values()
    ]
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame({"measure": []})


def _column(values: "pd.Series[object]") -> "pd.Series[object]":
    """A column of one type: numbers, lists, or else text."""
    known = values.dropna()
    if known.map(lambda value: isinstance(value, (int, float))).all():
        return pd.to_numeric(values)
    if known.map(lambda value: not isinstance(value, str) and hasattr(value, "__len__")).all():
        return values
    return values.where(values.isna(), values.astype(str))


def end_of(text: str, lines: int = 200) -> str:
    """The last lines of a text."""
    found = text.splitlines()
    left_out = len(found) - lines
    head = [f"... {left_out} earlier lines are left out"] if left_out > 0 else []
    return "\n".join([*head, *found[-lines:]])
