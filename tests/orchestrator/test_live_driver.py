"""A driver's link to people: its file and its requests, in a thread."""

import threading
import time

import pytest

from analysis.storage.study_files import StudyFiles
from orchestrator import live_driver
from orchestrator.live_driver import ALL_KINDS, QUEUE_KINDS, STUDY_KINDS, LiveDriver
from orchestrator.storage import live_status
from orchestrator.storage.lease import Lease, LeaseLostError
from orchestrator.storage.live_status import read_live_status, write_live_status
from orchestrator.storage.steering_log import SteeringLog


def driver(root, **options):
    return LiveDriver(str(root), ["pcdarts", "run", "a b"], Lease(f"{root}/study-lease"), interval=0.01, **options)


def until(condition):
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def phase(root):
    status = read_live_status(StudyFiles(str(root)))
    return status and status.driver.phase


def test_the_file_follows_the_driver_to_its_end(tmp_path):
    with driver(tmp_path) as live:
        live.board.begin("race", "rung 1")
        until(lambda: phase(tmp_path) == "race")
    status = read_live_status(StudyFiles(str(tmp_path)))
    assert (status.driver.phase, status.driver.command) == ("finished", "pcdarts run 'a b'")


@pytest.mark.parametrize(
    ("error", "ended", "message"),
    [(KeyboardInterrupt(), "interrupted", ""), (ValueError("no\nroom"), "failed", "no")],
)
def test_the_file_says_how_the_driver_ended(tmp_path, error, ended, message):
    with pytest.raises(type(error)), driver(tmp_path):
        raise error
    status = read_live_status(StudyFiles(str(tmp_path)))
    assert (status.driver.phase, status.driver.message) == (ended, message)


def test_a_driver_that_lost_its_lease_leaves_the_file_to_the_next(tmp_path):
    with pytest.raises(LeaseLostError), driver(tmp_path):
        until(lambda: phase(tmp_path))
        raise LeaseLostError("taken over")
    assert phase(tmp_path) == "searches"


def test_requests_come_once_and_only_those_of_its_kinds(tmp_path):
    log = SteeringLog(StudyFiles(str(tmp_path / "steering")))
    before, seeds = log.ask("drop", "job"), log.ask("seeds", seeds=(7,))
    with driver(tmp_path, kinds=lambda: QUEUE_KINDS, whole=False) as live:
        found = until(live.take)
        assert found == [before]
        live.answer(before, "taken")
        after = log.ask("up", "job")
        assert (live.take(look=True) or until(live.take)) == [after]
        assert live.take(look=True) == []
    assert [answer and answer.reason for _, answer in log.read()] == ["taken", None, None]
    with driver(tmp_path) as live:
        assert {request.id for request in live.take(look=True)} == {seeds.id, after.id}


def test_a_storage_that_fails_ends_neither_the_thread_nor_the_driver(tmp_path, monkeypatch):
    failed = []

    def fails(self, path, data):
        failed.append(path)
        raise OSError("disk full")

    write = StudyFiles._write
    monkeypatch.setattr(StudyFiles, "_write", fails)
    with driver(tmp_path):
        until(lambda: len(failed) > 2)
        monkeypatch.setattr(StudyFiles, "_write", write)
        until(lambda: phase(tmp_path) == "searches")


def test_resources_that_cannot_be_read_are_left_out(tmp_path):
    def lost():
        raise RuntimeError("Ray is gone")

    with driver(tmp_path, resources=lost):
        until(lambda: phase(tmp_path))
    assert read_live_status(StudyFiles(str(tmp_path))).resources is None


def test_the_file_says_how_the_driver_ended_although_ray_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(live_driver, "LAST_WRITE", 0.0)
    asked, answers = threading.Event(), threading.Event()

    def resources():
        asked.set()
        answers.wait(60)

    with pytest.raises(KeyboardInterrupt), driver(tmp_path, resources=resources):
        assert asked.wait(60)
        raise KeyboardInterrupt
    assert phase(tmp_path) == "interrupted"
    answers.set()


def test_a_driver_of_the_queue_stays_silent_beside_one_of_the_study(tmp_path):
    with driver(tmp_path) as study:
        until(lambda: phase(tmp_path))
        study.board.begin("report")
        until(lambda: phase(tmp_path) == "report")
        with driver(tmp_path, kinds=lambda: QUEUE_KINDS, whole=False) as queue:
            queue.board.begin("race")
        assert phase(tmp_path) == "report"
    with driver(tmp_path, kinds=lambda: QUEUE_KINDS, whole=False) as queue:
        queue.board.begin("race")
        until(lambda: phase(tmp_path) == "race")


def test_a_driver_of_the_queue_shows_itself_once_the_file_of_a_dead_driver_is_old(tmp_path, monkeypatch):
    files = StudyFiles(str(tmp_path))
    with driver(tmp_path):
        until(lambda: phase(tmp_path) == "searches")
        dead = read_live_status(files)
    write_live_status(files, dead)  # as one leaves it that was killed a moment ago
    with driver(tmp_path, whole=False) as queue:
        queue.board.begin("race")
        monkeypatch.setattr(live_status, "STALE_SECONDS", -1.0)
        until(lambda: phase(tmp_path) == "race")


def test_requests_about_the_queue_are_left_to_the_process_that_works_on_it(tmp_path):
    log = SteeringLog(StudyFiles(str(tmp_path / "steering")))
    request = log.ask("up", "job")
    elsewhere = True
    with driver(tmp_path, kinds=lambda: STUDY_KINDS if elsewhere else ALL_KINDS) as live:
        assert live.take(look=True) == []
        elsewhere = False
        assert live.take(look=True) == [request] or until(live.take) == [request]
