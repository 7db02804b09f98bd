"""The page `selftest.html`: verdicts, costs and tables in one file that opens offline."""

from collections.abc import Mapping, Sequence
from html import escape

from pcdarts.selftest.results import PartResult, Row, Value, costs, overall

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; }
caption { text-align: left; font-weight: 600; padding: 0.3em 0; }
th, td { text-align: left; padding: 0.15em 0.8em 0.15em 0; border-bottom: 1px solid #8884; }
td { vertical-align: top; white-space: pre-wrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.pass { color: #18794e; } .fail { color: #cd2b31; font-weight: 600; } .slower { color: #ad5700; } .not { color: #888; }
"""


def page(machine: Mapping[str, Value], parts: Sequence[PartResult], *, finished: bool) -> str:
    """The whole page as HTML."""
    state = "" if finished else "<p>This run has not finished: parts that are missing are listed as not run.</p>"
    verdicts: list[Row] = [
        {"part": part.title, "verdict": part.verdict, "why": part.reason, "seconds": round(part.seconds, 1)}
        for part in parts
    ]
    costs_rows: list[Row] = [{"run": name, "hours": hours, "days": hours / 24} for name, hours in costs(parts).items()]
    sections = "".join(
        f"<h2>{escape(part.title)}</h2><p>{_verdict(part.verdict)}: {escape(part.reason)}</p>"
        + "".join(_table(caption, rows) for caption, rows in part.tables.items())
        for part in parts
        if part.tables
    )
    return (
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>pcdarts selftest</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>pcdarts selftest: {_verdict(overall(parts))}</h1>{state}"
        + _table("Machine", [{"what": name, "value": value} for name, value in machine.items()])
        + _table("Verdicts", verdicts)
        + (_table("Cost of whole runs on this machine, extrapolated", costs_rows) if costs_rows else "")
        + sections
        + "</html>\n"
    )


def _table(caption: str, rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(_cell(name, row.get(name)) for name in columns) + "</tr>" for row in rows)
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table></div>'


def _cell(name: str, value: Value) -> str:
    if name == "verdict" and value:
        return f"<td>{_verdict(str(value))}</td>"
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    kind = ' class="number"' if numeric else ""
    return f"<td{kind}>{escape(shown(value))}</td>"


def _verdict(verdict: str) -> str:
    return f'<span class="{verdict.split()[0]}">{escape(verdict)}</span>'


def shown(value: Value) -> str:
    """A value with four significant digits; empty for None."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
