"""Planning: proxies first, and the final jobs of the best cells once all proxies have ended."""

from dataclasses import replace

import pytest

from orchestrator.config import ProxyConfig, SelectionConfig
from orchestrator.presets import smoke
from orchestrator.queue.events import DROPPED_BY_HAND, SUPERSEDED, JobState
from orchestrator.queue.planning import planned_jobs
from pcdarts.config import RetrainConfig
from tests.orchestrator.queue.test_selection import CELLS, row

PROXY = ProxyConfig(top=2, seeds=2, recipe=RetrainConfig(epochs=1, seed=5))
STUDY = replace(smoke(), selection=SelectionConfig(top=1), proxy=PROXY)
SEARCHES = [row("a", 90.0, "x"), row("b", 80.0, "y"), row("c", 70.0, "z")]
DONE = JobState(state="done")


def plan(study=STUDY, states=None, accuracies=None):
    """Stage, cell and recipe of the planned jobs; states and accuracies by cell and seed, by default done and 50 %."""
    names = {}
    for job in planned_jobs(study, SEARCHES, lambda job_id: JobState(), lambda job_id: None):
        names[job.job_id] = (job.cell.genotype, job.recipe["seed"])
    states = {(CELLS[cell], seed): state for (cell, seed), state in (states or {}).items()}
    accuracies = {(CELLS[cell], seed): accuracy for (cell, seed), accuracy in (accuracies or {}).items()}
    jobs = planned_jobs(
        study,
        SEARCHES,
        lambda job_id: states.get(names[job_id], DONE),
        lambda job_id: accuracies.get(names[job_id], 50.0),
    )
    found = {genotype: name for name, genotype in CELLS.items()}
    return [(job.stage, found[job.cell.genotype], job.recipe["seed"]) for job in jobs]


PROXIES = [("proxy", "x", 5), ("proxy", "x", 6), ("proxy", "y", 5), ("proxy", "y", 6)]


def test_without_a_proxy_stage_the_searches_choose():
    study = replace(STUDY, proxy=replace(PROXY, top=0), selection=SelectionConfig(top=2))
    assert plan(study) == [("final", "x", 0), ("final", "y", 0)]


@pytest.mark.parametrize(
    "state", [JobState(), JobState(state="running"), JobState(state="dropped", error=SUPERSEDED)], ids=str
)
def test_one_proxy_that_has_not_ended_holds_up_the_final_jobs(state):
    assert plan(states={("y", 6): state}) == PROXIES


@pytest.mark.parametrize("state", [JobState(state="failed"), JobState(state="dropped", error=DROPPED_BY_HAND)], ids=str)
def test_once_all_have_ended_the_best_by_their_accuracy_follow(state):
    assert plan(accuracies={("y", 5): 60.0}) == [*PROXIES, ("final", "y", 0)]
    assert plan(states={("y", 5): state}, accuracies={("y", 5): 99.0, ("x", 5): 51.0}) == [*PROXIES, ("final", "x", 0)]


def test_as_many_cells_have_proxies_as_are_trained_in_full():
    wide = replace(STUDY, selection=SelectionConfig(top=3))
    assert [job for job in plan(wide) if job[0] == "final"] == [("final", "x", 0), ("final", "y", 0), ("final", "z", 0)]
    assert plan(replace(STUDY, selection=SelectionConfig(top=0))) == []


def test_a_proxy_says_its_seed():
    jobs = planned_jobs(STUDY, SEARCHES, lambda job_id: JobState(), lambda job_id: None)
    assert jobs[1].cell.reason.startswith("proxy with seed 6: validation accuracy 90.00 %")
