"""Promotion: the best go on, every setting keeps its best cell, and the reason says why."""

from orchestrator.config import SelectionConfig
from orchestrator.queue.promotion import chosen_accuracy, promote
from orchestrator.queue.selection import select, settings_of_cells
from tests.orchestrator.queue.test_selection import CELLS, NAMES, row

SEARCHES = [
    row("a", 90.0, "x", setting="k=2"),
    row("b", 80.0, "y", setting="k=2", seed=1),
    row("c", 70.0, "z", setting="k=4", macs=2),
    row("d", 60.0, "w", setting="k=4", macs=3, seed=1),
]


def result(accuracy, images=None, **values):
    return {"valid_accuracy": accuracy, "validation_images": images, "chosen_weights": "raw"} | values


def promoted(accuracies, keep, settings=None, images=None):
    """Names and reasons of the promoted cells; accuracies by the cell's name."""
    results = {CELLS[name].digest: [result(each, images) for each in values] for name, values in accuracies.items()}
    cells = promote(select(SEARCHES, SelectionConfig(top=9)), results, stage="rung 1", keep=keep, settings=settings)
    return {NAMES[cell.genotype.digest]: cell.reason for cell in cells}


ACCURACIES = {"x": [93.0], "y": [92.0], "z": [91.0], "w": [90.0]}


def test_the_best_go_on_in_the_order_of_their_rank():
    assert list(promoted(ACCURACIES, 2)) == ["x", "y"]
    assert list(promoted({**ACCURACIES, "w": [99.0]}, 3)) == ["w", "x", "y"]


def test_every_setting_keeps_its_best_cell_instead_of_the_last_of_the_others():
    settings = settings_of_cells(SEARCHES)
    found = promoted(ACCURACIES, 2, settings)
    assert list(found) == ["x", "z"]
    assert found["z"].startswith("rung 1: place 3 of 4, ") and found["z"].endswith("; kept as the best cell of k=4")
    assert "kept" not in found["x"]
    assert list(promoted(ACCURACIES, 1, settings)) == ["x", "z"]  # more settings than places
    assert list(promoted(ACCURACIES, 3, settings)) == ["x", "y", "z"]


def test_a_cell_of_two_settings_is_kept_for_both():
    settings = settings_of_cells([*SEARCHES, row("e", 50.0, "x", setting="k=4")])
    assert settings[CELLS["x"].digest] == ["k=2", "k=4"]
    assert list(promoted(ACCURACIES, 2, settings)) == ["x", "y"]


def test_a_cell_without_a_result_is_out_and_its_setting_keeps_another():
    settings = settings_of_cells(SEARCHES)
    assert list(promoted({**ACCURACIES, "z": []}, 2, settings)) == ["x", "w"]
    assert promoted({}, 2, settings) == {}


def test_the_reason_has_the_place_and_the_value():
    assert promoted({"x": [90.0, 92.0], "y": [80.0]}, 1)["x"] == (  # deviation sqrt(2), by sqrt(2) for two trainings
        "rung 1: place 1 of 2, 90.00 % (mean validation 91.00 % of 2 trainings - standard error 1.00)"
    )
    assert promoted({"x": [90.0]}, 1, images=900)["x"] == (
        "rung 1: place 1 of 1, 89.00 % (validation 90.00 % - standard error 1.00)"
    )


def test_equal_cells_go_by_multiply_adds():
    assert list(promoted({"w": [90.0], "z": [90.0]}, 1)) == ["z"]


def test_the_moving_average_counts_where_it_was_chosen():
    assert chosen_accuracy(result(90.0, chosen_weights="ema", ema_valid_accuracy=91.0)) == 91.0
    assert chosen_accuracy(result(90.0, ema_valid_accuracy=91.0)) == 90.0
