"""Costs of the race, in closed form."""

from dataclasses import replace

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig
from orchestrator.presets import smoke
from orchestrator.queue.costs import most_cells, race_plan, race_savings, stage_costs
from pcdarts.presets import retrain_cifar10

STUDY = replace(
    smoke(),
    sweep={"seed": tuple(range(6)), "k": (1, 2)},
    selection=SelectionConfig(top=5),
    race=RaceConfig(rungs=(Rung(epochs=25, keep=4), Rung(epochs=100, seeds=2, keep=2))),
    retrain=retrain_cifar10(),
    final=FinalConfig(seeds=3, published=1),
)


def test_every_stage_has_its_trainings():
    assert most_cells(STUDY) == {"k=1": 5, "k=2": 5}
    costs = stage_costs(STUDY, 10, 2)
    assert [(cost.name, cost.cells, cost.trainings, cost.total_epochs) for cost in costs] == [
        ("rung 1", 10, 10, 250),
        ("rung 2", 4, 8, 800),
        ("final", 2, 6, 3600),
        ("published", 1, 3, 1800),
    ]


def test_settings_keep_their_cells_until_the_last_rung():
    assert [cost.cells for cost in stage_costs(STUDY, 10, 7)] == [10, 7, 2, 1]
    assert [cost.cells for cost in stage_costs(STUDY, 1, 7)] == [1, 1, 1, 1]


def test_the_plan_names_the_share_of_training_all_in_full():
    assert race_plan(STUDY, 10) == [
        "Race of 10 cells, at most:",
        "  rung 1: 10 cells x 1 seed x 25 epochs on cifar10",
        "  rung 2: 4 cells x 2 seeds x 100 epochs on cifar10",
        "  final: 2 cells x 3 seeds x 600 epochs on cifar10",
        "  24 trainings, 4,650 epochs: 26% of the 18,000 epochs of training all of them in full",
    ]


def test_epochs_of_different_recipes_are_not_compared():
    study = replace(STUDY, retrain=replace(STUDY.retrain, channels=8))
    assert race_plan(study, 10)[-1].endswith(
        "4,650 epochs: all of them in full take 18,000 epochs, of a recipe that differs from the race's"
    )
    row = {"epochs_trained": 25, "seconds": 60.0}
    assert len(race_savings(study, 10, [row | {"stage": "rung"}, row | {"stage": "final"}])) == 1


def test_the_savings_are_measured():
    rows = [{"stage": "rung", "epochs_trained": 25, "seconds": 60.0}] * 4
    rows += [{"stage": "final", "epochs_trained": 600, "seconds": 1800.0}] * 3
    assert race_savings(STUDY, 4, rows) == [
        "Race and full trainings took 1,900 epochs; all selected cells in full take 7,200.",
        "Measured: 1:34:00 of training, of which the race took 0:04:00; all selected cells in full take about 6:00:00.",
    ]
    assert race_savings(STUDY, 4, rows[:4]) == race_savings(STUDY, 4, rows[4:]) == []
