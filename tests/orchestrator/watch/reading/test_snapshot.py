"""What a study's folder tells about its driver, its searches and its trainings."""

import os

import pytest

from analysis.store import ResultStore
from analysis.tables import RETRAINS
from orchestrator.storage.lease import Lease
from orchestrator.storage.steering_log import SteeringLog
from orchestrator.watch.panels import panels
from orchestrator.watch.reading.snapshot import StudyReader
from orchestrator.watch.rows import failure_rows, search_rows, training_rows
from orchestrator.watch.view import View
from tests.analysis.synthetic import search_row, write_study
from tests.orchestrator.watch.studies import NOW, end, live, planned, report_epochs, simulated, trial

SEARCH = search_row(4, 7, 80.0)
KEY = SEARCH["search_id"]


def reader(root, now=NOW):
    found = StudyReader(str(root), clock=lambda: now)
    found.refresh()
    return found


def state(root, key=KEY, now=NOW):
    return search_rows(reader(root, now).snapshot).loc[key, "state"]


def test_an_empty_folder_is_empty(tmp_path):
    snapshot = reader(tmp_path).snapshot
    assert snapshot.is_empty and snapshot.driver == "none" and snapshot.written_at == 0
    for tab in ("overview", "searches", "trainings", "failures", "report"):
        found = panels(snapshot, View(tab=tab))
        assert found["header"]["empty"] and found["header"]["written_at"] is None


def test_planned_searches_wait(tmp_path):
    config = planned(tmp_path)
    rows = search_rows(reader(tmp_path).snapshot)
    assert set(rows["state"]) == {"waiting"} and len(rows) == len(config.searches())
    assert set(rows["setting"]) == {config.setting(search) for search in config.searches()}


def test_added_seeds_are_planned_at_once(tmp_path):
    config = planned(tmp_path)
    found = reader(tmp_path)
    before = len(search_rows(found.snapshot))
    SteeringLog(ResultStore(str(tmp_path)).below("steering")).ask("seeds", seeds=(77,))
    assert found.refresh()
    rows = search_rows(found.snapshot)
    assert len(rows) > before and 77 in set(rows["seed"])
    assert before == len(config.searches())
    (request,) = panels(found.snapshot, View())["requests"]
    assert (request["kind"], request["target"], request["verdict"]) == ("seeds", "77", "")


def test_a_broken_description_is_said(tmp_path):
    (tmp_path / "study.json").write_text("{")
    assert "study.json" in panels(reader(tmp_path).snapshot, View())["header"]["problems"][0]


def test_a_damaged_file_is_said(tmp_path):
    simulated(tmp_path)
    (tmp_path / "searches" / "bad.parquet").write_bytes(b"no")
    (problem,) = panels(reader(tmp_path).snapshot, View())["header"]["problems"]
    assert problem.startswith("searches/bad.parquet: ")


def test_a_running_search_shows_its_progress(tmp_path):
    store = ResultStore(str(tmp_path))
    report_epochs(store, SEARCH, 3)
    live(store, trial(KEY, epoch=3))
    row = search_rows(reader(tmp_path).snapshot).loc[KEY]
    assert (row["state"], row["epochs_done"], row["seconds_left"]) == ("running", 3, 80.0)
    header = panels(reader(tmp_path).snapshot, View())["header"]
    assert header["driver"] == "running" and header["phase"] == "searches" and header["resources"]["gpus"] == 2


@pytest.mark.parametrize("phase", ["finished", "interrupted", "failed"])
def test_a_search_without_its_driver_is_stale(tmp_path, phase):
    store = ResultStore(str(tmp_path))
    report_epochs(store, SEARCH, 3)
    live(store, phase=phase)
    assert state(tmp_path) == "stale"
    assert reader(tmp_path).snapshot.driver == phase


def test_a_driver_that_stops_writing_is_stale(tmp_path):
    store = ResultStore(str(tmp_path))
    report_epochs(store, SEARCH, 3)
    live(store, trial(KEY))
    now = [NOW]
    found = StudyReader(str(tmp_path), clock=lambda: now[0])
    found.refresh()
    assert found.snapshot.driver == "running" and not found.refresh()
    now[0] += 600
    assert found.refresh()  # although no file has changed
    assert found.snapshot.driver == "stale"
    assert search_rows(found.snapshot).loc[KEY, "state"] == "stale"


def test_a_silent_trial_is_stale_although_its_driver_runs(tmp_path):
    store = ResultStore(str(tmp_path))
    report_epochs(store, SEARCH, 3)
    live(store, trial(KEY, reported_at=NOW), written_at=NOW + 1000)
    assert state(tmp_path, now=NOW + 1000) == "stale"


def test_without_the_drivers_file_the_lease_tells(tmp_path):
    store = ResultStore(str(tmp_path))
    report_epochs(store, SEARCH, 3)
    assert state(tmp_path) == "stale"
    lease = Lease(str(tmp_path / "study-lease"), what="study")
    lease.acquire()
    os.utime(tmp_path / "study-lease" / "00000001.json", (NOW, NOW))
    snapshot = reader(tmp_path).snapshot
    assert snapshot.driver == "running" and "process" in panels(snapshot, View())["header"]["lease"]
    assert state(tmp_path) == "running"
    lease.release()
    assert reader(tmp_path).snapshot.driver == "none"


def test_a_refresh_takes_in_what_is_new(tmp_path):
    store = ResultStore(str(tmp_path))
    found = reader(tmp_path)
    report_epochs(store, SEARCH, 2)
    assert found.refresh() and not found.refresh()
    report_epochs(store, SEARCH, 5)
    assert found.refresh()
    assert search_rows(found.snapshot).loc[KEY, "epochs_done"] == 5
    end(store, SEARCH)
    assert found.refresh()
    assert search_rows(found.snapshot).loc[KEY, "state"] == "completed"


def test_a_copied_study_needs_no_driver(tmp_path):
    write_study(str(tmp_path))
    snapshot = reader(tmp_path).snapshot
    assert snapshot.driver == "none" and snapshot.name == "demo"
    counts = panels(snapshot, View())["tiles"]["searches"]
    assert counts == {"completed": 8, "failed": 1}


def test_trainings_stand_in_the_order_of_the_queue_with_their_results(tmp_path):
    write_study(str(tmp_path))
    rows = training_rows(reader(tmp_path).snapshot)
    assert list(rows["state"]) == ["done", "queued"]
    assert rows["test_accuracy"].iloc[0] == 97.4 and rows["test_accuracy"].isna().iloc[1]


def test_failed_trainings_are_failures_too(tmp_path):
    store = simulated(tmp_path)
    frame = failure_rows(reader(tmp_path).snapshot)
    assert len(frame) == 0
    (row, *_) = store.rows(RETRAINS)
    store.append(RETRAINS, [row | {"status": "failed", "error": "node lost", "attempt": 7}], "failed")
    (kind,) = failure_rows(reader(tmp_path).snapshot)["kind"]
    assert kind == "training"


def test_what_a_storage_error_interrupted_is_read_again(tmp_path, monkeypatch):
    planned(tmp_path)
    found = StudyReader(str(tmp_path), clock=lambda: NOW)

    def fails(self, name):
        raise OSError("storage hiccup")

    with monkeypatch.context() as broken:
        broken.setattr(ResultStore, "read_text", fails)
        with pytest.raises(OSError, match="hiccup"):
            found.refresh()
    assert found.refresh() and len(found.snapshot.planned) == len(reader(tmp_path).snapshot.planned) > 0
