"""The report as Markdown, such as for an appendix, and as CSV files, one per table."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from analysis.sections.blocks import Block, Card, Chart, Code, Facts, Figure, Number, Report, ReportTable, Text

Format = Literal["html", "md", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""Formats of a report."""


def markdown(report: Report) -> str:
    """The report in Markdown: all text and tables; the numbers of figures and the genotypes of cells.

    Long tables are shortened as in HTML.
    """
    lines = [f"# {_escaped(report.title)}", "", *map(_escaped, report.verdict[:1])]
    lines += ["", *(f"- {_escaped(text)}" for text in report.verdict[1:])] if len(report.verdict) > 1 else []
    lines += [line for note in report.notes for line in ("", _prose(note))]
    lines += ["", "These files could not be read and are left out:", ""] if report.broken else []
    lines += [f"- {_escaped(part)}" for part in report.broken]
    for section in report.sections:
        lines += ["", f"## {_escaped(section.title)}"]
        lines += [line for block in section.blocks for line in _block(block)]
    return "\n".join(lines) + "\n"


def csv_files(report: Report) -> dict[str, str]:
    """File names and contents (RFC 4180, UTF-8) of all tables: all rows, unrounded numbers, empty if missing.

    A column whose cells hold several numbers, such as "mean ± std", becomes several columns.
    """
    return {f"{table.id}.csv": _csv(table) for table in report.tables()}


def _block(block: Block) -> list[str]:
    match block:
        case ReportTable():
            return _table(block)
        case Chart():
            return _table(replace(block.table, caption=block.caption.removesuffix(".")))
        case Figure():
            return _table(block.table) if block.table else []
        case Card():
            facts = [f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.facts]
            problem = ["", _escaped(block.problem)] if block.problem else []
            return [
                "",
                f"### {_escaped(block.title)}",
                "",
                *facts,
                *problem,
                *(_code(block.code) if block.code else []),
            ]
        case Text():
            return ["", _prose(block.text)]
        case Facts():
            return ["", *(f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.facts)]
        case Code():
            return [*(["", _escaped(block.title)] if block.title else []), *_code(block.text, block.language)]
        case _:
            return []


def _table(table: ReportTable) -> list[str]:
    if not table.rows:
        return []
    numeric = [i > 0 and heading not in table.text_columns for i, heading in enumerate(table.headings)]
    lines = ["", f"**{_escaped(table.caption)}**", "", _row(table.headings)]
    lines.append("|" + "|".join("---:" if right else "---" for right in numeric) + "|")
    lines += [_row(row) for row in table.shown]
    return [*lines, *(line for text in (table.cut, table.note) if text for line in ("", _prose(text)))]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _code(text: str, language: str = "") -> list[str]:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return ["", f"{fence}{language}", text.rstrip("\n"), fence]


def _escaped(text: str) -> str:
    """Text escaped for Markdown, on one line; underscores within words need no escape."""
    return _escaped_part(_flat(text))


def _escaped_part(text: str) -> str:
    return re.sub(r"[\\`*|\[\]<>#~$]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> str:
    """Escaped text, except for code between backticks."""
    return "".join(part if part[:1] == "`" else _escaped_part(part) for part in re.split("(`[^`]+`)", _flat(text)))


def _csv(table: ReportTable) -> str:
    counts = [max((_count(row[i]) for row in table.rows), default=1) for i in range(len(table.headings))]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([name for heading, n in zip(table.headings, counts, strict=True) for name in _headings(heading, n)])
    for row in table.rows:
        writer.writerow([value for cell, n in zip(row, counts, strict=True) for value in _values(cell, n)])
    return stream.getvalue()


def _count(cell: str) -> int:
    return len(cell.values) if isinstance(cell, Number) else 1


def _headings(heading: str, count: int) -> list[str]:
    """Headings of the columns that one column is split into: two for "skips normal / reduction"."""
    parts = re.split(r" ± | / |, | to ", heading)
    if count == 1 or len(parts) == count:
        return parts if count > 1 else [heading]
    return [f"{heading} ({number})" for number in range(1, count + 1)]


def _values(cell: str, count: int) -> list[str]:
    if not isinstance(cell, Number):
        return [cell, *[""] * (count - 1)]
    texts = ["" if math.isnan(value) else repr(value).removesuffix(".0") for value in cell.values]
    return [*texts, *[""] * (count - len(texts))]
