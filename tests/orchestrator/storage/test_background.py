"""Files that are written, and questions that are asked, while a trial goes on."""

import threading

import pytest

from analysis.storage.storage_retry import StorageError
from analysis.storage.study_files import StudyFiles
from orchestrator.storage import background
from orchestrator.storage.background import BackgroundFile, BackgroundQuestion, BackgroundWork
from orchestrator.storage.lease import LeaseLostError
from orchestrator.storage.study_folder import background_checkpoint, checkpoint
from tests.orchestrator.storage.test_table_writer import Held


class Slow(StudyFiles):
    """Writes once it may."""

    def __init__(self, root):
        super().__init__(root)
        self.may_write, self.written = threading.Event(), []

    def write_bytes(self, name, data):
        assert self.may_write.wait(60)
        self.written.append(data)
        super().write_bytes(name, data)


@pytest.fixture
def slow(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "GRACE", 0.0)
    return Slow(str(tmp_path))


def test_the_writer_goes_on_and_the_end_waits(slow):
    with BackgroundFile(slow, "x") as file:
        file.write(b"1")
        assert slow.written == []
        slow.may_write.set()
        file.write(b"2")
        assert slow.written[0] == b"1"
        assert file.read() == b"2"
        file.write(b"3")
    assert slow.written == [b"1", b"2", b"3"] and slow.read_bytes("x") == b"3"


def failing(slow):
    def write_bytes(name, data):
        raise StorageError("the storage failed: disk full")

    slow.write_bytes = write_bytes
    return BackgroundFile(slow, "x")


def test_an_error_is_raised_by_the_next_write_or_at_the_end(slow):
    with pytest.raises(StorageError, match="disk full"), failing(slow) as file:
        file.write(b"1")
        file.write(b"2")
    with pytest.raises(StorageError, match="disk full"), failing(slow) as file:
        file.write(b"1")


def test_an_error_of_the_trial_counts_more(slow):
    with pytest.raises(FloatingPointError), failing(slow) as file:
        file.write(b"1")
        raise FloatingPointError


def test_the_checkpoint_of_a_trial_is_that_of_the_study(tmp_path):
    with background_checkpoint(str(tmp_path), "x") as file:
        assert file.load({"k": 1}) is None
        file.save({"config": {"k": 1}, "step": 3})
    again = checkpoint(str(tmp_path), "x")
    assert again.path == file.path and again.load({"k": 1})["step"] == 3


def test_an_answer_that_comes_late_counts_at_a_later_call(monkeypatch):
    monkeypatch.setattr(background, "GRACE", 0.0)
    may_answer, asked = threading.Event(), []

    def ask():
        asked.append(1)
        return may_answer.wait(60)

    with BackgroundQuestion(ask) as question:
        assert not question() and not question()
        may_answer.set()
        while not question():
            pass
        assert question() and asked == [1]


def test_an_answer_that_comes_at_once_counts_at_once(monkeypatch):
    monkeypatch.setattr(background, "GRACE", 60.0)
    answers = [False, False, True]
    with BackgroundQuestion(lambda: answers.pop(0)) as question:
        assert [question() for _ in range(4)] == [False, False, True, True]


def test_a_driver_goes_on_while_its_steps_are_done_in_their_order():
    may_start, done = threading.Event(), []

    def first():
        assert may_start.wait(60)
        done.append(1)

    with BackgroundWork() as work:
        work.add(first, then=lambda: done.append("then 1"))
        work.add(lambda: done.append(2), then=lambda: done.append("then 2"))
        work.tick()
        assert done == [] and not work.is_idle
        may_start.set()
        work.finish()
        assert done in ([1, 2, "then 1", "then 2"], [1, "then 1", 2, "then 2"]) and work.is_idle
        work.add(lambda: done.append(3), then=lambda: done.append("then 3"))
    assert done[-2:] == [3, "then 3"]


def test_nothing_follows_a_step_that_failed_and_its_error_is_raised():
    done = []

    def fail():
        raise StorageError("the storage failed: disk full")

    with pytest.raises(StorageError, match="disk full"), BackgroundWork() as work:
        work.add(fail, then=lambda: done.append("then"))
        work.add(lambda: done.append(2), then=lambda: done.append("then 2"))
        work.finish()
    assert done == []
    with pytest.raises(StorageError, match="disk full"), BackgroundWork() as work:
        work.add(fail)


def test_an_error_that_was_caught_comes_again_and_nothing_counts_as_done():
    done = []

    def fail():
        raise ValueError("row does not fit")

    with pytest.raises(ValueError, match="does not fit"), BackgroundWork() as work:
        work.add(fail)
        with pytest.raises(ValueError, match="does not fit"):
            work.finish()
        work.add(lambda: done.append(1), then=lambda: done.append("then"))
        with pytest.raises(ValueError, match="does not fit"):
            work.finish()
    assert done == []


def test_ctrl_c_while_the_end_waits_loses_no_step():
    done = []

    def interrupt():
        done.append("then 1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), BackgroundWork() as work:
        work.add(lambda: done.append(1), then=interrupt)
        work.add(lambda: done.append(2), then=lambda: done.append("then 2"))
    assert [each for each in done if each != "then 1"] == [1, 2, "then 2"]


def test_after_ctrl_c_what_was_reported_is_written():
    done = []
    with pytest.raises(KeyboardInterrupt), BackgroundWork() as work:
        work.add(lambda: done.append(1), then=lambda: done.append("then"))
        raise KeyboardInterrupt
    assert done == [1, "then"]


def test_without_the_lease_nothing_more_is_written():
    done = []
    with pytest.raises(LeaseLostError), BackgroundWork(Held()) as work:
        work.add(lambda: done.append(1), then=lambda: done.append("then"))
        raise LeaseLostError("lost")
    assert done == []
