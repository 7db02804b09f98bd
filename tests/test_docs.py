"""The docs say what the code does."""

import json
import pydoc
import re
import tomllib
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch
import yaml

from analysis import figures
from analysis.tables import column_reference
from orchestrator.presets import STUDIES
from orchestrator.study import run_study
from pcdarts.genotype import PUBLISHED
from pcdarts.network import CellNetwork
from pcdarts.official import network_to_official
from tests.analysis.synthetic import write_study
from tests.test_imports import all_modules, imports

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_column_reference_is_current():
    assert (ROOT / "docs" / "columns.md").read_text() == column_reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_page_of_commands_names_every_preset():
    table = (ROOT / "docs" / "commands.md").read_text()
    assert all(f"| `{name}` |" in table for name in STUDIES)


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(docs/(\w+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in PAGES} - {"README.md", "CONTRIBUTING.md", "index.md"}


def test_the_snippets_on_tables_run_on_a_study_where_nothing_failed(tmp_path, monkeypatch):
    write_study(str(tmp_path / "studies" / "demo"))
    monkeypatch.chdir(tmp_path)
    names = run_snippets("tables.md", without="s3://")
    assert names["by_seed"].shape == (3, 3) and names["alphas"].shape == (10, 14, 8)
    assert names["found"].verdict


def test_the_snippet_on_official_checkpoints_runs(tmp_path, monkeypatch):
    network = CellNetwork(PUBLISHED["PC_DARTS_cifar"], channels=4, layers=3, classes=10, auxiliary=False)
    torch.save(network_to_official(network), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    weights = run_snippets("networks.md")["network"].state_dict()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


def test_the_snippets_on_extending_run(tmp_path, monkeypatch, capsys):
    """All but the Ray cluster: a call that does not fit `run_study` fails."""
    called = create_autospec(run_study, side_effect=lambda study, root, **_: len(write_study(root).broken))
    monkeypatch.setattr("orchestrator.study.run_study", called)
    monkeypatch.chdir(tmp_path)
    names = run_snippets("extending.md")
    assert called.call_args.args[0].name == "mine" and names["failed"] == 0
    assert names["seen"] and names["trained"].test_accuracy >= 0


def test_every_figure_of_the_gallery_can_be_drawn(tmp_path, monkeypatch, capsys):
    write_study(str(tmp_path / "studies" / "demo"))
    monkeypatch.chdir(tmp_path)
    names = run_snippets("figures.md")
    assert "k=4" in capsys.readouterr().out and len(names["frame"])
    assert (tmp_path / "accuracy.pdf").read_bytes().startswith(b"%PDF")
    page = (ROOT / "docs" / "figures.md").read_text()
    assert all(f" {name}" in page for name in figures.__all__ if name.endswith("_chart"))


def test_the_notebook_makes_a_figure_and_its_file(tmp_path, monkeypatch):
    write_study(str(tmp_path / "studies" / "demo"))
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in json.loads((ROOT / "docs" / "figures.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert (
        names["chart"].to_dict()
        and len(names["errors"])
        and (tmp_path / "test-errors.pdf").read_bytes().startswith(b"%PDF")
    )


def run_snippets(page, without=None):
    """The names that the Python blocks of a page leave behind."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
        if without is None or without not in block:
            exec(block, names)
    return names


def test_every_package_has_its_types_marked():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert all((ROOT / name / "py.typed").exists() for name in packages)


def test_the_citation_is_of_this_version_and_prefers_the_journal_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert citation["preferred-citation"]["doi"] == "10.1109/TPAMI.2021.3059510"
    papers = [citation["preferred-citation"], *citation["references"]]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert all(f"*{paper['title']}*" in readme for paper in papers)


def test_the_names_in_the_architecture_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"\b(?:pcdarts|analysis|cluster|orchestrator)(?:\.\w+)+", text))
    assert names
    for name in names - {name for name in names if name.endswith((".py", ".md"))}:
        assert pydoc.locate(name) is not None, name


def test_the_rooms_in_the_architecture_are_those_of_the_code():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `([\w/]+)/` \| .+ \| (.+) \|$", text.partition("## Rooms")[2], re.MULTILINE)
    described = {folder: set(re.findall(r"`([\w/]+)/`", imported)) for folder, imported in rows}
    found = {}
    for name in all_modules():
        found.setdefault(folder_of(name), set()).update(folder_of(target) for target in imports(name))
    assert described == {folder: others - {folder} for folder, others in found.items()}


def folder_of(name):
    path = ROOT / name.replace(".", "/")
    return str((path if path.is_dir() else path.parent).relative_to(ROOT))
