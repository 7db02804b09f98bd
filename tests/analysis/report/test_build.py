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

from analysis.report.build import write_report
from analysis.sections.wording import verdict
from analysis.statistics.summaries import summarize_settings
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, SEARCHES, SETTINGS
from tests.analysis.synthetic import epoch_rows, queue_row, search_row, write_study

SECTIONS = "settings comparisons seeds epochs rates cells agreement retrained searches reproduce".split()


def report(store):
    path = write_report(store.root)
    assert path == f"{store.root}/report.html"
    page = Path(path).read_text()
    check(page)
    return page


def check(page):
    """Whatever the study holds: balanced tags, all sections, no resource from elsewhere, one script and its hash."""
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    found = re.findall(r'<h2 id="([a-z-]+)"', page)
    assert [name for name in found if name in SECTIONS] == SECTIONS
    assert not re.search(r'\b(src|href)\s*=\s*(?!"#)', page)
    assert not re.search(r"<(link|img|iframe|object)\b|@import|url\(", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in page
    assert "not the test accuracy" in page
    assert not re.search(r"\bnan\b|\bNone\b", page)


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
    assert "Best setting: k=4, with a mean one-shot validation accuracy of" in page
    assert "No two of the 3 seeds of k=4 found the same cell; 8 searches found 3 distinct cells in total." in page
    assert "Of 9 searches, 1 failed, none was stopped by a collapse rule, and 3 triggered a collapse warning." in page
    assert "k=8 has fewer than 3 seeds" in page
    assert page.count('class="cell"') == 6 and "Rank 1: " in page
    assert ">RuntimeError: out of memory</td>" in page
    assert "97.40" in page and "556,670,592" in page
    assert "alpha frozen" in page
    tables = "settings comparisons seeds profile cost rates agreement consensus-normal retrains searches errors".split()
    assert set(tables) <= set(re.findall(r'id="table-([a-z-]+)"', page))
    assert (
        f"pd.read_parquet(&#34;{store.root}/searches&#34;)" in page
        or f'pd.read_parquet("{store.root}/searches")' in page
    )


def test_seeds_that_were_added_are_explained_and_all_settings_pooled(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    row = SETTINGS.row(
        setting="k=4",
        study="demo",
        target_halfwidth=0.2,
        max_seeds=20,
        corrected_interval=False,
        seeds_run=7,
        seeds_with_result=6,
        mean=81.0,
        halfwidth=0.19,
        reason="half-width 0.19 of 6 values is within the target 0.2",
    )
    store.append(SETTINGS, [row], "settings")
    page = report(store)
    assert 'id="table-seeds-needed"' in page and "is within the target 0.2" in page and "is optimistic" in page
    assert "All settings pooled" not in page  # too few seeds to resample within settings
    rows = [search_row(k, seed, 80.0 + k + math.sin(seed)) for k in (2, 4) for seed in range(100, 120)]
    many = ResultStore(str(tmp_path / "many"))
    many.append(SEARCHES, rows, "many")
    assert re.search(r"All settings pooled: \d+\.\d+ \[\d+\.\d+, \d+\.\d+\] %", report(many))


def test_the_same_tables_give_the_same_file(tmp_path):
    store = write_study(str(tmp_path / "demo"))
    assert report(store) == report(store)


def test_an_empty_study(store):
    page = report(store)
    assert "No search has finished yet." in page and "<h1>demo</h1>" in page


def test_only_failed_searches(store):
    for seed in range(2):
        store.append(SEARCHES, [search_row(4, seed, None)], f"s{seed}")
    page = report(store)
    assert "No search has a result. Of 2 searches, 2 failed, none was stopped" in page and "out of memory" in page


def test_one_seed_without_retraining(store):
    row = search_row(4, 0, 80.0)
    store.append(SEARCHES, [row], row["search_id"])
    page = report(store)
    assert (
        "The only setting, k=4, has a one-shot validation accuracy of 80.00 % from a single seed (no interval)" in page
    )
    assert "1 search found 1 distinct cell. It completed without a collapse warning." in page
    assert "has no test accuracy" in page
    assert f"Cell 1: {row['genotype_digest']}" in page and page.count('class="cell"') == 2


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
    assert "No search has a finite validation accuracy." in report(store)


def judged(*rows):
    searches = SEARCHES.to_arrow(rows).to_pandas()
    return verdict(summarize_settings(searches), searches)


def test_the_verdict_names_the_best_setting_and_how_far_to_trust_it():
    apart = judged(*(search_row(k, seed, 80.0 + seed / 10 + k) for k in (2, 4) for seed in range(3)))
    assert apart == [
        "Best setting: k=4, with a mean one-shot validation accuracy of 84.10 % over 3 seeds (95 % confidence interval "
        "83.85 to 84.35).",
        "All 3 seeds of k=4 found the same cell; 6 searches found 1 distinct cell in total.",
        "Of 6 searches, none failed, none was stopped by a collapse rule, and 2 triggered a collapse warning.",
    ]
    near = judged(*(search_row(k, seed, 80.0 + seed + k / 10) for k in (2, 4) for seed in range(3)))
    assert near[0].endswith("; not significantly different from k=2 (the 95 % t intervals overlap).")
    many = judged(*(search_row(k, seed, 80.0 + seed + k / 10) for k in (1, 2, 4, 8) for seed in range(3)))
    assert "not significantly different from 3 other settings" in many[0]
    alike = judged(*(search_row(4, seed, 80.0) for seed in range(3)))
    assert alike[0].endswith("accuracy of 80.00 % over 3 seeds (all equal).")
    assert judged(search_row(4, 1, None)) == ["No search has a result.", "The only search failed."]
    assert verdict([], SEARCHES.to_arrow([]).to_pandas()) == ["No search has finished yet."]


def test_settings_that_tie_are_named_together():
    def tie(*ks, seeds=3):
        return [search_row(k, seed, 80.0 + seed) for k in ks for seed in range(seeds)]

    assert (
        judged(*tie(1, 2))[0]
        == "Best settings: k=1 and k=2 are tied, with a mean one-shot validation accuracy of 81.00 %."
    )
    assert judged(*tie(1, 2, 4))[0].startswith("Best settings: k=1, k=2 and k=4 are tied, with")
    assert judged(*tie(1, 2, 4, 8))[0].startswith("Best settings: k=1 and 3 other settings are tied, with")
    third = [search_row(4, seed, 79.0 + seed) for seed in range(3)]
    assert judged(*tie(1, 2), *third)[0].endswith(
        "81.00 %; not significantly different from k=4 (the 95 % t intervals overlap)."
    )
    assert judged(*tie(1, 2, seeds=1))[0].endswith("80.00 %; results from fewer than 3 seeds are preliminary.")


def test_the_verdict_counts_seeds_that_agree_and_collapses():
    names = ("DARTS_V1", "DARTS_V1", "DARTS_V2")
    rows = [search_row(4, seed, 80.0 + seed, cell=name) for seed, name in enumerate(names)]
    rows[0] |= {"status": "stopped", "stop_reason": "skip_rule"}
    _, agreement, troubles = judged(*rows, search_row(4, 3, None))
    assert agreement == "2 of the 3 seeds of k=4 found the same cell; 3 searches found 2 distinct cells in total."
    assert (
        troubles
        == "Of 4 searches, 1 failed, 1 was stopped by a collapse rule, and 1 other triggered a collapse warning."
    )


def test_the_verdict_does_not_speak_for_rules_that_were_not_recorded():
    rows = [search_row(4, seed, 80.0) | {"warnings": None} for seed in (1, 2)]
    assert judged(*rows)[2] == (
        "Of 2 searches, none failed; collapse rules were not recorded; the eigenvalue rule would have stopped 1."
    )


def test_the_package_itself_imports_nothing_heavy():
    root = Path(__file__).parents[3]
    light = "import sys, analysis; print({'pandas', 'pyarrow', 'matplotlib', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", light], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
