"""Local files, written whole or not at all."""

import errno
import os

import pytest

from pcdarts.training.atomic_write import create_file, replace_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "file"
    for content in (b"old", b"new"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path / "deep") == ["file"]


def test_a_draft_may_lie_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda draft, path: drafts.append(draft))
    drafts = []
    replace_file(tmp_path / "table" / "part", b"content", drafts=tmp_path)
    assert [draft.parent for draft in drafts] == [tmp_path]
    assert os.listdir(tmp_path) == ["table"] and os.listdir(tmp_path / "table") == []


def test_a_draft_on_another_disk_is_made_again_next_to_the_file(tmp_path, monkeypatch):
    moved, replace = [], os.replace

    def move(draft, path):
        moved.append(draft.parent)
        if draft.parent != path.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(draft, path)

    monkeypatch.setattr(os, "replace", move)
    replace_file(tmp_path / "table" / "part", b"content", drafts=tmp_path)
    assert moved == [tmp_path, tmp_path / "table"] and (tmp_path / "table" / "part").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["table"] and os.listdir(tmp_path / "table") == ["part"]


def test_a_file_is_created_once(tmp_path):
    create_file(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first" and os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [replace_file, create_file])
def test_a_failed_write_leaves_no_trace(write, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == []
