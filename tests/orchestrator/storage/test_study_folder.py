"""Where a study lies: made, gone on with, refused; and its checkpoints."""

import dataclasses
import errno
import json
import os

import pytest

from analysis.storage.study_files import StudyFiles
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.storage.study_folder import (
    check_storage,
    checkpoint,
    create_or_open,
    open_study,
    store_descriptions,
)
from orchestrator.study_file import load_study


def test_a_study_without_a_result_may_change_its_configuration(tmp_path):
    create_or_open(smoke(), str(tmp_path / "smoke"), [])
    changed = dataclasses.replace(smoke(), sweep={"seed": (5,)})
    create_or_open(changed, str(tmp_path / "smoke"), [])
    assert open_study(str(tmp_path / "smoke"))[0] == changed


def test_the_folder_holds_the_file_that_runs_the_study_again(tmp_path):
    root = tmp_path / "smoke"
    create_or_open(smoke(), str(root), [])
    assert load_study(str(root / "study.toml"), {}) == (smoke(), RunOptions())
    changed = dataclasses.replace(smoke(), sweep={"seed": (5,)})
    create_or_open(changed, str(root), [])
    assert load_study(str(root / "study.toml"), {})[0] == open_study(str(root))[0] == changed


def test_that_file_retrains_if_the_study_did(tmp_path):
    create_or_open(smoke(), str(tmp_path), [], retrain=True)
    assert load_study(str(tmp_path / "study.toml"), {}) == (smoke(), RunOptions(retrain=True))


def test_that_file_is_written_again_if_it_is_missing(tmp_path):
    create_or_open(smoke(), str(tmp_path), [])
    (tmp_path / "study.toml").unlink()
    create_or_open(smoke(), str(tmp_path), [])
    assert load_study(str(tmp_path / "study.toml"), {})[0] == smoke()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that are no study"):
        create_or_open(smoke(), str(tmp_path), [])
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_looking_at_a_folder_does_not_make_it(tmp_path):
    assert check_storage(str(tmp_path / "studies" / "smoke")) is None
    assert os.listdir(tmp_path) == []


def test_descriptions_of_images_replace_earlier_ones_of_the_same_images(tmp_path):
    store = create_or_open(smoke(), str(tmp_path), [])
    first, other = (
        {"dataset": "folder", "fingerprint": name, "height": 8, "width": 8, "place": "a"} for name in ("1", "2")
    )
    store_descriptions(store, [first, other])
    store_descriptions(store, [first | {"place": "b"}])
    assert json.loads((tmp_path / "data.json").read_text()) == [other, first | {"place": "b"}]
    written = (tmp_path / "data.json").stat().st_mtime_ns
    store_descriptions(store, [first | {"place": "b"}])
    assert (tmp_path / "data.json").stat().st_mtime_ns == written


def test_a_broken_study_file_and_a_missing_study_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no study"):
        open_study(str(tmp_path))
    (tmp_path / "study.json").write_text('{"config": {')
    with pytest.raises(ValueError, match=r"study\.json is broken"):
        open_study(str(tmp_path))


def test_storage_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"):
        create_or_open(smoke(), str(tmp_path / "file" / "smoke"), [])


def test_a_file_uri_is_the_path_it_names(tmp_path):
    store = create_or_open(smoke(), (tmp_path / "new" / "smoke").as_uri(), [])
    assert store.root == str(tmp_path / "new" / "smoke") and (tmp_path / "new" / "smoke" / "study.json").exists()
    checkpoint((tmp_path / "other").as_uri(), "x").save({"config": {}})
    assert (tmp_path / "other" / "checkpoints" / "x.pt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    with pytest.raises(ValueError, match="holds files that are no study"):
        create_or_open(smoke(), foreign.as_uri(), [])


def test_a_study_holds_checkpoints(tmp_path):
    file = checkpoint(str(tmp_path), "x")
    assert file.load({"k": 1}) is None
    file.save({"config": {"k": 1}, "step": 3})
    assert file.load({"k": 1})["step"] == 3
    assert os.listdir(tmp_path / "checkpoints") == ["x.pt"]


def test_a_storage_that_creates_a_file_twice_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(StudyFiles, "create_text", lambda self, name, text: self.write_text(name, text) or True)
    with pytest.raises(ValueError, match=r"lets two processes create the same file.*give --storage a folder"):
        check_storage(str(tmp_path / "studies" / "smoke"))
    assert os.listdir(tmp_path) == []


def test_a_disk_without_hard_links_is_refused_before_anything_runs(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ValueError, match="has no hard links"):
        check_storage(str(tmp_path / "smoke"))
    assert os.listdir(tmp_path) == []
