"""Failures are recorded, a driver's death at the next start."""

import pytest

from analysis.storage.storage_retry import StorageError
from analysis.store import ResultStore
from analysis.tables import FAILURES
from orchestrator.options import RunOptions
from orchestrator.storage.failure_log import FailureLog, record_last_driver
from orchestrator.storage.lease import Lease, LeaseHeldError, open_lease
from orchestrator.study import run_study
from tests.orchestrator.queue.killing import study_with_searches


@pytest.fixture
def log(tmp_path):
    return FailureLog("demo", ResultStore(str(tmp_path)))


def recorded(log):
    return [(row["kind"], row["error"]) for row in log.store.rows(FAILURES)]


def test_what_the_storage_met_with_is_recorded_once(log):
    log.store.troubles = ["disk full; it worked again after 3.0 s"]
    log.flush()
    log.flush()
    assert recorded(log) == [("storage", "disk full; it worked again after 3.0 s")]


def test_a_driver_that_died_is_recorded_and_one_that_ended_is_not(log, tmp_path):
    ended = set()

    def drive(dies=False):
        lease = Lease(str(tmp_path / "study-lease"), what="study", is_dead=lambda term: term.id in ended)
        lease.acquire()
        record_last_driver(log, lease)
        ended.add(lease.id)
        who = lease.held.who
        if not dies:
            lease.release()
        return who

    drive()
    drive()
    assert recorded(log) == []
    who = drive(dies=True)
    drive()
    drive()
    assert [kind for kind, _ in recorded(log)] == ["driver"] and log.store.rows(FAILURES)[0]["subject"] == who


def test_a_driver_whose_storage_failed_is_recorded(log, tmp_path):
    lease = Lease(str(tmp_path / "study-lease"), what="study")
    with pytest.raises(StorageError), lease:
        raise StorageError("the storage failed: disk full")
    for _ in range(2):
        with Lease(str(tmp_path / "study-lease"), what="study") as lease:
            record_last_driver(log, lease)
    assert recorded(log) == [("driver", "it ended because the storage failed; this run resumed from what was stored")]


def test_a_study_is_not_run_by_two_drivers_at_once(tmp_path):
    study, _ = study_with_searches(str(tmp_path))
    with open_lease(str(tmp_path), RunOptions(), "study"):
        with pytest.raises(LeaseHeldError, match="another process, process .*, has been working on this study since"):
            run_study(study, str(tmp_path), options=RunOptions(), command=[], say=lambda text: None)


def test_failures_are_in_the_report(tmp_path):
    study, store = study_with_searches(str(tmp_path))
    FailureLog(study.name, store).record("trial", "k2-seed0", "tried again: ActorDiedError")
    run_study(study, str(tmp_path), options=RunOptions(), command=[], say=lambda text: None)
    report = (tmp_path / "report.html").read_text()
    assert "Failures during the study" in report and "tried again: ActorDiedError" in report
