"""Tables in LaTeX."""

import os
import re
import shutil
import subprocess

import pytest

from analysis.report.build import read_report
from analysis.report.latex import SPECIAL, escaped, latex
from tests.analysis.synthetic import write_study


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return latex(read_report(write_study(str(tmp_path_factory.mktemp("studies") / "demo")).root))


def test_characters_with_a_meaning_are_escaped():
    assert (
        escaped("50 % of a_b & {c} #1 $x^2~") == r"50 \% of a\_b \& \{c\} \#1 \$x\textasciicircum{}2\textasciitilde{}"
    )
    assert escaped("1.0 ± 0.2, [-0.5, 3], k-2") == r"1.0 $\pm$ 0.2, [$-$0.5, 3], k-2"
    assert escaped("\\") == r"\textbackslash{}"


def test_rows_have_as_many_cells_as_columns(tables):
    assert r"\label{tab:settings}" in tables and r"\label{tab:one-shot}" in tables
    assert r"\footnotesize Rows do not compare settings." in tables  # a note stays with its table
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", tables, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}


def test_the_tables_compile(tables, tmp_path):
    program = shutil.which("pdflatex")
    if not program and os.environ.get("PCDARTS_CI"):
        pytest.fail("install texlive-latex-recommended")
    if not program:
        pytest.skip("needs pdflatex with booktabs: texlive-latex-recommended")
    (tmp_path / "tables.tex").write_text(tables)
    signs = escaped("".join(SPECIAL))
    lines = [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        rf"\begin{{document}}{signs}\input{{tables}}\end{{document}}",
    ]
    (tmp_path / "paper.tex").write_text("\n".join(lines))
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert result.returncode == 0, result.stdout
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
