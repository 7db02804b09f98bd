r"""The main tables of a report in LaTeX, to be included in a paper that loads the package booktabs."""

import re

from analysis.sections.blocks import Report, ReportTable

MAIN_TABLES = (
    *("settings", "comparisons", "retrained-cells", "one-shot"),
    *("rank-correlation", "discretization", "decisions", "levels", "not-compared"),
)
"""Ids of the tables that a paper may want, in their order."""
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}
"""Characters with a meaning in LaTeX, or that some engines cannot typeset."""


def latex(report: Report) -> str:
    r"""The tables as one file for \input; numbers as in the report."""
    tables = {table.id: table for table in report.tables()}
    parts = [_table(tables[id]) for id in MAIN_TABLES if id in tables and tables[id].rows]
    return "\n".join([r"% \usepackage{booktabs} in the preamble", *parts])


def escaped(text: str) -> str:
    """Text with its special characters escaped; a minus before a digit becomes a minus sign."""
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text)
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def _table(table: ReportTable) -> str:
    columns = "".join(
        "l" if place == 0 or heading in table.text_columns else "r" for place, heading in enumerate(table.headings)
    )
    lines = [
        "",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{escaped(table.caption)}}}",
        f"  \\label{{tab:{table.id}}}",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row(table.headings),
        r"    \midrule",
        *map(_row, table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([f"  \\par\\smallskip\\footnotesize {escaped(table.note.replace('`', ''))}"] if table.note else []),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    line = " & ".join(map(escaped, cells))
    guard = "{}" if line.startswith("[") else ""  # "[" after the end of a row would be its argument
    return f"    {guard}{line} \\\\"
