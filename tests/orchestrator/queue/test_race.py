"""The race in simulated studies: planned by the queue, with the noise of published measurements."""

import pytest

from tests.benchmarks.race import CELLS, RUNGS, found, outcomes, plan, plans


@pytest.mark.slow
def test_the_race_finds_the_best_cell_more_often_than_full_trainings_at_the_same_cost():
    """With correlations of 0.6 and 0.8 between short and full training; `tests.benchmarks.race` has other ones."""
    race, in_full = (outcomes(config, (0.6, 0.8), 100) for config in list(plans(RUNGS).values())[:2])
    assert race[0].epochs <= in_full[0].epochs
    assert found(race) > found(in_full)


def test_without_noise_a_race_of_faithful_rungs_always_finds_the_best():
    studies = outcomes(plan(rungs=RUNGS, seeds=1), (1.0, 1.0), 3, trainings=0.0, validation_images=0)
    assert [study.loss for study in studies] == [0.0] * 3
    assert {study.epochs for study in studies} == {CELLS * 25 + 10 * 2 * 100 + 3 * 600}
