"""`pcdarts report`, `compact`, `columns` and `theory`."""

from pathlib import Path

import pytest

from analysis.storage import compaction
from analysis.tables import column_reference
from orchestrator.cli import main
from tests.analysis.storage.test_compaction import filled
from tests.analysis.synthetic import write_study


def test_the_columns_are_explained(capsys):
    assert main(["columns"]) == 0 and capsys.readouterr().out == column_reference()


def test_a_report_has_three_forms(tmp_path, capsys):
    store = write_study(str(tmp_path / "demo"))  # as an import leaves it: its study.json describes no search
    for form, name in (("html", "report.html"), ("md", "report.md"), ("csv", "report-csv")):
        assert main(["report", store.root, "--format", form]) == 0
        assert capsys.readouterr().out == f"wrote {store.root}/{name}\n" and (tmp_path / "demo" / name).exists()
    with pytest.raises(SystemExit):
        main(["report", store.root, "--format", "pdf"])
    assert "invalid choice: 'pdf'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "compact"])
@pytest.mark.parametrize("wrong", ["absent", "nowhere://x"])
def test_a_study_that_is_not_there_is_not_made(command, wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, wrong]) == 2
    assert capsys.readouterr().err.startswith("pcdarts: error: ") and not Path(wrong).exists()


def test_parts_are_moved_into_few_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compaction, "SIZE", 4)
    monkeypatch.setattr(compaction, "LEAST", 3)
    filled(tmp_path)
    assert main(["compact", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "searches: 10 parts, 7 files fewer\n"


@pytest.mark.slow
def test_the_theory_agrees_to_three_digits(capsys):
    assert main(["theory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    rates = ["1", "2", "4", "8", "16"]
    closed_form, minimized = ([r for r in rows if len(r) == width and r[0] in rates] for width in (8, 5))
    bilevel = [row for row in rows if row[0] in ("no", "yes")]
    assert [row[0] for row in closed_form] == [row[0] for row in minimized] == rates
    assert [row[:2] for row in bilevel] == [[side, rate] for side in ("no", "yes") for rate in rates]
    assert all(abs(float(row[6])) < 5e-4 for row in closed_form)
    assert all(float(row[-1]) < 1e-12 for row in bilevel)
