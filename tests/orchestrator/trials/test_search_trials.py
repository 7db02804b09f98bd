"""Searches under Ray Tune: what each of them reserves, and how one is stopped."""

import dataclasses

import ray

from analysis.store import ResultStore
from analysis.tables import SEARCHES
from orchestrator.live_driver import LiveDriver
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.storage import background
from orchestrator.storage.lease import Lease
from orchestrator.storage.steering_log import StopFlags
from orchestrator.storage.study_folder import checkpoint
from orchestrator.trials import search_trials
from orchestrator.trials.take_up import Requests
from orchestrator.trials.tune_trials import TrialSpec
from pcdarts.search import search


def test_searches_with_one_and_two_threads_reserve_one_and_two_cpus(ray_session, tmp_path, monkeypatch):
    study = dataclasses.replace(smoke(), sweep={"seed": (0,), "threads": (1, 2)})
    store, lease = ResultStore(str(tmp_path)), Lease(f"{tmp_path}/lease")

    def trial(given, shared):
        reserved = ray.get_runtime_context().get_assigned_resources()
        (tmp_path / f"{given['spec'].config.threads}.txt").write_text(f"{reserved['CPU']:g}")
        search_trials.search = lambda config, **others: search(dataclasses.replace(config, method="random"))
        search_trials.search_trial(given, shared)  # in a worker the real one

    monkeypatch.setattr("orchestrator.trials.search_trials.search_trial", trial)
    options = RunOptions(address="local")
    requests = Requests(LiveDriver(str(tmp_path), [], lease), study, store, lambda study: None)
    search_trials.run_searches(requests, lease, study.searches(), options=options, say=print)
    assert [(tmp_path / f"{threads}.txt").read_text() for threads in (1, 2)] == ["1", "2"]
    assert sorted(store.read(SEARCHES)["threads"]) == [1, 2]


def test_a_stopped_search_ends_after_its_present_epoch_with_its_checkpoint_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "GRACE", 60.0)
    config = dataclasses.replace(smoke().searches()[0], epochs=4)
    flags, reports = StopFlags.of(str(tmp_path)), []

    def report(kind, content):
        reports.append(kind)
        flags.raise_flag(config.search_id)

    monkeypatch.setattr(search_trials, "report", report)
    search_trials.search_trial({"spec": TrialSpec(key=config.search_id, root=str(tmp_path), config=config)})
    assert reports == ["epoch", "result"]
    assert len(checkpoint(str(tmp_path), config.search_id).read()["history"]) == 1
