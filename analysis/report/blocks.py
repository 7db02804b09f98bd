"""What the report is made of, whatever it is written as: sections of text, tables, figures and cells.

`analysis.report.build` writes them as a page, as Markdown or as CSV files; nothing here knows HTML but the SVG of a
figure.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from markupsafe import Markup

Format = Literal["html", "md", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What a report can be written as."""
FIRST_ROWS, LAST_ROWS = 200, 100
MAX_ROWS = FIRST_ROWS + LAST_ROWS
"""Rows that a reader is shown of one table."""


class Number(str):
    """The text of a number, such as 95.12, that remembers the number itself: tables sort by it and CSV files hold it.

    Several numbers in one cell, such as mean and deviation, stand in `values` in the order of the text.
    """

    values: tuple[float, ...]

    def __new__(cls, text: str, *values: float) -> "Number":
        """Text as shown, and the values in it; NaN where one is missing."""
        number = super().__new__(cls, text)
        number.values = tuple(float(value) for value in values)
        return number


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """A table of the report."""

    id: str
    """Name, unique in a report: of its anchor and of its CSV file; letters, digits and -."""
    caption: str
    """What the table shows."""
    headings: tuple[str, ...]
    """Headings of the columns; the first column heads the rows."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as text; a `Number` where the text shows a number, so that nothing is lost to rounding."""
    text_columns: frozenset[str] = frozenset()
    """Headings of the columns, beside the first, that hold text and not numbers."""
    wide_columns: frozenset[str] = frozenset()
    """Headings of the columns with sentences, which wrap."""
    note: str = ""
    """What to know when reading it; what stands between two backticks is code."""
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
        """The rows that a reader is shown: all, or the first and last ones of a long table."""
        return self.rows if len(self.rows) <= MAX_ROWS else self.rows[:FIRST_ROWS] + self.rows[-LAST_ROWS:]

    @property
    def cut(self) -> str:
        """What a long table leaves out; empty where it is whole."""
        if len(self.rows) <= MAX_ROWS:
            return ""
        return (
            f"Showing the first {FIRST_ROWS} and the last {LAST_ROWS} of {len(self.rows):,} rows; "
            f"`pcdarts report --format csv` writes all of them to report-csv/{self.id}.csv."
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing, and the numbers that it shows."""

    caption: str
    """What it shows, in a sentence or two."""
    svg: Markup
    """The drawing: an SVG with role="img", <title> and <desc>."""
    table: ReportTable | None = None
    """Its numbers, folded away under the figure."""
    legend: tuple[tuple[str, str], ...] = ()
    """Names and CSS colors."""
    half: bool = False
    """Whether it is narrow enough to stand beside the next such figure."""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Something with a heading of its own: a pair of cells with what is known about it."""

    title: str
    """Heading."""
    facts: tuple[tuple[str, str], ...] = ()
    """Names and values."""
    figures: tuple[Figure, ...] = ()
    """Drawings; empty where the text cannot be read."""
    problem: str = ""
    """Why there is no drawing; empty if there is."""
    code: str = ""
    """Text to copy, such as a genotype."""
    code_title: str = "Genotype to copy"
    """What that text is."""
    kind: ClassVar[str] = "card"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    """Plain text; what stands between two backticks is code."""
    style: str = ""
    """CSS class: empty, "note" or "warn"."""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names with their values."""

    facts: tuple[tuple[str, str], ...]
    """Names and values."""
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text in a fixed-width font."""

    text: str
    """The text."""
    title: str = ""
    """What it is, said before it."""
    language: str = ""
    """Language, for Markdown: "sh", "python", "json"."""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True, kw_only=True)
class Legend:
    """Colors and what they stand for, shared by several blocks."""

    entries: tuple[tuple[str, str], ...]
    """Names and CSS colors."""
    kind: ClassVar[str] = "legend"


Block = ReportTable | Figure | Card | Text | Facts | Code | Legend


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report under a heading of its own."""

    id: str
    """Anchor; letters, digits and -."""
    title: str
    """Heading."""
    short: str = ""
    """Name in the list of sections; empty: the heading."""
    blocks: tuple[Block, ...] = field(default=())
    """What stands in it, in this order."""

    def tables(self) -> list[ReportTable]:
        """Its tables, those of its figures included, in their order."""
        found: list[ReportTable] = []
        for block in self.blocks:
            if isinstance(block, ReportTable):
                found.append(block)
            elif isinstance(block, Figure):
                found += [block.table] if block.table else []
            elif isinstance(block, Card):
                found += [figure.table for figure in block.figures if figure.table]
        return found


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of a report."""

    title: str
    """Name of the study."""
    verdict: tuple[str, ...]
    """The outcome in up to three sentences."""
    notes: tuple[str, ...]
    """What to know before reading on."""
    broken: tuple[str, ...]
    """Parts that could not be read."""
    sections: tuple[Section, ...]
    """The sections in their order."""

    def __post_init__(self) -> None:
        for ids in ([section.id for section in self.sections], [table.id for table in self.tables()]):
            assert len(set(ids)) == len(ids), f"ids must differ: {ids}"

    def tables(self) -> list[ReportTable]:
        """All tables, in their order."""
        return [table for section in self.sections for table in section.tables()]
