"""Full retrainings: the accuracies that count, and their recipes."""

import math

import numpy as np
import pytest

from analysis.statistics.retrained_cells import (
    cell_stages,
    chosen,
    completed,
    methods_of_cells,
    settings_of_cells,
    stage_correlations,
)
from analysis.tables import RETRAINS, SEARCHES
from tests.analysis.synthetic import queue_row, retrain_row, search_row, staged_frames

JOB = queue_row(search_row(4, 0, 80.0), 1)


def frame(*rows):
    return RETRAINS.to_arrow(row | {"job_id": f"job{i}"} for i, row in enumerate(rows)).to_pandas()


def test_accuracies_are_those_of_the_chosen_weights():
    average = {"ema_valid_accuracy": 98.0, "ema_test_accuracy": 96.5}
    raw, ema = retrain_row(JOB, 95.0) | average, retrain_row(JOB, 95.0) | average | {"chosen_weights": "ema"}
    rows = chosen(frame(raw, ema, retrain_row(JOB, 95.0) | {"chosen_weights": None}))
    assert list(rows["valid_accuracy"]) == [97.0, 98.0, 97.0]
    assert list(rows["test_accuracy"]) == [95.0, 96.5, 95.0]


def test_recipes_are_named_by_what_tells_them_apart():
    row = retrain_row(JOB, 95.0)
    seed = {"seed": 1, "device": "cuda", "threads": 8}
    rows = completed(frame(row, row | seed, row | {"cutout": 8}, row | {"epochs": 100}, row | {"dataset": "digits"}))
    assert list(rows["recipe"]) == [
        "cifar10, 600 epochs, cutout 16",
        "cifar10, 600 epochs, cutout 16",
        "cifar10, 600 epochs, cutout 8",
        "cifar10, 100 epochs",
        "digits, 600 epochs",
    ]


def test_the_last_completed_attempt_counts_and_no_proxy():
    rows = [retrain_row(JOB, 95.0, attempt=1), retrain_row(JOB, 96.0, attempt=2), retrain_row(JOB, None, attempt=3)]
    proxy = retrain_row(JOB | {"job_id": "proxy", "stage": "rung"}, 90.0)
    assert list(completed(RETRAINS.to_arrow([*rows, proxy]).to_pandas())["test_accuracy"]) == [96.0]


def test_without_retrainings_there_are_columns_but_no_rows():
    rows = completed(frame())
    assert not len(rows) and {"recipe", "test_accuracy"} <= set(rows.columns)


def test_cells_have_the_settings_of_the_searches_that_found_them():
    rows = [search_row(k, seed, 80.0, cell=cell) for k, seed, cell in ((16, 0, "DARTS_V1"), (2, 1, "DARTS_V1"))]
    searches = SEARCHES.to_arrow([*rows, search_row(8, 0, None), rows[0] | {"search_id": "x"}]).to_pandas()
    assert settings_of_cells(searches) == {rows[0]["genotype_digest"]: ["k=2", "k=16"]}
    searches.loc[0, "method"] = math.nan
    assert methods_of_cells(searches) == {rows[0]["genotype_digest"]: ["pcdarts"]}


def test_a_cell_has_the_accuracies_of_all_its_stages():
    cells = {cell.search: cell for cell in cell_stages(*staged_frames())}
    first, last = cells[80.0], cells[85.0]
    assert (first.proxies, first.proxy, first.retrained, first.test) == ((89.5, 90.5), 90.0, 96.0, 95.0)
    assert last.proxy == 85.0 and math.isnan(last.retrained) and math.isnan(last.test)


def test_correlations_of_the_stages_in_closed_form():
    found = stage_correlations(cell_stages(*staged_frames(cells=6, finals=3)), np.random.default_rng(0))
    assert {(c.first, c.second): (c.n, c.correlation.value) for c in found} == {
        ("search", "proxy"): (6, pytest.approx(-1.0)),
        ("search", "retrained"): (3, pytest.approx(-1.0)),
        ("search", "test"): (3, pytest.approx(-1.0)),
        ("proxy", "retrained"): (3, pytest.approx(1.0)),
        ("proxy", "test"): (3, pytest.approx(1.0)),
    }
    perfect, *few = (c.correlation for c in found)
    assert [(estimate.low, estimate.high) for estimate in few] == [(-1.0, 1.0)] * 4
    assert math.isnan(perfect.low) and math.isnan(perfect.high)  # not [-1, -1]


def test_one_cell_has_no_correlation_and_no_cell_no_row():
    queue, retrains = staged_frames(cells=2, finals=1)
    entries = stage_correlations(cell_stages(queue, retrains), np.random.default_rng(0))
    assert [(c.n, math.isnan(c.correlation.value)) for c in entries] == [(2, False)] + [(1, True)] * 4
    assert stage_correlations(cell_stages(queue, retrains[:0]), np.random.default_rng(0)) == []
