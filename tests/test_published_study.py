"""The published study: the present code reads its tables, and its page and report say what they hold."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.build import write_report
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from orchestrator.storage.study_folder import open_study

RESULTS = Path(__file__).parent.parent / "docs/results"
STUDY = RESULTS / "fashion-14"


@pytest.fixture(scope="module")
def tables():
    store = ResultStore(str(STUDY))
    return [store.read(table) for table in (SEARCHES, QUEUE, RETRAINS)]


def test_nothing_is_missing_and_the_tables_are_small(tables):
    study, _ = open_study(str(STUDY))
    searches, _, retrains = tables
    assert set(searches["search_id"]) == {search.search_id for search in study.searches()}
    assert set(searches["status"]) == set(retrains["status"]) == {"completed"}
    seeds = retrains.groupby("genotype_digest")["seed"].nunique()
    assert len(seeds) == searches["genotype_digest"].nunique() and set(seeds) == {study.final.seeds}
    assert sum(path.stat().st_size for path in STUDY.rglob("*.parquet")) <= 3e6


def test_pandas_alone_reads_them(tables):
    searches = pd.read_parquet(STUDY / "searches")
    assert sorted(searches["search_id"]) == sorted(tables[0]["search_id"])
    assert searches["data_fingerprint"].nunique() == 1


def test_the_report_is_that_of_the_tables(tmp_path, monkeypatch):
    copy = Path("docs/results", STUDY.name)  # the report prints where the tables are
    shutil.copytree(STUDY, tmp_path / copy)
    monkeypatch.chdir(tmp_path)
    (copy / "report.html").unlink()
    write_report(str(copy))
    made, published = (without_vega((folder / "report.html").read_text()) for folder in (copy, STUDY))
    assert made == published, "run `make docs`"


def without_vega(page):
    """The report without Vega, whose text depends on the installed version of vl-convert, and without its digest."""
    bundle = max(re.findall("<script>(.*?)</script>", page, re.DOTALL), key=len)
    return re.sub("'sha256-[^']+'", "", page.replace(bundle, ""), count=1)


def test_the_page_says_what_the_tables_hold(tables):
    page = " ".join((RESULTS / "README.md").read_text().replace("\n> ", "\n").split())
    found = StudyData(store=ResultStore(str(STUDY))).conclusions
    for sentence in found.verdict:
        assert sentence in page
    for row in found.settings:
        assert f"| {row.setting} | {row.test_error:.2f} +- {row.test_error_std:.2f} |" in page
    searches, _, retrains = tables
    assert f"{searches['seconds'].sum() / 3600:.1f} hours of searches" in page
    assert f"{retrains['seconds'].sum() / 3600:.1f} hours of trainings" in page
