"""The mirror loop, with a tracker in memory."""

import math

import pytest

from analysis.store import ResultStore
from analysis.tables import EPOCHS, RETRAIN_EPOCHS, RETRAINS, SEARCHES
from analysis.tracking.mirror import Changes, Mirror, follow, summary
from analysis.tracking.tracker import TrackerError
from pcdarts.config import SearchConfig
from pcdarts.results import RetrainEpoch
from tests.analysis.synthetic import epoch_rows, queue_row, retrain_row, search_row, write_study


class Run:
    def __init__(self, identity):
        self.identity, self.epochs, self.outcome = identity, 0, ""
        self.values, self.steps, self.ends = {}, {}, []

    def params(self, values):
        self.values = dict(values)

    def metrics(self, epochs):
        assert [each.epoch for each in epochs] == list(range(self.epochs, self.epochs + len(epochs)))
        self.steps |= {each.epoch: each for each in epochs}
        self.epochs += len(epochs)

    def finish(self, outcome):
        self.ends.append(outcome)
        self.outcome = outcome.name


class Memory:
    """A tracker that remembers, and can be out of order."""

    def __init__(self):
        self.runs, self.broken, self.closed = {}, False, False

    def run(self, identity):
        if self.broken:
            raise TrackerError("memory is out of order; mend it")
        return self.runs.setdefault(identity.key, Run(identity))

    def close(self):
        self.closed = True


def test_a_study_is_mirrored_once(tmp_path):
    store, tracker = write_study(str(tmp_path / "demo")), Memory()
    assert Mirror(store, tracker).update() == Changes(10, 80, 10)
    assert Mirror(store, tracker).update() == Changes(0, 0, 0)
    searches = [run for run in tracker.runs.values() if run.identity.kind == "search"]
    assert len(searches) == 9 and {run.identity.study for run in searches} == {"demo"}
    failed = [run for run in searches if run.ends[0].status == "failed"]
    assert [run.ends[0].notes["error"] for run in failed] == ["RuntimeError: out of memory"]
    assert not failed[0].ends[0].metrics and failed[0].values["k"] == 8
    (training,) = [run for run in tracker.runs.values() if run.identity.kind == "retraining"]
    assert training.ends[0].metrics["result/test_accuracy"] == 97.4 and training.values["epochs"] == 600


def test_missing_and_infinite_values_are_left_out(tmp_path):
    store, tracker = ResultStore(str(tmp_path)), Memory()
    search = search_row(4, 0, 90.0)
    first, second = epoch_rows(search, 2)
    store.append(EPOCHS, [first | {"valid_loss": math.nan, "train_loss": math.inf}, second], search["search_id"])
    Mirror(store, tracker).update()
    (run,) = tracker.runs.values()
    assert not {"valid_loss", "train_loss"} & run.steps[0].metrics.keys() and run.steps[0].seconds == 12
    assert "dominant_eigenvalue" in run.steps[0].metrics and "dominant_eigenvalue" not in run.steps[1].metrics
    assert run.steps[1].metrics["alpha_trained"] == 0.0 and run.steps[1].seconds == 24
    assert "epoch" not in run.steps[1].metrics and all(map(math.isfinite, run.steps[0].metrics.values()))


def test_a_search_that_goes_on_is_continued(tmp_path):
    store, tracker = ResultStore(str(tmp_path)), Memory()
    config = SearchConfig(k=4, seed=0, dataset="synthetic", epochs=10, warmup_epochs=3)
    search = search_row(4, 0, 90.0)
    assert search["search_id"] == config.search_id
    rows = epoch_rows(search)
    mirror = Mirror(store, tracker, {config.search_id: config})
    store.append(EPOCHS, rows[:3], config.search_id)
    assert mirror.update() == Changes(1, 3, 0)
    (run,) = tracker.runs.values()
    assert run.values["k"] == 4 and "search_id" not in run.values  # known before the search has ended
    store.append(EPOCHS, rows[:7], config.search_id)
    assert mirror.update() == Changes(1, 4, 0) and mirror.update() == Changes()
    store.append(EPOCHS, rows, config.search_id)
    store.append(SEARCHES, [search], config.search_id)
    assert Mirror(store, tracker, {config.search_id: config}).update() == Changes(1, 3, 1)
    assert [each.metrics["result/valid_accuracy"] for each in run.ends] == [90.0]
    assert run.ends[0].seconds == 3600 and run.ends[0].notes["setting"] == "k=4"


