"""Retrained cells: the accuracies that count, and their recipes."""

from analysis.statistics.retrained_cells import chosen, settings_of_cells
from analysis.tables import RETRAINS, SEARCHES
from tests.analysis.synthetic import queue_row, retrain_row, search_row

JOB = queue_row(search_row(4, 0, 80.0), 1)


def frame(*rows):
    return RETRAINS.to_arrow(row | {"job_id": f"job{i}"} for i, row in enumerate(rows)).to_pandas()


def test_accuracies_are_those_of_the_chosen_weights():
    average = {"ema_valid_accuracy": 98.0, "ema_test_accuracy": 96.5}
    raw, ema = retrain_row(JOB, 95.0) | average, retrain_row(JOB, 95.0) | average | {"chosen_weights": "ema"}
    rows = chosen(frame(raw, ema, retrain_row(JOB, 95.0) | {"chosen_weights": None}))
    assert list(rows["valid_accuracy"]) == [97.0, 98.0, 97.0]
    assert list(rows["test_accuracy"]) == [95.0, 96.5, 95.0]


def test_cells_have_the_settings_of_the_searches_that_found_them():
    rows = [search_row(k, seed, 80.0, cell=cell) for k, seed, cell in ((16, 0, "DARTS_V1"), (2, 1, "DARTS_V1"))]
    searches = SEARCHES.to_arrow([*rows, search_row(8, 0, None), rows[0] | {"search_id": "x"}]).to_pandas()
    assert settings_of_cells(searches) == {rows[0]["genotype_digest"]: ["k=2", "k=16"]}
