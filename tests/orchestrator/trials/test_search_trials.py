"""Searches under Ray Tune: what each of them reserves."""

import dataclasses

import ray

from analysis.store import ResultStore
from analysis.tables import SEARCHES
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.storage.lease import Lease
from orchestrator.trials import search_trials
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
    search_trials.run_searches(study, store, lease, study.searches(), options=options, say=print)
    assert [(tmp_path / f"{threads}.txt").read_text() for threads in (1, 2)] == ["1", "2"]
    assert sorted(store.read(SEARCHES)["threads"]) == [1, 2]
