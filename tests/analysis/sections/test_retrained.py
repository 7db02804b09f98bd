"""The report's tables of the cells that were retrained in full."""

import math

import pytest

from analysis.report.practice import good_practice
from analysis.sections.blocks import Card, ReportTable
from analysis.sections.retrained import (
    correlations_table,
    methods_table,
    proxies_table,
    recipe_note,
    retrains_table,
    seeds_of_cells_table,
)
from analysis.sections.wording import MISSING
from analysis.statistics.retrained_cells import cell_stages
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED
from tests.analysis.sections.test_sections import built
from tests.analysis.synthetic import job_frames, queue_row, retrain_row, search_row, staged_frames, staged_rows

EMA = {"ema_valid_accuracy": 75.0, "ema_test_accuracy": 74.0, "chosen_weights": "ema"}


@pytest.fixture
def rows():
    """Two cells, the second a random one; the first retrained by two recipes, by one of them with two seeds."""
    found = search_row(4, 0, 80.0) | {"setting": "method=pcdarts"}
    random = search_row(4, 1, None, cell="DARTS_V2") | {"setting": "method=random", "method": "random"}
    random |= {"status": "completed", "error": "", "epochs": None}
    random |= {"genotype": str(PUBLISHED["DARTS_V2"]), "genotype_digest": PUBLISHED["DARTS_V2"].digest}
    random |= {"network_parameters": 3_349_342, "network_macs": 528_000_000}
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
    assert table.headings[5] == "best search validation" and "(EMA): of the exponential moving average" in table.note
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
    assert table.note.startswith("Recipe: cifar10, 600 epochs.")
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
    assert (
        found["comparisons"].blocks[-1].text.startswith("One-shot accuracies of different methods are not comparable")
    )


def test_the_proxy_table_is_in_the_order_of_the_proxies_and_counts_failures():
    table = proxies_table(cell_stages(*staged_frames(cells=3, finals=1, failed=(1,))), "")
    rows = [tuple(map(str, row[1:])) for row in table.rows]
    assert rows == [
        ("80.00", "90.00 ± 0.71", "2", "0", "96.00", "95.00"),
        ("82.00", "88.00 ± 0.71", "2", "0", "–", "–"),
        ("81.00", "–", "0", "2", "–", "–"),
    ]


def test_final_accuracies_are_means_over_the_seeds_of_one_recipe():
    _, queue, retrains = staged_rows(cells=3, finals=2)
    first, second = queue[-2:]

    def more(job, name, valid, **recipe):
        queue.append(job | {"job_id": name})
        retrains.append(retrain_row(queue[-1], valid - 1, valid_accuracy=valid) | recipe)

    assert recipe_note(*job_frames(queue, retrains)) == ""
    more(first, "a-seed", 94.0, seed=1, device="cuda", threads=8)
    assert recipe_note(*job_frames(queue, retrains)) == ""
    more(first, "z-imagenet", 70.0, dataset="imagenet")
    more(first, "z-longer", 97.0, epochs=1200)
    cells = {cell.digest: cell for cell in cell_stages(*job_frames(queue, retrains))}
    assert [
        (cells[job["genotype_digest"]].retrained, cells[job["genotype_digest"]].test) for job in (first, second)
    ] == [
        (95.0, (95.0 + 93.0) / 2),
        (95.0, 94.0),
    ]
    queue, retrains = job_frames(queue, retrains)
    note = recipe_note(queue, retrains)
    assert note.startswith(
        " Retrained and test accuracies are means over the seeds of one recipe: cifar10, 600 epochs, 20 cells and 36 "
    )
    assert note.endswith("channels. 2 retrainings by other recipes are left out.")
    assert recipe_note(queue, retrains.assign(ema_decay=math.nan)) == note  # a table that is older than the field
    assert proxies_table(cell_stages(queue, retrains), note).note.endswith(note)
    assert correlations_table([], note).note.endswith(note)


def test_the_report_keeps_the_stages_apart(tmp_path):
    searches, queue, retrains = staged_rows()
    store = ResultStore(str(tmp_path / "demo"))
    for table, rows in ((SEARCHES, searches), (QUEUE, queue), (RETRAINS, retrains)):
        store.append(table, rows, "a")
    found = built(store)
    tables = {block.id: block for block in found["retrained"].blocks if isinstance(block, ReportTable)}
    assert [len(tables[name].rows) for name in ("retrains", "proxies", "rank-correlation")] == [3, 6, 5]
    cards = [block.title for block in found["cells"].blocks if isinstance(block, Card)]
    assert len(cards) == 3 and all(f"Rank {rank}" in cards[rank - 1] for rank in (1, 2, 3))
    points = {point.name: point.why for point in good_practice(
        store.read(SEARCHES), store.read(EPOCHS), store.read(RETRAINS), described=True
    )}  # fmt: skip
    assert points["Same evaluation protocol for all methods"].startswith("All 3 retrainings")
    assert "15 retrainings" in points["End-to-end time of the method"]


def test_while_the_proxies_run_their_cells_are_shown_and_no_test_accuracy_is_claimed(tmp_path):
    searches, queue, retrains = staged_rows(finals=0)
    store = ResultStore(str(tmp_path / "demo"))
    for table, rows in ((SEARCHES, searches), (QUEUE, queue), (RETRAINS, retrains[:1])):
        store.append(table, rows, "a")
    found = built(store)
    assert "No retraining has finished yet" in found["retrained"].blocks[0].text
    assert len([block for block in found["cells"].blocks if isinstance(block, Card)]) == 6
