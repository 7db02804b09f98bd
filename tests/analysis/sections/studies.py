"""Studies of the tests of sections, and how their tables are read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.sections.blocks import Chart, ReportTable, Section, Text
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES

Rows = Iterable[Mapping[str, Any]]


def study(folder: Path, *, searches: Rows = (), epochs: Rows = (), queue: Rows = (), retrains: Rows = ()) -> StudyData:
    """A study of these rows."""
    store = ResultStore(str(folder / "demo"))
    for table, rows in ((SEARCHES, searches), (EPOCHS, epochs), (QUEUE, queue), (RETRAINS, retrains)):
        if kept := [dict(row) for row in rows]:
            store.append(table, kept, "part")
    return StudyData(store=store)


def made_up(folder: Path, tables: Any) -> StudyData:
    """The study of `tests.analysis.conclusions.tables.Tables`."""
    return study(folder, searches=tables.searches, queue=tables.queue, retrains=tables.retrains)


def write_imported(folder: Path, table: Any, rows: Rows) -> None:
    """A part as an importer writes it: every column may be missing."""
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    place = folder / "demo" / table.name
    place.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([table.row(row) for row in rows], schema=schema), place / "imported.parquet")


def rows_of(table: ReportTable) -> list[dict[str, str]]:
    """The rows by heading."""
    return [dict(zip(table.headings, map(str, row), strict=True)) for row in table.rows]


def column(table: ReportTable, heading: str) -> list[str]:
    return [row[heading] for row in rows_of(table)]


def table_of(section: Section, name: str) -> ReportTable:
    (found,) = (table for table in section.tables() if table.id == name)
    return found


def texts(section: Section) -> list[str]:
    return [block.text for block in section.blocks if isinstance(block, Text)]


def figures(section: Section) -> list[Chart]:
    return [block for block in section.blocks if isinstance(block, Chart)]
