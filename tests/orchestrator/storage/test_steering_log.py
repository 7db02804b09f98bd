"""Requests to a driver and its answers, as files."""

import pytest

from analysis.storage.study_files import StudyFiles
from orchestrator.storage.steering_log import SteeringLog, StopFlags


@pytest.fixture
def files(tmp_path):
    return StudyFiles(str(tmp_path / "steering"))


def test_another_process_reads_requests_and_answers(files):
    now = [5.0]
    log, driver = SteeringLog(files, lambda: now[0]), SteeringLog(files, lambda: 7.0)
    assert driver.read() == []
    first = log.ask("stop", "s1")
    now[0] = 6.0
    second = log.ask("seeds", seeds=(7, 8))
    assert driver.unanswered() == [first, second]
    answer = driver.answer(first, reason="it does not run")
    refusal = driver.answer(second, reason="no", refused=True)
    assert log.read() == [(first, answer), (second, refusal)] and log.unanswered() == []
    assert (answer.verdict, refusal.verdict) == ("taken up", "refused")
    assert first.asked_at == "1970-01-01T00:00:05+00:00" and answer.answered_at == "1970-01-01T00:00:07+00:00"


def test_files_are_read_once(files, monkeypatch):
    SteeringLog(files).ask("drop", "job")
    log = SteeringLog(files)
    log.read()
    monkeypatch.setattr(StudyFiles, "read_text", lambda *a: pytest.fail("read again"))
    assert len(log.read()) == 1


def test_seeds_count_until_they_are_refused(files):
    log = SteeringLog(files)
    log.ask("seeds", seeds=(7, 8))
    refused = log.ask("seeds", seeds=(9,))
    log.ask("seeds", seeds=(8, 3))
    log.answer(refused, refused=True)
    assert SteeringLog(files).added_seeds() == [7, 8, 3]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"id": "a"}',
        '{"id": "a", "kind": "destroy", "target": "x", "seeds": [], "asked_at": ""}',
        '{"id": "a", "kind": "stop", "target": "", "seeds": [], "asked_at": ""}',
        '{"id": "a", "kind": "seeds", "target": "", "seeds": ["x"], "asked_at": ""}',
    ],
)
def test_a_file_that_is_no_request_is_left_out_and_named_once(files, text):
    files.write_text("a.json", text)
    log = SteeringLog(files)
    assert log.read() == log.read() == []
    assert len(log.broken) == 1 and log.broken[0].startswith("a.json: ")


def test_flags_are_seen_by_other_processes_until_they_are_taken_down(tmp_path):
    flags, worker = StopFlags.of(str(tmp_path)), StopFlags.of(str(tmp_path))
    assert not worker.is_set("s1") and worker.names() == set()
    flags.raise_flag("s1")
    assert worker.is_set("s1") and worker.names() == {"s1"}
    flags.take_down("s1")
    flags.take_down("s1")
    assert not worker.is_set("s1")


def test_while_the_storage_fails_no_flag_is_seen(tmp_path, monkeypatch):
    flags = StopFlags.of(str(tmp_path))
    flags.raise_flag("s1")

    def fails(self, name):
        raise OSError("network")

    monkeypatch.setattr(StudyFiles, "read_bytes", fails)
    assert not flags.is_set("s1")
