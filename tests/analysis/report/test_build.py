"""Tests of analysis.report.build, what it is made of, and its lightness."""

import base64
import hashlib
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import analysis.report
from analysis.figures import vega_script
from analysis.report.build import build, write_report
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import EPOCHS, QUEUE, SEARCHES
from tests.analysis.synthetic import epoch_rows, queue_row, search_row, write_study

SECTIONS = """settings comparisons retrained one-shot collapse decisions epochs rates cells agreement searches practice
reproduce""".split()


def report(store):
    path = write_report(store.root)
    assert path == f"{store.root}/report.html"
    page = Path(path).read_text()
    check(page)
    return page


def check(page):
    """Whatever the study holds: balanced tags, all sections, no resource from elsewhere, the hashes of its scripts."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert scripts in ([own_script()], [vega_script(), own_script(charts=True)])
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    assert f'script-src {allowed}"' in page
    assert len(page) < 2.5e6
    page = page.replace(vega_script(), "")
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    found = re.findall(r'<h2 id="([a-z-]+)"', page)
    assert [name for name in found if name in SECTIONS] == SECTIONS
    assert not re.search(r'\b(src|href)\s*=\s*(?!"#)', page)
    assert not re.search(r"<(link|img|iframe|object)\b|@import|url\(", page)
    assert not re.search(r"\bnan\b|\bNaN\b|\bNone\b", page)


def own_script(charts=False):
    folder = Path(analysis.report.__file__).parent / "templates"
    return "".join((folder / name).read_text() for name in ("report.js", *(["charts.js"] if charts else [])))


class Balanced(HTMLParser):
    """Collects tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "demo"))


def test_a_whole_study(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    page = report(store)
    assert "2 of 3 settings" not in page and "Best setting" not in page
    assert '<p class="verdict">No setting can be called better' in page
    assert page.count('class="cell"') == 6 and "Recommended cell: " in page
    assert ">RuntimeError: out of memory</td>" in page
    assert "2.60" in page and "556,670,592" in page
    assert "alpha frozen" in page
    tables = """settings test-errors levels retrained-cells retrains one-shot seeds collapse decisions agreement
    consensus-normal searches search-details errors practice""".split()
    assert set(tables) <= set(re.findall(r'id="table-([a-z-]+)"', page))
    assert (
        f"pd.read_parquet(&#34;{store.root}/searches&#34;)" in page
        or f'pd.read_parquet("{store.root}/searches")' in page
    )


def test_settings_stand_in_the_same_order_everywhere(tmp_path):
    sections = build(StudyData(store=write_study(str(tmp_path / "demo")))).sections
    for table in (table for section in sections for table in section.tables()):
        if table.headings[0] == "setting":
            names = list(dict.fromkeys(str(row[0]).partition(",")[0] for row in table.rows))
            assert names == [name for name in ("k=2", "k=4", "k=8") if name in names], table.id


def test_the_same_tables_give_the_same_file(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    assert report(store) == report(store)


def test_figures_import_altair_only_to_draw(tmp_path):
    root = Path(__file__).parents[3]
    write_study(str(tmp_path / "demo"))
    text = f"""import sys
from analysis.figures import FIGURES
from analysis.report.build import write_report
from analysis.study_data import StudyData
from analysis.store import ResultStore
data = StudyData(store=ResultStore({str(tmp_path / "demo")!r}))
[figure.data(data) for figure in FIGURES.values()]
write_report({str(tmp_path / "demo")!r}, "md")
print({{"altair", "vl_convert"}} & set(sys.modules))"""
    run = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_an_empty_study(store):
    page = report(store)
    assert "No search has finished yet." in page and "<h1>demo</h1>" in page


def test_only_failed_searches(store):
    for seed in range(2):
        store.append(SEARCHES, [search_row(4, seed, None)], f"s{seed}")
    page = report(store)
    assert "No search has a result." in page and "out of memory" in page


def test_one_seed_without_retraining(store):
    row = search_row(4, 0, 80.0)
    store.append(SEARCHES, [row], row["search_id"])
    page = report(store)
    assert "No cell of k=4 was retrained, so nothing is known about the accuracy of its cells." in page
    assert "has no test accuracy" in page
    assert f"Cell {row['genotype_digest']}" in page and page.count('class="cell"') == 2


def test_a_running_search_shows_its_epochs(store):
    store.append(EPOCHS, epoch_rows(search_row(4, 0, 80.0), epochs=1), "running")
    assert "1 search has reported epochs but not finished" in report(store)


def test_names_are_escaped(store):
    script = "<script>alert(1)</script>"
    row = search_row(4, 0, 80.0, study=script) | {"setting": script}
    store.append(SEARCHES, [row], "a")
    store.append(SEARCHES, [search_row(4, 1, None, study=script) | {"error": script, "git_revision": script}], "b")
    store.append(QUEUE, [queue_row(row, 1) | {"reason": script, "genotype": script}], "q")
    store.append(EPOCHS, [e | {"search_id": script} for e in epoch_rows(row, epochs=2)], "e")
    store.write_text("study.json", '{"name": "' + script + '"}')
    page = report(store)
    assert script not in page and "&lt;script&gt;alert(1)&lt;/script&gt;</h1>" in page


def test_unreadable_genotypes_are_named(store):
    row = search_row(4, 0, 80.0) | {"genotype": "Genotype(normal=["}
    store.append(SEARCHES, [row], "a")
    assert "No drawing: genotype cannot be read" in report(store)


def test_broken_parts_are_named(store):
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "a")
    Path(store.root, "searches", "half.parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning):
        assert "half.parquet" in report(store)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 3}', ""])
def test_a_strange_study_json(store, text):
    store.write_text("study.json", text)
    assert "<h1>demo</h1>" in report(store)


def test_accuracies_that_are_not_numbers(store):
    row = search_row(4, 0, math.nan)
    store.append(SEARCHES, [row], "a")
    store.append(EPOCHS, epoch_rows(row, epochs=3), "a")
    assert "No search has a one-shot accuracy." in report(store)


def test_the_package_itself_imports_nothing_heavy():
    root = Path(__file__).parents[3]
    light = "import sys, analysis; print({'pandas', 'pyarrow', 'altair', 'vl_convert', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", light], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
