"""The docs say what the code does."""

import re
from pathlib import Path

import pytest

from analysis.tables import column_reference
from orchestrator.presets import STUDIES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_column_reference_is_current():
    assert (ROOT / "docs" / "columns.md").read_text() == column_reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_readme_names_every_preset():
    table = (ROOT / "README.md").read_text()
    assert all(f"| `{name}` |" in table for name in STUDIES)
