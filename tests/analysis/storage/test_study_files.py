"""Files of a study's folder."""

import errno
import os
import threading

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


def test_a_new_text_is_created_once(tmp_path):
    files = StudyFiles(str(tmp_path))
    assert files.create_text("a.json", "first") is True and files.create_text("a.json", "second") is False
    assert files.read_text("a.json") == "first" and files.names() == ["a.json"]
    files.delete_text("a.json")
    files.delete_text("a.json")
    assert files.names() == [] and os.listdir(tmp_path) == []


def test_a_folder_that_is_created_while_it_is_listed_is_listed_again(tmp_path):
    """Arrow looks twice: it cannot open the folder, but then finds that it exists."""
    files = StudyFiles(str(tmp_path / "new"))
    real, looks = files._files, []

    class Racing:
        def get_file_info(self, selector):
            looks.append(selector.base_dir)
            if len(looks) == 1:
                StudyFiles(str(tmp_path / "new")).write_text("a", "")
                raise FileNotFoundError(f"Cannot list directory '{selector.base_dir}'")
            return real.get_file_info(selector)

    files._files = Racing()
    assert files.names() == ["a"] and len(looks) == 2


def test_of_many_that_create_a_text_at_once_one_succeeds(tmp_path):
    barrier, won = threading.Barrier(16), []

    def race(number):
        files = StudyFiles(str(tmp_path))
        barrier.wait()
        won.append(files.create_text("a.json", str(number)))

    threads = [threading.Thread(target=race, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 15 + [True]


def test_a_text_that_is_there_already_may_be_ones_own_whose_answer_was_lost(tmp_path):
    files = StudyFiles(str(tmp_path))
    assert files.create_text("a.json", "mine") and files.create_text("a.json", "mine")
    assert not files.create_text("a.json", "another")


def test_a_disk_without_hard_links_is_refused(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ValueError, match=r"has no hard links \(Operation not permitted\).*give --storage a folder"):
        StudyFiles(str(tmp_path)).create_text("a.json", "x")
    assert os.listdir(tmp_path) == []


def test_a_storage_that_cannot_create_conditionally_is_refused():
    with pytest.raises(
        ValueError, match=r"kind mock:// cannot create a file only if it is new.*s3://, gs:// or abfs://"
    ):
        StudyFiles("mock:///bucket/demo").create_text("a.json", "x")


def test_a_guard_is_asked_before_every_try_of_a_change(tmp_path, monkeypatch):
    files, asked, tries = StudyFiles(str(tmp_path), patience=10.0), [], iter([OSError("once"), None])

    def write_once(self, path, data):
        if error := next(tries):
            raise error

    monkeypatch.setattr(StudyFiles, "_write_once", write_once)
    with files.guarded(lambda: asked.append(1)):
        files.below("queue").write_text("a.json", "x")
    assert len(asked) == 2
