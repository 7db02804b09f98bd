"""The report's tables of the cells that were retrained in full."""

import math

import pytest

from analysis.report.retrained import methods_table, retrains_table, seeds_of_cells_table
from analysis.report.stages import cell_stages
from analysis.report.wording import MISSING
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED
from tests.analysis.report.test_sections import built
from tests.analysis.synthetic import queue_row, retrain_row, search_row

EMA = {"ema_valid_accuracy": 75.0, "ema_test_accuracy": 74.0, "chosen_weights": "ema"}


@pytest.fixture
def rows():
    """Two cells, the second a random one; the first retrained by two recipes, by one of them with two seeds."""
    found = search_row(4, 0, 80.0) | {"setting": "method=pcdarts"}
    random = search_row(4, 1, None, cell="DARTS_V2") | {"setting": "method=random", "method": "random"}
    random |= {"status": "completed", "error": "", "epochs": None}
    random |= {"genotype": str(PUBLISHED["DARTS_V2"]), "genotype_digest": PUBLISHED["DARTS_V2"].digest}
    again = search_row(4, 2, 85.0) | {"setting": "method=pcdarts"}
    queue = [queue_row(again, 1, "done") | {"job_id": name} for name in "abc"]
    queue.append(queue_row(random, 2, "done") | {"job_id": "d"})
    retrains = [
        retrain_row(queue[0], 96.0, valid_accuracy=97.0),
        retrain_row(queue[1], 95.0, valid_accuracy=96.0) | {"seed": 1},
        retrain_row(queue[2], 59.0, valid_accuracy=60.0) | EMA | {"dataset": "imagenet", "epochs": 250},
        retrain_row(queue[3], 96.25, valid_accuracy=98.0),
    ]
    return [found, random, again], queue, retrains


def frames(rows):
    return tuple(
        table.to_arrow(some).to_pandas() for table, some in zip((SEARCHES, QUEUE, RETRAINS), rows, strict=True)
    )


def texts(table):
    return [tuple(map(str, row)) for row in table.rows]


def test_a_retraining_says_its_recipe_its_seed_and_who_found_the_cell(rows):
    table = retrains_table(*frames(rows))
    assert table.headings[5] == "best search validation" and "(EMA): of the moving average" in table.note
    assert [(row[0], *row[2:8]) for row in texts(table)] == [
        ("1", "method=pcdarts", "cifar10, 600 epochs", "0", "85.00", "97.00", "96.00"),
        ("1", "method=pcdarts", "cifar10, 600 epochs", "1", "85.00", "96.00", "95.00"),
        ("1", "method=pcdarts", "imagenet, 250 epochs", "0", "85.00", "75.00 (EMA)", "74.00 (EMA)"),
        ("2", "method=random", "cifar10, 600 epochs", "0", "–", "98.00", "96.25"),
    ]
    assert table.rows[2][7].values == (74.0,)


def test_a_job_that_waits_has_epochs_and_no_seed(rows):
    searches, queue, _ = rows
    waiting = [queue[0] | {"state": "queued", "epochs_planned": 600}, queue[3] | {"state": "queued"}]
    table = retrains_table(*frames((searches, waiting, [])))
    assert [row[3:5] for row in texts(table)] == [("600 epochs", "–"), ("–", "–")]
    assert "EMA" not in table.note


def test_a_completed_attempt_counts_before_a_later_failed_one():
    search = search_row(4, 0, 80.0)
    job = queue_row(search, 1, "done")
    rows = [retrain_row(job, 97.5, attempt=1), retrain_row(job, None, attempt=2)]
    lone = retrain_row(queue_row(search_row(4, 1, 80.0, cell="DARTS_V2"), 2), None)
    table = retrains_table(*frames(([search], [job], [*rows, lone])))
    assert [row[7] for row in table.rows] == ["97.50", "–"]
    assert [row[-1] for row in table.rows] == ["done", "failed: node lost"]
    assert table.rows[1][:3] == ("–", PUBLISHED["DARTS_V2"].digest, "–")


def test_seeds_of_a_retraining_have_mean_and_deviation_recipe_by_recipe(rows):
    _, queue, retrains = rows
    assert [row[1:] for row in texts(seeds_of_cells_table(frames(rows)[2]))] == [
        ("cifar10, 600 epochs", "1", "98.00", "96.25"),
        ("cifar10, 600 epochs", "2", "96.50 ± 0.71", "95.50 ± 0.71"),
        ("imagenet, 250 epochs", "1", "75.00 (EMA)", "74.00 (EMA)"),
    ]
    retrains[1] |= EMA
    assert texts(seeds_of_cells_table(frames(rows)[2]))[1][4] == "85.00 ± 15.56 (EMA in 1 of 2)"
    retrains[1] |= {"ema_valid_accuracy": None}  # trained on all images
    retrains[0] |= {"valid_accuracy": None}
    assert texts(seeds_of_cells_table(frames(rows)[2]))[1][3] == "–"
    assert seeds_of_cells_table(frames(([], queue, retrains[1:]))[2]).rows == ()


def test_methods_are_compared_by_the_test_accuracies_of_one_recipe(rows):
    table = methods_table(*frames(rows))
    assert texts(table) == [("pcdarts", "1", "95.50"), ("random", "1", "96.25")]
    assert table.note.startswith("One recipe: cifar10, 600 epochs.")
    searches, queue, retrains = rows
    assert methods_table(*frames((searches, queue, retrains[:3]))).rows == ()  # the random cell was not retrained
    assert methods_table(*frames((searches, queue, []))).rows == ()


def test_stages_count_the_chosen_weights_and_test_accuracy_without_validation(rows):
    searches, queue, retrains = rows
    (cell,) = cell_stages(*frames((searches, queue[2:3], retrains[2:3]))[1:])
    assert (cell.retrained, cell.test) == (75.0, 74.0)
    (cell,) = cell_stages(*frames((searches, queue[:1], [retrains[0] | {"valid_accuracy": None}]))[1:])
    assert math.isnan(cell.retrained) and cell.test == 96.0


def test_retrainings_without_validation_are_reported(rows, tmp_path):
    for row in rows[2]:
        row |= {"validation_portion": 0.0, "valid_accuracy": None, "valid_top5": None}
    assert texts(retrains_table(*frames(rows)))[0][6:8] == (MISSING, "96.00")
    store = ResultStore(str(tmp_path / "demo"))
    for table, some in zip((SEARCHES, QUEUE, RETRAINS), rows, strict=True):
        store.append(table, some, "a")
    assert any(getattr(block, "id", "") == "retrains" for block in built(store)["retrained"].blocks)


def test_the_report_shows_them_and_warns_of_comparing_methods_by_the_super_network(rows, tmp_path):
    store = ResultStore(str(tmp_path / "demo"))
    more = [row | {"search_id": f"darts{seed}", "seed": seed, "setting": "method=darts", "method": "darts"}
            for seed, row in enumerate(rows[0][::2])]  # fmt: skip
    for table, some in zip((SEARCHES, QUEUE, RETRAINS), ([*rows[0], *more], *rows[1:]), strict=True):
        store.append(table, some, "a")
    found = built(store)
    assert [block.id for block in found["retrained"].blocks if hasattr(block, "headings")][:3] == [
        "retrains",
        "retrained-seeds",
        "methods",
    ]
    assert found["comparisons"].blocks[-1].text.startswith("One-shot accuracies of different methods do not compare")
