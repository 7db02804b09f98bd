"""How many searches share a GPU or a node, with invented sizes of both, and what is refused."""

import dataclasses
import threading

import pytest
import ray

from cluster.resources import TrialResources, require_fit, slots
from cluster.tasks import on_gpus
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.trials import placement
from orchestrator.trials.placement import (
    gpu_share,
    pack,
    pack_searches,
    predicted_bytes,
    predicting,
    prepare_trials,
    searches_per_gpu,
    sharing_note,
    with_own_threads,
)
from pcdarts.diagnostics.memory import predict_memory

GB = 10**9
ON_GPU, ON_CPU = TrialResources(cpus=1, gpus=1.0), TrialResources(cpus=1)


@pytest.mark.parametrize(
    ("wanted", "memory", "searches"),
    [(8 * GB, 24 * GB, 2), (8 * GB, 80 * GB, 8), (20 * GB, 24 * GB, 1), (24 * GB, 24 * GB, 1), (GB, 80 * GB, 64)],
)
def test_predictions_fill_a_gpu_up_to_the_margin_and_one_search_fits_without(wanted, memory, searches):
    assert searches_per_gpu(wanted, memory) == searches


def test_a_search_that_no_gpu_holds_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"need 30\.0 GB, but the smallest GPU has 24\.0 GB; lower search.batch_size"):
        searches_per_gpu(30 * GB, 24 * GB)


def test_as_many_shares_as_were_chosen_fit_on_a_gpu_as_ray_counts_them():
    for searches in range(1, 100):
        share = gpu_share(searches)
        assert round(share * 10_000) * searches <= 10_000 < round(share * 10_000) * (searches + 1)


def test_searches_share_the_smallest_gpu(monkeypatch):
    monkeypatch.setattr(placement, "on_gpus", lambda function: [80 * GB, 24 * GB, 0])
    monkeypatch.setattr(placement, "fitting", lambda trials: 2)
    assert pack(ON_GPU, 8 * GB, [1] * 9, RunOptions()) == TrialResources(cpus=1, gpus=0.5)
    assert pack(ON_GPU, 0, [1] * 9, RunOptions()) == ON_GPU  # nothing was predicted


@pytest.mark.parametrize(
    ("searches", "max_concurrent", "share"),
    [(10, 0, 0.5), (8, 0, 1), (1, 0, 1), (17, 0, 0.3333), (200, 0, 0.125), (200, 8, 1)],
)
def test_searches_spread_over_all_gpus_before_they_share_one(monkeypatch, searches, max_concurrent, share):
    monkeypatch.setattr(placement, "on_gpus", lambda function: [80 * GB] * 8)
    monkeypatch.setattr(placement, "fitting", lambda trials: min(8, sum(trial.gpus == 1 for trial in trials)))
    assert pack(ON_GPU, 8 * GB, [1] * searches, RunOptions(max_concurrent=max_concurrent)).gpus == share


def test_a_given_share_replaces_the_prediction(monkeypatch):
    monkeypatch.setattr(placement, "on_gpus", lambda function: [24 * GB])
    quarter = TrialResources(cpus=1, gpus=0.25)
    assert pack(quarter, 30 * GB, [1] * 9, RunOptions(gpus_per_trial=0.25)) == quarter


def test_gpus_that_pytorch_does_not_know_are_not_shared(monkeypatch):
    monkeypatch.setattr(placement, "on_gpus", lambda function: [0, 0])
    assert pack(ON_GPU, 8 * GB, [1] * 9, RunOptions()) == ON_GPU


def test_memory_of_a_node_is_reserved_as_predicted_or_as_given(ray_session):
    predicted = 10**6
    assert pack(ON_CPU, predicted, [1] * 9, RunOptions()).memory == predicted
    assert pack(ON_CPU, predicted, [1] * 9, RunOptions(memory_per_trial=0)).memory == 0
    assert pack(ON_CPU, predicted, [1] * 9, RunOptions(memory_per_trial=0.002)).memory == 2 * 10**6
    assert pack(ON_CPU, predicted, [1] * 9, RunOptions(autoscaling=True)).memory == 0


def test_what_no_node_has_memory_for_is_refused_with_both_numbers(ray_session):
    with pytest.raises(ValueError, match=r"to reserve 1000000\.0 GB of memory, but no node has more than \d"):
        require_fit(TrialResources(cpus=1, memory=10**15))
    with pytest.raises(ValueError, match="a trial wants 1000000 CPUs"):
        require_fit(TrialResources(cpus=10**6, memory=1))
    require_fit(TrialResources(cpus=1, memory=10**15), autoscaling=True)


def test_memory_limits_how_many_fit_at_once(ray_session):
    memory = int(sum(node["Resources"]["memory"] for node in ray.nodes() if node["Alive"]))
    assert slots(TrialResources(cpus=1, memory=1)) == slots(TrialResources(cpus=1))
    assert slots(TrialResources(cpus=1, memory=memory)) == 1


def test_a_search_reserves_its_own_threads(monkeypatch):
    monkeypatch.setattr(placement, "connect", lambda address: None)
    monkeypatch.setattr(placement, "require_fit", lambda wanted, autoscaling: None)
    searches = dataclasses.replace(smoke(), sweep={"seed": (0, 1), "threads": (1, 4)}).searches()
    options = RunOptions(gpus_per_trial=0.5)
    largest, _ = pack_searches(searches, prepare_trials(searches, options), options)
    assert [with_own_threads(largest, search).bundle() for search in searches] == [
        {"CPU": threads, "GPU": 0.5, "memory": 0} for threads in (1, 4, 1, 4)
    ]


def test_without_gpus_nothing_is_asked(ray_session):
    assert on_gpus(lambda: 1) == []


def test_every_search_that_trains_has_a_prediction_whatever_its_seed():
    search = smoke().searches()[0]
    random = dataclasses.replace(search, method="random")
    found = predicted_bytes([search, dataclasses.replace(search, seed=5), random], gpu=True)
    assert set(found.values()) == {predict_memory(search, gpu=True).total} and len(found) == 2


def test_memory_is_predicted_while_ray_starts(monkeypatch):
    began, seen = threading.Event(), []

    def predict(configs, *, gpu):
        began.set()
        seen.append(configs)
        raise ValueError("raised again by pack_searches")

    monkeypatch.setattr(placement, "predicted_bytes", predict)
    with predicting(["config"]):
        assert began.wait(timeout=60)
    assert seen == [["config"]]


@pytest.mark.parametrize(
    ("gpus", "mps", "noted"),
    [
        (0.5, [False], True),
        (0.25, [True, False], True),
        (0.5, [True, True], False),
        (1, [False], False),
        (0, [], False),
    ],
)
def test_sharing_a_gpu_without_mps_is_noted(gpus, mps, noted, monkeypatch):
    monkeypatch.setattr(placement, "on_gpus", lambda function: mps)
    note = sharing_note(TrialResources(cpus=1, gpus=gpus))
    assert (note is not None and "without MPS" in note) == noted
