"""Planning: rung after rung, then the full training, then the published recipe; other recipes train the same cells."""

from dataclasses import replace

import pytest

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig
from orchestrator.presets import smoke
from orchestrator.queue.events import DROPPED_BY_HAND, SUPERSEDED, JobState
from orchestrator.queue.planning import planned_jobs
from pcdarts.complexity import network_complexity
from pcdarts.config import RetrainConfig
from pcdarts.genotype import PUBLISHED
from tests.orchestrator.queue.test_promotion import result
from tests.orchestrator.queue.test_selection import CELLS, NAMES, row

RACE = RaceConfig(rungs=(Rung(epochs=1, keep=2), Rung(epochs=2, seeds=2, keep=1)), recipe=RetrainConfig(seed=5))
STUDY = replace(smoke(), selection=SelectionConfig(top=3), race=RACE)
SEARCHES = [row("a", 90.0, "x"), row("b", 80.0, "y"), row("c", 70.0, "z")]
DONE = JobState(state="done")
ACCURACIES = {"x": 50.0, "y": 70.0, "z": 60.0}


def planned(study=STUDY, states=None, accuracies=ACCURACIES, searches=SEARCHES):
    """The planned jobs; `states` by stage, cell and seed, by default done; accuracies by cell."""
    names: dict[str, tuple] = {}

    def state(job_id):
        return (states or {}).get(names.get(job_id), DONE)

    def accuracy(job_id):
        return result(accuracies.get(NAMES.get(job_id.split("-")[0]), 0.0))

    while True:  # the name of a job is known only once it is planned
        jobs = planned_jobs(study, searches, state, accuracy)
        found = {job.job_id: (stage_of(job), NAMES.get(job.cell.genotype.digest), job.recipe["seed"]) for job in jobs}
        if found == names:
            return jobs
        names = found


def stage_of(job):
    return f"rung {job.rung}" if job.rung else job.stage


def shown(*args, **options):
    return [(stage_of(job), NAMES[job.cell.genotype.digest], job.recipe["seed"]) for job in planned(*args, **options)]


RUNG_1 = [("rung 1", name, 5) for name in "xyz"]
RUNG_2 = [("rung 2", name, seed) for name in "yz" for seed in (5, 6)]


def test_without_a_race_all_selected_cells_are_trained_in_full():
    study = replace(STUDY, race=RaceConfig(), selection=SelectionConfig(top=2))
    assert shown(study) == [("final", "x", 0), ("final", "y", 0)]
    assert shown(replace(STUDY, selection=SelectionConfig(top=0))) == []


def test_published_cells_join_at_the_full_training():
    names = ("PC_DARTS_cifar", "DARTS_V2")
    study = replace(STUDY, final=FinalConfig(cells=names, recipes=("digits",)))
    jobs = planned(study)
    by_stage = {stage: [job.cell for job in jobs if job.stage == stage] for stage in ("rung", "final", "recipe")}
    assert not {PUBLISHED[name] for name in names} & {cell.genotype for cell in by_stage["rung"]}
    assert [cell.genotype for cell in by_stage["final"][1:]] == [PUBLISHED[name] for name in names]
    assert [cell.genotype for cell in by_stage["recipe"]] == [cell.genotype for cell in by_stage["final"]]
    published = by_stage["final"][1]
    assert published.origins == () and published.reason == "published as PC_DARTS_cifar"
    assert published.network_macs == network_complexity(PUBLISHED["PC_DARTS_cifar"], study.retrain).macs
    alone = replace(study, selection=SelectionConfig(top=0), race=RaceConfig(), final=FinalConfig(cells=names))
    assert [job.cell.genotype for job in planned(alone)] == [PUBLISHED[name] for name in names]


def test_the_race_ends_with_the_full_training_of_the_best():
    assert shown() == [*RUNG_1, *RUNG_2, ("final", "y", 0)]
    assert [job.recipe["epochs"] for job in planned()] == [1] * 3 + [2] * 4 + [STUDY.retrain.epochs]


