"""Weights & Biases: the calls, with a module of our own in its place.  The service itself was not tested."""

import sys
from types import SimpleNamespace

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, RETRAINS, SEARCHES
from analysis.tracking.mirror import Changes, Mirror
from analysis.tracking.tracker import TrackerError
from analysis.tracking.wandb_tracker import WandbTracker
from tests.analysis.synthetic import epoch_rows, queue_row, retrain_row, search_row


class Config(dict):
    def update(self, values, allow_val_change):
        super().update(values)


class Run:
    """A run of the service: it outlives what opened it."""

    def __init__(self, **values):
        self.given, self.config, self.summary, self.history, self.exit_codes = values, Config(), {}, [], []

    def define_metric(self, name, step_metric=None):
        pass

    def log(self, values):
        self.history.append(values)

    def finish(self, exit_code=0):
        self.exit_codes.append(exit_code)


@pytest.fixture
def service(monkeypatch):
    """The runs of the service by id."""
    runs = {}

    def init(id, **values):
        assert values["resume"] == "allow" and values["reinit"] == "create_new"
        return runs.setdefault(id, Run(**values))

    module = SimpleNamespace(init=init, Settings=lambda **_: None, Error=type("Error", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


def test_runs_are_resumed_and_nothing_is_repeated(service, tmp_path):
    store = ResultStore(str(tmp_path))
    search = search_row(4, 0, 90.0)
    rows = epoch_rows(search)
    store.append(EPOCHS, rows[:4], search["search_id"])
    assert Mirror(store, WandbTracker("mine")).update() == Changes(1, 4, 0)
    store.append(EPOCHS, rows, search["search_id"])
    store.append(SEARCHES, [search], search["search_id"])
    store.append(RETRAINS, [retrain_row(queue_row(search, 1), None)], "one")
    assert Mirror(store, WandbTracker("mine")).update() == Changes(2, 6, 2)
    assert Mirror(store, WandbTracker("mine")).update() == Changes()
    found, training = service.values()
    assert [values["epoch"] for values in found.history] == list(range(10))
    assert found.config["k"] == 4 and found.summary["result/valid_accuracy"] == 90.0
    assert found.given["group"] == "demo" and found.given["name"] == search["search_id"]
    assert set(found.exit_codes) == {0} and 1 in training.exit_codes and training.summary["error"] == "node lost"


def test_a_service_that_fails_is_a_tracker_error(service, tmp_path, monkeypatch):
    store = ResultStore(str(tmp_path))
    search = search_row(4, 0, 90.0)
    store.append(SEARCHES, [search], search["search_id"])

    def failing(**_):
        raise sys.modules["wandb"].Error("no\nlogin")

    monkeypatch.setattr(sys.modules["wandb"], "init", failing)
    with pytest.raises(TrackerError, match=r"Weights & Biases failed \(no login\); check the network"):
        Mirror(store, WandbTracker("mine")).update()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install 'pcdarts-orchestrator\[wandb\]'"):
        WandbTracker("mine")
