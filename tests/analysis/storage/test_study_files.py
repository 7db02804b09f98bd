"""Files of a study's folder."""

import os

import pytest

from analysis.storage.study_files import StudyFiles


def test_text_files(tmp_path):
    files = StudyFiles(str(tmp_path))
    assert files.read_text("study.json") is None
    files.write_text("study.json", '{"name": "größe"}')
    assert files.read_text("study.json") == '{"name": "größe"}'
    assert os.listdir(files.root) == ["study.json"]


def test_a_folder_of_texts_is_replaced(tmp_path):
    files = StudyFiles(str(tmp_path))
    files.write_texts("report-csv", {"a.csv": "1", "b.csv": "2"})
    files.write_texts("report-csv", {"b.csv": "3"})
    assert [(p.name, p.read_text()) for p in (tmp_path / "report-csv").iterdir()] == [("b.csv", "3")]
    with pytest.raises(ValueError, match="name is"):
        files.write_texts("..", {})


def test_a_new_text_is_created_once_and_never_where_nobody_can_tell(tmp_path):
    files = StudyFiles(str(tmp_path))
    assert files.create_text("a.json", "first") is True and files.create_text("a.json", "second") is False
    assert files.read_text("a.json") == "first" and files.names() == ["a.json"]
    files.delete_text("a.json")
    files.delete_text("a.json")
    assert files.names() == [] and os.listdir(tmp_path) == []
    files._is_local = False
    assert files.create_text("a.json", "third") is None and files.names() == []
