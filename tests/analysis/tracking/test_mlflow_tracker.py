"""MLflow: a real server on loopback, with SQLite.  Without the packages of the server these tests are skipped."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import get_args, get_type_hints

import pytest

from analysis.records import SearchIdentity
from analysis.store import ResultStore
from analysis.tables import EPOCHS, RETRAINS, SEARCHES
from analysis.tracking.mirror import Changes, Mirror, follow
from analysis.tracking.mlflow_tracker import FINAL, MlflowTracker
from analysis.tracking.tracker import TrackerError
from tests.analysis.synthetic import epoch_rows, queue_row, retrain_row, search_row, write_study

pytestmark = pytest.mark.slow
NEEDED = ("mlflow", "sqlalchemy", "alembic", "flask")
DEADLINE = 120


@pytest.fixture(scope="module", autouse=True)
def packages():
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("PCDARTS_CI"):
        pytest.fail(f"continuous integration must test MLflow: {', '.join(missing)} missing")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install -e '.[dev]'")


@contextmanager
def server(folder, port):
    """A server of a store in the folder; it takes a while to start."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(DEADLINE)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    with server(tmp_path_factory.mktemp("mlflow"), free_port()) as address:
        yield address


def all_runs(uri, experiment):
    client = MlflowTracker(uri).client
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=1000)


def test_a_study_is_a_parent_run_with_a_run_for_each_search_and_training(uri, tmp_path):
    store = write_study(str(tmp_path / "demo"))
    for changes in (Changes(10, 80, 10), Changes()):
        mirror = Mirror(store, MlflowTracker(uri, "whole"))
        assert mirror.update() == changes
        mirror.close()
    found = all_runs(uri, "whole")
    (parent,) = [run for run in found if run.info.run_name == "demo"]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(found) == 11 and len(children) == 10 and parent.info.status == "FINISHED"
    assert sorted(run.info.status for run in children) == ["FAILED"] + ["FINISHED"] * 9
    search = store.rows(SEARCHES)[0]
    (run,) = [run for run in children if run.info.run_name == search["search_id"]]
    assert run.data.params["k"] == str(search["k"]) and run.data.tags["setting"] == search["setting"]
    assert run.data.metrics["result/valid_accuracy"] == search["valid_accuracy"]
    history = MlflowTracker(uri).client.get_metric_history(run.info.run_id, "valid_accuracy")
    rows = sorted(store.read_part(EPOCHS, search["search_id"]), key=lambda row: row["epoch"])
    assert [(point.step, point.value) for point in history] == [(row["epoch"], row["valid_accuracy"]) for row in rows]
    assert [point.timestamp - run.info.start_time for point in history] == [12_000 * (i + 1) for i in range(10)]


def test_what_arrived_before_an_answer_was_lost_is_not_repeated(uri, tmp_path):
    store = ResultStore(str(tmp_path))
    search = search_row(4, 0, 90.0)
    store.append(EPOCHS, epoch_rows(search), search["search_id"])
    tracker = MlflowTracker(uri, "lost")
    call, lost = tracker.call, []

    def losing(function, *args, **kwargs):
        answer = call(function, *args, **kwargs)
        if "metrics" in kwargs and not lost:
            lost.append(True)
            tracker.client.set_tag(args[0], "pcdarts.epochs", "0")  # as if the tag had not arrived
            raise TrackerError("lost")
        return answer

    tracker.call = losing
    with pytest.raises(TrackerError, match="lost"):
        Mirror(store, tracker).update()
    assert Mirror(store, MlflowTracker(uri, "lost")).update() == Changes(1, 10, 0)
    (run,) = [run for run in all_runs(uri, "lost") if run.data.metrics]
    assert run.info.status == "RUNNING"
    assert [p.step for p in MlflowTracker(uri).client.get_metric_history(run.info.run_id, "train_loss")] == [*range(10)]


def test_a_failed_training_is_continued_by_its_next_attempt(uri, tmp_path):
    store = ResultStore(str(tmp_path))
    job = queue_row(search_row(4, 0, 90.0), 1)
    store.append(RETRAINS, [retrain_row(job, None)], "one")
    Mirror(store, MlflowTracker(uri, "attempts")).update()
    store.append(RETRAINS, [retrain_row(job, 96.0, attempt=2)], "two")
    Mirror(store, MlflowTracker(uri, "attempts")).update()
    (run,) = [run for run in all_runs(uri, "attempts") if run.data.metrics]
    assert run.info.status == "FINISHED" and run.data.tags["pcdarts.outcome"] == "completed-2"


def test_a_dead_server_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store, port, said = write_study(str(tmp_path / "demo")), free_port(), []
    uri = f"http://127.0.0.1:{port}"
    with pytest.raises(TrackerError, match="does not answer; check the URI and the server"):
        Mirror(store, MlflowTracker(uri)).update()
    running = []

    def sleep(_):
        if running:
            raise KeyboardInterrupt
        running.append(server(tmp_path, port))
        running[0].__enter__()

    try:
        with pytest.raises(KeyboardInterrupt):
            follow(lambda: Mirror(store, MlflowTracker(uri)), said.append, interval=1.0, sleep=sleep)
    finally:
        for each in running:
            each.__exit__(None, None, None)
    assert "trying again" in said[0] and said[1:] == [
        "the tracker answers again",
        "mirrored 10 runs, 80 epochs, 10 outcomes",
    ]


def test_every_status_of_a_search_has_one_in_mlflow():
    assert FINAL.keys() == set(get_args(get_type_hints(SearchIdentity)["status"]))
