"""What `pcdarts check` looks at, and what it prints."""

import dataclasses

import pytest

from cluster.connect import TrialResources
from orchestrator import checks
from orchestrator.checks import check
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from pcdarts.memory import predict_memory

LOCAL = RunOptions(address="local")


def printed(study, tmp_path, options=LOCAL):
    said = []
    failed = check(study, str(tmp_path), None, options, say=said.append)
    return failed, "\n".join(said)


def test_a_study_that_can_run_passes_and_its_memory_is_told(tmp_path, ray_session):
    failed, said = printed(smoke(), tmp_path)
    totals = [predict_memory(config).total / 1e9 for config in smoke().searches()]
    assert failed == 0 and said.count("data") == 1
    assert min(totals) < max(totals) and "memory: about" in said
    assert f"{max(totals):.1f} GB a search on a CPU" in said
    assert f"for which {max(totals):.1f} GB of a node's memory are reserved" in said


@pytest.mark.parametrize(("most", "at_once"), [(0, 4), (3, 3), (9, 4)])
def test_no_more_searches_are_counted_at_once_than_are_allowed(most, at_once, monkeypatch, ray_session):
    monkeypatch.setattr(checks, "slots", lambda wanted: 8)
    monkeypatch.setattr(checks, "_seconds", lambda step, device: 1.0)
    searches = smoke().searches()
    told = checks._cost(smoke().search, searches, RunOptions(address="local", max_concurrent=most))
    assert len(searches) == 4 and f" in all with {at_once} at once " in told


def test_the_data_of_retraining_and_proxy_are_looked_for_too(tmp_path, ray_session):
    missing = str(tmp_path / "nowhere")
    study = smoke()
    study = dataclasses.replace(
        study,
        retrain=dataclasses.replace(study.retrain, dataset="cifar10", data_dir=missing),
        proxy=dataclasses.replace(
            study.proxy, top=1, recipe=dataclasses.replace(study.proxy.recipe, dataset="cifar100", data_dir=missing)
        ),
    )
    failed, said = printed(study, tmp_path)
    assert failed == 2
    assert "failed  data of the retraining: cifar10 not found" in said
    assert "failed  data of the proxy retraining: cifar100 not found" in said


def test_the_packing_of_gpus_is_told(monkeypatch, ray_session):
    searches = smoke().searches()
    need = max(predict_memory(config, gpu=True).total for config in searches)
    wanted = TrialResources(cpus=1, gpus=0.5)
    monkeypatch.setattr(checks, "pack_searches", lambda *_: (wanted, {"a": need}))
    monkeypatch.setattr(checks, "smallest_gpu", lambda: 3 * need)
    told = checks._cluster(smoke().search, searches, RunOptions())
    assert told.endswith(f"; about {need / 1e9:.1f} GB a search: 2 to a GPU of {3 * need / 1e9:.1f} GB")


def test_a_search_that_fits_nowhere_is_refused_with_the_numbers(tmp_path, monkeypatch, ray_session):
    study = smoke()
    monkeypatch.setattr("orchestrator.placement.predicted_bytes", lambda configs, gpu: {"a": 10**15})
    failed, said = printed(study, tmp_path)
    assert failed == 1 and "failed  cluster: a search is to reserve 1000000.0 GB of memory, but" in said


@pytest.mark.parametrize(("memory", "reserved"), [(0.0, ""), (0.5, "for which 0.5 GB of a node's memory are reserved")])
def test_a_given_memory_replaces_the_prediction(memory, reserved, tmp_path, ray_session):
    told = checks._cluster(smoke().search, smoke().searches(), RunOptions(address="local", memory_per_trial=memory))
    assert told.endswith(reserved) and ("reserved" in told) == bool(reserved)
