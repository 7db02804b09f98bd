"""Storage that fails for a while."""

import pytest

from analysis.storage.storage_retry import StorageError, patiently
from analysis.store import ResultStore


class Clock:
    now = 0.0

    def sleep(self, seconds):
        self.now += seconds


def run(errors, seconds, told=None):
    """Raise these errors one after the other, then return; what was told and how long it took."""
    clock, told, left = Clock(), [] if told is None else told, list(errors)

    def action():
        if left:
            raise left.pop(0)
        return "done"

    result = patiently(action, seconds, on_recovery=told.append, clock=lambda: clock.now, sleep=clock.sleep)
    return result, told, clock.now


def test_pauses_double_and_the_trouble_is_told_once():
    result, told, took = run([OSError("disk full")] * 3, 60.0)
    assert result == "done" and took == pytest.approx(0.1 + 0.2 + 0.4)
    assert told == ["disk full; it worked again after 0.7 s"] and run([], 60.0)[1] == []


def test_the_end_of_patience_is_one_line():
    with pytest.raises(StorageError, match=r"^the storage failed for 5 s: read-only$"):
        run([OSError("read-only\nsecond line")] * 100, 5.0)


@pytest.mark.parametrize("error", [PermissionError("x"), NotADirectoryError("x"), IsADirectoryError("x")])
def test_what_waiting_does_not_mend_fails_at_once(error):
    with pytest.raises(StorageError, match="^the storage failed: x$"):
        run([error], 60.0)


def test_a_file_that_is_absent_stays_that_error():
    with pytest.raises(FileNotFoundError):
        run([FileNotFoundError("x")], 60.0)


def test_a_trouble_is_told_too_where_the_file_is_absent():
    told = []
    with pytest.raises(FileNotFoundError):
        run([OSError("503"), FileNotFoundError("x")], 60.0, told)
    assert told == ["503; it worked again after 0.1 s"]


def test_without_patience_the_first_error_is_the_last():
    with pytest.raises(StorageError, match="^the storage failed: disk full$"):
        run([OSError("disk full")], 0.0)


def test_a_store_with_patience_writes_when_it_can(tmp_path, monkeypatch):
    import os

    real, failing = os.fsync, [OSError("disk full")]
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(failing.pop()) if failing else real(file))
    store = ResultStore(str(tmp_path), patience=30.0)
    store.write_text("a", "text")
    assert store.read_text("a") == "text" and len(store.troubles) == 1
