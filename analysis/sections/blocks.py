"""Content of the report, independent of its format: sections of text, tables, figures and cards.

`analysis.report.build` writes them as HTML, Markdown or CSV files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

if TYPE_CHECKING:
    import pandas as pd

FIRST_ROWS, LAST_ROWS = 200, 100
MAX_ROWS = FIRST_ROWS + LAST_ROWS
"""Rows of a table that are shown."""


class Number(str):
    """The text of a number, such as 95.12, with the unrounded number, for sorting and CSV files.

    `values` has several numbers for a cell such as mean ± deviation, in the order of the text.
    """

    values: tuple[float, ...]

    def __new__(cls, text: str, *values: float) -> "Number":
        """Text as shown, and the values in it; NaN if missing."""
        number = super().__new__(cls, text)
        number.values = tuple(float(value) for value in values)
        return number


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table of the report."""

    id: str
    """Unique id, used for the anchor and the CSV file; lower-case letters, digits and -."""
    caption: str
    """Caption."""
    headings: tuple[str, ...]
    """Column headings; the first column holds the row headings."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as text; a `Number` for numbers, to keep them unrounded."""
    text_columns: frozenset[str] = frozenset()
    """Headings of the text columns, other than the first."""
    wide_columns: frozenset[str] = frozenset()
    """Headings of the columns whose text wraps."""
    note: str = ""
    """Note below the table; text between backticks is code."""
    folded: bool = False
    """Whether a web page shows only the caption until it is opened."""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.id):
            raise ValueError(f"id of a table is {self.id!r}, but must be of a-z, 0-9 and -")
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(
                    f"table {self.id}: a row has {len(row)} cells, but must have {len(self.headings)}: {row}"
                )

    @property
    def shown(self) -> tuple[tuple[str, ...], ...]:
        """The rows to show: all, or the first and last ones of a long table."""
        return self.rows if len(self.rows) <= MAX_ROWS else self.rows[:FIRST_ROWS] + self.rows[-LAST_ROWS:]

    @property
    def cut(self) -> str:
        """Says which rows of a long table are shown; empty if all are."""
        if len(self.rows) <= MAX_ROWS:
            return ""
        return (
            f"Showing the first {FIRST_ROWS} and the last {LAST_ROWS} of {len(self.rows):,} rows; "
            f"`pcdarts report --format csv` writes all of them to report-csv/{self.id}.csv."
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The drawing of a cell and its numbers."""

    caption: str
    """Caption."""
    svg: Markup
    """The drawing: an SVG with role="img", <title> and <desc>."""
    table: ReportTable | None = None
    """Its numbers, collapsed below the figure."""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: its numbers, and how a web page or a file draws them."""

    id: str
    """Unique id, used for the anchor and for files; lower-case letters, digits and -."""
    caption: str
    """Caption."""
    frame: "pd.DataFrame" = field(compare=False)
    """Its numbers."""
    draw: Callable[["pd.DataFrame"], Any]
    """Makes the Altair chart of the numbers."""
    table: ReportTable
    """Its numbers for readers, collapsed below the chart."""
    half: bool = True
    """Whether it has half the width, so that two such charts share a row."""
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A block with a heading: a genotype with facts and drawings."""

    title: str
    """Heading."""
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values."""
    figures: tuple[Figure, ...] = ()
    """Drawings; empty if the genotype cannot be parsed."""
    problem: str = ""
    """Why there is no drawing; empty otherwise."""
    code: str = ""
    """Genotype to copy."""
    unfolded: bool = False
    """Whether a web page shows the genotype at once."""
    kind: ClassVar[str] = "card"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    """Plain text; text between backticks is code."""
    style: str = ""
    """CSS class: empty, "note" or "warn"."""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A list of names and values."""

    facts: tuple[tuple[str, str], ...]
    """Names and values."""
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text in a fixed-width font."""

    text: str
    """The text."""
    title: str = ""
    """Label before the text."""
    language: str = ""
    """Language, for Markdown: "sh", "python", "json"."""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, kw_only=True)
class Legend:
    """A color legend shared by several blocks."""

    entries: tuple[tuple[str, str], ...]
    """Names and CSS colors."""
    kind: ClassVar[str] = "legend"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The colors of the settings; on a web page also a choice of a setting or a seed, seen in all charts."""

    settings: tuple[tuple[str, str], ...]
    """Names and CSS colors."""
    seeds: tuple[int, ...]
    """Seeds."""
    kind: ClassVar[str] = "choice"


Block = ReportTable | Figure | Chart | Card | Text | Facts | Code | Legend | Choice


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report."""

    id: str
    """Anchor; letters, digits and -."""
    title: str
    """Heading."""
    short: str = ""
    """Name in the navigation; default: the heading."""
    blocks: tuple[Block, ...] = field(default=())
    """Content, in order."""

    def tables(self) -> list[ReportTable]:
        """Its tables in order, including those of figures."""
        found: list[ReportTable] = []
        for block in self.blocks:
            if isinstance(block, ReportTable):
                found.append(block)
            elif isinstance(block, Chart):
                found.append(block.table)
            elif isinstance(block, Figure):
                found += [block.table] if block.table else []
            elif isinstance(block, Card):
                found += [figure.table for figure in block.figures if figure.table]
        return found


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    """Name of the study."""
    verdict: tuple[str, ...]
    """The conclusions in sentences, the most important one first."""
    notes: tuple[str, ...]
    """Notes at the top."""
    broken: tuple[str, ...]
    """Files that could not be read."""
    sections: tuple[Section, ...]
    """Sections, in order."""

    def __post_init__(self) -> None:
        sections, tables, charts = self.sections, self.tables(), self.charts()
        for ids in ([each.id for each in group] for group in (sections, tables, charts)):
            assert len(set(ids)) == len(ids), f"ids must differ: {ids}"

    def tables(self) -> list[ReportTable]:
        """All tables, in order."""
        return [table for section in self.sections for table in section.tables()]

    def charts(self) -> list[Chart]:
        """All charts, in order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Chart)]
