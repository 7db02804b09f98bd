"""Figures of a report as files."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.report.figure_files import write_figures
from analysis.sections import comparisons
from analysis.sections.blocks import Report
from tests.analysis.conclusions.tables import settings_with
from tests.analysis.sections.studies import made_up


def test_every_chart_has_a_drawing_and_its_numbers(tmp_path):
    section = comparisons.section(made_up(tmp_path, settings_with({"k=2": [3.0, 3.5], "k=4": [4.0, 4.5]})))
    report = Report(title="demo", verdict=(), notes=(), broken=(), sections=(section,))
    written = {Path(path).name for path in write_figures(report, str(tmp_path / "paper"), "svg")}
    assert {"test-errors.svg", "test-errors.csv", "performance-profile.svg", "performance-profile.csv"} <= written
    numbers = pd.read_csv(tmp_path / "paper" / "test-errors.csv")
    assert numbers["value"].tolist() == pytest.approx([3.0, 3.5, 4.0, 4.5])
    assert {"measure", "panel"} & {*numbers} and "series" not in numbers
    assert (tmp_path / "paper" / "performance-profile.txt").read_text().startswith("Performance profile: share of")
    with pytest.raises(ValueError, match="format of a figure is 'gif', but must be one of pdf, svg, png"):
        write_figures(report, str(tmp_path), "gif")
