"""Tests of analysis.report.reproduce."""

import json

import pytest

from analysis.report.reproduce import commands, section
from analysis.sections.blocks import Code, Facts, Text
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import SEARCHES
from tests.analysis.synthetic import search_row

DESCRIPTION = {"name": "demo", "command": ["pcdarts", "run", "demo", "--study", "a b"], "git_revision": "0123abc"}


def of_type(blocks, kind):
    return [block for block in blocks if isinstance(block, kind)]


def study(root, description):
    store = ResultStore(str(root))
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "a")
    if description is not None:
        store.write_text("study.json", json.dumps(description))
    return section(StudyData(store=store)).blocks


def test_the_command_is_quoted_and_its_revision_checked_out():
    assert commands(DESCRIPTION) == ["git checkout 0123abc", "pcdarts run demo --study 'a b'"]
    assert commands(DESCRIPTION | {"git_revision": None}) == ["pcdarts run demo --study 'a b'"]


@pytest.mark.parametrize("command", [None, [], "pcdarts", [1]])
def test_without_a_command_there_is_none(command):
    assert commands({"command": command, "git_revision": "a"}) == []


def test_seeds_versions_and_devices(tmp_path):
    blocks = study(tmp_path, DESCRIPTION)
    (facts,) = of_type(blocks, Facts)
    expected = {"seeds": "0", "git revision": "0123abc", "PyTorch": "2.9.0", "device": "cpu (x86_64)"}
    assert expected.items() <= dict(facts.facts).items()
    codes = of_type(blocks, Code)
    assert [code.language for code in codes] == ["sh", "json", "python"]
    compile(codes[-1].text, "tables", "exec")
    assert not of_type(blocks, Text)


def test_the_code_reads_the_tables_that_there_are(tmp_path):
    code = of_type(study(tmp_path, DESCRIPTION), Code)[-1].text
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["searches"]) == 1 and "failures" not in names and "settings" not in names


def test_changed_code_is_warned_of(tmp_path):
    (warning,) = of_type(study(tmp_path, DESCRIPTION | {"git_revision": "0123abc+"}), Text)
    assert warning.style == "warn" and "uncommitted" in warning.text


def test_without_study_json(tmp_path):
    blocks = study(tmp_path, None)
    assert [code.language for code in of_type(blocks, Code)] == ["python"] and of_type(blocks, Text)
