"""Tests of analysis.report.formats and analysis.sections.blocks: Markdown and CSV say what the page says."""

import csv
import io
import math

import pytest

from analysis.report.build import write_report
from analysis.report.formats import csv_files, markdown
from analysis.sections.blocks import MAX_ROWS, Card, Code, Facts, Figure, Number, Report, ReportTable, Section, Text
from analysis.sections.wording import number, spread
from analysis.store import ResultStore
from analysis.tables import SEARCHES
from tests.analysis.synthetic import search_row, write_study


def report(*blocks, title="demo", broken=()):
    section = Section(id="part", title="Part", blocks=blocks)
    return Report(title=title, verdict=("One.", "Two."), notes=("Note.",), broken=broken, sections=(section,))


def table(rows, headings=("name", "value"), **values):
    return ReportTable(id="t", caption="Caption", headings=headings, rows=rows, **values)


def read(text):
    return list(csv.reader(io.StringIO(text)))


def test_markdown_of_a_table():
    text = markdown(report(table((("a|b", number(1234.5)), ("_c_*", number(None))), note="So.")))
    assert text.endswith(
        "**Caption**\n\n| name | value |\n|---|---:|\n| a\\|b | 1,234.50 |\n| \\_c\\_\\* | – |\n\nSo.\n"
    )


def test_markdown_of_all_blocks():
    shown = table((("x", "1"),))
    text = markdown(
        report(
            Figure(caption="Seen", svg="<svg/>", table=shown),
            Card(title="Cell 1", facts=(("found by", "k_4"),), code="Genotype()", problem="No drawing."),
            Facts(facts=(("seeds", "1, 2"),)),
            Code(title="Run:", text="echo ```\n", language="sh"),
            Text(text="line\n# not a heading"),
            title="<script>alert(1)</script>",
            broken=("a.parquet: bad",),
        )
    )
    assert text.startswith("# \\<script\\>alert(1)\\</script\\>\n\nOne.\n\n- Two.\n\nNote.\n\nThese files could not")
    assert "<svg" not in text and "| x | 1 |" in text and "- a.parquet: bad" in text
    assert "### Cell 1\n\n- found by: k_4\n\nNo drawing.\n\n```\nGenotype()\n```" in text
    assert "Run:\n\n````sh\necho ```\n````" in text and "line \\# not a heading" in text


def test_long_tables_are_cut_but_for_csv():
    rows = tuple((f"row {i}", str(i)) for i in range(MAX_ROWS + 1))
    whole, long = table(rows[:-1]), table(rows)
    assert whole.shown == whole.rows and whole.cut == ""
    assert len(long.shown) == MAX_ROWS and long.shown[0] == rows[0] and long.shown[-1] == rows[-1]
    assert "of 301 rows" in long.cut and "report-csv/t.csv" in long.cut
    text = markdown(report(long))
    assert long.cut in text and "| row 200 |" not in text and "| row 199 |" in text
    assert len(read(csv_files(report(long))["t.csv"])) == MAX_ROWS + 2


def test_csv_keeps_what_rounding_loses():
    rows = (("a, b", spread(80.0 + 1 / 3, 0.1)), ('"', spread(81.0, math.nan)), ("c", spread(math.nan, math.nan)))
    files = csv_files(report(table(rows, headings=("setting", "mean ± std"))))
    assert read(files["t.csv"]) == [
        ["setting", "mean", "std"],
        ["a, b", repr(80.0 + 1 / 3), "0.1"],
        ['"', "81", ""],
        ["c", "", ""],
    ]


def test_headings_of_several_numbers():
    rows = ((Number("1 to 2", 1, 2), "x", Number("1e300", 1e300)),)
    files = csv_files(report(table(rows, headings=("interval", "text", "large"))))
    assert read(files["t.csv"]) == [["interval (1)", "interval (2)", "text", "large"], ["1", "2", "x", "1e+300"]]


def test_tables_of_figures_count_too():
    inner = Figure(caption="c", svg="", table=table((("x", "1"),)))
    assert list(csv_files(report(Card(title="card", figures=(inner,))))) == ["t.csv"]


@pytest.mark.parametrize(("values", "message"), [({"id": "T 1"}, "'T 1'"), ({"rows": (("a",),)}, "1 cells")])
def test_wrong_tables_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ReportTable(**{"id": "t", "caption": "", "headings": ("a", "b"), "rows": ()} | values)


def test_ids_are_unique():
    twice = table((("x", "1"),))
    with pytest.raises(AssertionError, match="must differ"):
        report(twice, twice)


def test_the_files_of_a_study(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    assert write_report(store.root, "md") == f"{store.root}/report.md"
    assert (tmp_path / "demo" / "report.md").read_text().startswith("# demo\n\nNo setting can be called better")
    (tmp_path / "demo" / "report-csv").mkdir()
    (tmp_path / "demo" / "report-csv" / "old.csv").write_text("stale")
    assert write_report(store.root, "csv") == f"{store.root}/report-csv"
    names = {path.name for path in (tmp_path / "demo" / "report-csv").iterdir()}
    assert {"settings.csv", "searches.csv", "practice.csv"} <= names and "old.csv" not in names
    rows = read((tmp_path / "demo" / "report-csv" / "searches.csv").read_text())
    accuracies = {row[0]: row[rows[0].index("validation accuracy")] for row in rows}
    for name, value in store.read(SEARCHES).set_index("search_id")["valid_accuracy"].items():
        assert (accuracies[name] == "") if math.isnan(value) else (float(accuracies[name]) == value)


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'pdf', but must be one of html, md, csv"):
        write_report(str(tmp_path), "pdf")


def test_an_empty_study_and_one_that_failed(tmp_path):
    empty, failed = tmp_path / "empty", tmp_path / "failed"
    ResultStore(str(failed)).append(SEARCHES, [search_row(4, 0, None)], "a")
    for folder in (empty, failed):
        for form in ("md", "csv"):
            write_report(str(folder), form)
    assert "\n\nNo search has finished yet.\n" in (empty / "report.md").read_text()
    assert [path.name for path in (empty / "report-csv").iterdir()] == ["practice.csv"]
    assert "\n\nNo search has a result.\n\n- Of 1 search, 1 of k=4 failed.\n" in (failed / "report.md").read_text()
    assert (failed / "report-csv" / "errors.csv").exists()