def test_a_second_attempt_replaces_the_outcome_of_the_first(tmp_path):
    store, tracker = ResultStore(str(tmp_path)), Memory()
    job = queue_row(search_row(4, 0, 90.0), 1)
    store.append(RETRAINS, [retrain_row(job, None)], "one")
    mirror = Mirror(store, tracker)
    mirror.update()
    store.append(RETRAINS, [retrain_row(job, 96.0, attempt=2)], "two")
    assert mirror.update() == Changes(1, 0, 1) == Mirror(store, Memory()).update()
    (run,) = tracker.runs.values()
    assert [end.name for end in run.ends] == ["failed-1", "completed-2"]


def test_a_retraining_that_runs_has_its_epochs(tmp_path):
    store, tracker = ResultStore(str(tmp_path)), Memory()
    job = queue_row(search_row(4, 0, 90.0), 1)
    epochs = [
        RetrainEpoch(
            epoch=epoch,
            learning_rate=0.1,
            train_loss=2.0 - epoch,
            train_accuracy=50.0,
            valid_loss=None,
            valid_accuracy=None,
            seconds=3.0,
        )
        for epoch in range(2)
    ]
    rows = [RETRAIN_EPOCHS.row(epoch, job_id=job["job_id"], study=job["study"]) for epoch in epochs]
    store.append(RETRAIN_EPOCHS, rows[:1], "one")
    mirror = Mirror(store, tracker)
    assert mirror.update() == Changes(1, 1, 0)
    store.append(RETRAIN_EPOCHS, rows, "one")
    store.append(RETRAINS, [retrain_row(job, 96.0)], "one")
    assert mirror.update() == Changes(1, 1, 1) and Mirror(store, tracker).update() == Changes()
    (run,) = tracker.runs.values()
    assert run.identity.kind == "retraining" and [run.steps[i].metrics["train_loss"] for i in (0, 1)] == [2.0, 1.0]
    assert "valid_loss" not in run.steps[0].metrics and run.steps[1].seconds == 6.0


def test_following_waits_for_a_tracker_that_is_down_and_says_so_once(tmp_path):
    store, tracker, said, delays = write_study(str(tmp_path / "demo")), Memory(), [], []
    tracker.broken = True

    def sleep(seconds):
        delays.append(seconds)
        tracker.broken = len(delays) < 8
        if len(delays) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(lambda: Mirror(store, tracker), said.append, interval=2.0, sleep=sleep)
    assert said == [
        "memory is out of order; mend it; the study is not affected, trying again",
        "the tracker answers again",
        "mirrored 10 runs, 80 epochs, 10 outcomes",
    ]
    assert delays == [4, 8, 16, 32, 60, 60, 60, 60, 2, 2] and tracker.closed


def test_following_ends_with_the_study_and_has_all_of_it(tmp_path):
    store, tracker, said = ResultStore(str(tmp_path / "demo")), Memory(), []
    looks = []

    def finished():
        looks.append(1)
        if len(looks) == 2:
            write_study(str(tmp_path / "demo"))
        return len(looks) == 2

    follow(lambda: Mirror(store, tracker), said.append, finished=finished, sleep=lambda seconds: None)
    assert said == ["mirrored 10 runs, 80 epochs, 10 outcomes", "the study has finished"] and tracker.closed


def test_a_study_has_the_name_in_its_rows(tmp_path):
    store, tracker = ResultStore(str(tmp_path / "folder")), Memory()
    assert Mirror(store, tracker).update() == Changes()
    search = search_row(4, 0, 90.0, study="mine")
    store.append(SEARCHES, [search], search["search_id"])
    Mirror(store, tracker).update()
    assert [run.identity.study for run in tracker.runs.values()] == ["mine"]


def test_changes_are_one_line():
    assert summary(Changes(1, 2, 0)) == "mirrored 1 run, 2 epochs, 0 outcomes"