@pytest.mark.parametrize(
    "state", [JobState(), JobState(state="running"), JobState(state="dropped", error=SUPERSEDED)], ids=str
)
def test_one_job_that_has_not_ended_holds_up_the_next_rung(state):
    assert shown(states={("rung 1", "x", 5): state}) == RUNG_1
    assert shown(states={("rung 2", "z", 6): state}) == [*RUNG_1, *RUNG_2]


@pytest.mark.parametrize("state", [JobState(state="failed"), JobState(state="dropped", error=DROPPED_BY_HAND)], ids=str)
def test_a_cell_whose_trainings_all_failed_is_out(state):
    assert shown(states={("rung 2", "y", 5): state})[-1] == ("final", "y", 0)
    both = {("rung 2", "y", seed): state for seed in (5, 6)}
    assert shown(states=both)[-1] == ("final", "z", 0)
    assert shown(states={("rung 1", name, 5): state for name in "xyz"}) == RUNG_1


def test_settings_keep_a_cell_until_the_last_rung():
    searches = [row("a", 90.0, "x", setting="k=2")]
    searches += [row("b", 80.0, "y", setting="k=4"), row("c", 70.0, "z", setting="k=4")]
    assert shown(searches=searches) == [
        *(("rung 1", name, 5) for name in "xyz"),
        *(("rung 2", name, seed) for name in "yx" for seed in (5, 6)),
        ("final", "y", 0),
    ]


def test_after_the_full_training_come_the_published_recipe_and_others():
    study = replace(STUDY, race=RaceConfig(), final=FinalConfig(seeds=2, published=1, recipes=("digits",)))
    final = [("final", name, seed) for name in "xyz" for seed in (0, 1)]
    others = [("recipe", name, seed) for name in "xyz" for seed in (0, 1)]
    assert shown(study) == [*final, ("published", "y", 0), ("published", "y", 1), *others]
    assert shown(study, states={("final", "x", 1): JobState()}) == [*final, *others]
    jobs = planned(study)
    assert {job.recipe["validation_portion"] for job in jobs if job.stage == "published"} == {0.0}
    assert {job.recipe["dataset"] for job in jobs if job.stage == "recipe"} == {"digits"}
    assert len({job.job_id for job in jobs}) == len(jobs) == 14


def test_the_reason_names_the_last_decision():
    reasons = [job.cell.reason for job in planned()]
    assert reasons[0].startswith("place 1 of 3, found by 1 of 3 searches")
    assert reasons[3] == "seed 5; rung 1: place 1 of 3, 70.00 % (validation 70.00 % - standard error 0.00)"
    assert reasons[-1] == (
        "rung 2: place 1 of 2, 70.00 % (mean validation 70.00 % of 2 trainings - standard error 0.00)"
    )
    study = replace(STUDY, race=RaceConfig(), final=FinalConfig(published=1, recipes=("digits",)))
    *_, published, _, _, last = (job.cell.reason for job in planned(study))
    assert published.startswith("final: place 1 of 3, 70.00 %") and last.startswith("recipe digits; place 3 of 3")


def test_decisions_follow_from_the_rows_after_more_seeds_too():
    """A fourth cell that the searches prefer runs the first rung, and only then the decisions change."""
    more = [*SEARCHES, row("d", 99.0, "w")]
    study = replace(STUDY, selection=SelectionConfig(top=4))
    accuracies = ACCURACIES | {"w": 65.0}
    first = [("rung 1", name, 5) for name in "wxyz"]
    assert shown(study, searches=more, states={("rung 1", "w", 5): JobState()}) == first
    assert shown(study, searches=more, accuracies=accuracies) == [
        *first,
        *(("rung 2", name, seed) for name in "yw" for seed in (5, 6)),
        ("final", "y", 0),
    ]
    assert set(CELLS) >= set(accuracies)
