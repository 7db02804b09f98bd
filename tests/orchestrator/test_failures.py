"""Failures are recorded, a driver's death at the next start."""

import pytest

from analysis.store import ResultStore
from analysis.tables import FAILURES
from orchestrator.failures import RUNNING, FailureLog, noticed
from orchestrator.options import RunOptions
from orchestrator.study import run_study
from tests.orchestrator.killing import study_with_searches


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


def test_a_driver_that_died_is_recorded_and_one_that_ended_is_not(log):
    with noticed(log):
        assert "process " in log.store.read_text(RUNNING)
    with pytest.raises(ValueError), noticed(log):
        raise ValueError("bad input is said where it happens")
    assert log.store.read_text(RUNNING) is None and recorded(log) == []
    log.store.write_text(RUNNING, "process 1")
    with noticed(log):
        pass
    assert [kind for kind, _ in recorded(log)] == ["driver"] and log.store.rows(FAILURES)[0]["subject"] == "process 1"


def test_failures_are_in_the_report(tmp_path):
    study, store = study_with_searches(str(tmp_path))
    FailureLog(study.name, store).record("trial", "k2-seed0", "tried again: ActorDiedError")
    run_study(study, str(tmp_path), options=RunOptions(), retrain=False, command=[], say=lambda text: None)
    report = (tmp_path / "report.html").read_text()
    assert "Failures while the study ran" in report and "tried again: ActorDiedError" in report
