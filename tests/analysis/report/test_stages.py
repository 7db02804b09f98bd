"""The stages in the report: their accuracies cell by cell, and how they agree."""

import math

import numpy as np
import pytest

from analysis.report.blocks import Card, Table
from analysis.report.practice import good_practice
from analysis.report.stages import cell_stages, correlations_table, proxies_table, recipe_note, stage_correlations
from analysis.store import ResultStore
from analysis.tables import EPOCHS, QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED
from tests.analysis.report.test_sections import built
from tests.analysis.synthetic import queue_row, retrain_row, search_row


def staged(cells=6, finals=3, failed=()):
    """Searches, queue and retrains: cell i reaches 80 + i in its search, 90 - i in proxies, the best are retrained.

    Proxies of the cells in `failed` have failed.
    """
    searches = [search_row(4, seed, 80.0 + seed, cell=name) for seed, name in enumerate(list(PUBLISHED)[:cells])]
    queue, retrains = [], []
    for i, search in enumerate(searches):
        for seed in range(2):
            job = queue_row(search, 2 * i + seed + 1, "failed" if i in failed else "done", proxy=seed)
            queue.append(job)
            retrains.append(retrain_row(job, None if i in failed else 99.0 - i, valid_accuracy=89.5 - i + seed))
    for i, search in enumerate(searches[:finals]):
        queue.append(queue_row(search, i + 1, "done"))
        retrains.append(retrain_row(queue[-1], 95.0 - i, valid_accuracy=96.0 - i))
    return searches, queue, retrains


def frames(*arguments, **options):
    return tables(*staged(*arguments, **options)[1:])


def tables(queue, retrains):
    return QUEUE.to_arrow(queue).to_pandas(), RETRAINS.to_arrow(retrains).to_pandas()


def test_a_cell_has_the_accuracies_of_all_its_stages():
    cells = {cell.search: cell for cell in cell_stages(*frames())}
    first, last = cells[80.0], cells[85.0]
    assert (first.proxies, first.proxy, first.retrained, first.test) == ((89.5, 90.5), 90.0, 96.0, 95.0)
    assert last.proxy == 85.0 and math.isnan(last.retrained) and math.isnan(last.test)


def test_correlations_of_the_stages_in_closed_form():
    found = stage_correlations(cell_stages(*frames(cells=6, finals=3)), np.random.default_rng(0))
    shown = {(first, second): (n, value.value) for first, second, n, value in found}
    assert shown == {
        ("search validation", "proxy validation"): (6, pytest.approx(-1.0)),
        ("search validation", "retrained validation"): (3, pytest.approx(-1.0)),
        ("search validation", "test"): (3, pytest.approx(-1.0)),
        ("proxy validation", "retrained validation"): (3, pytest.approx(1.0)),
        ("proxy validation", "test"): (3, pytest.approx(1.0)),
    }
    assert [(value.low, value.high) for *_, value in found[1:]] == [(-1.0, 1.0)] * 4  # too few cells to say anything
    assert math.isnan(found[0][3].low) and math.isnan(found[0][3].high)  # a perfect order: no interval, not [-1, -1]


def test_one_cell_has_no_correlation_and_no_cell_no_row():
    queue, retrains = frames(cells=2, finals=1)
    entries = stage_correlations(cell_stages(queue, retrains), np.random.default_rng(0))
    assert [(n, math.isnan(value.value)) for *_, n, value in entries] == [(2, False)] + [(1, True)] * 4
    assert stage_correlations(cell_stages(queue, retrains[:0]), np.random.default_rng(0)) == []


def test_the_proxy_table_is_in_the_order_of_the_proxies_and_counts_failures():
    table = proxies_table(*frames(cells=3, finals=1, failed=(1,)))
    rows = [tuple(map(str, row[1:])) for row in table.rows]
    assert rows == [
        ("80.00", "90.00 ± 0.71", "2", "0", "96.00", "95.00"),
        ("82.00", "88.00 ± 0.71", "2", "0", "–", "–"),
        ("81.00", "–", "0", "2", "–", "–"),
    ]


def test_final_accuracies_are_means_over_the_seeds_of_one_recipe():
    _, queue, retrains = staged(cells=3, finals=2)
    first, second = queue[-2:]

    def more(job, name, valid, **recipe):
        queue.append(job | {"job_id": name})
        retrains.append(retrain_row(queue[-1], valid - 1, valid_accuracy=valid) | recipe)

    assert recipe_note(*tables(queue, retrains)) == ""
    more(first, "a-seed", 94.0, seed=1, device="cuda", threads=8)
    assert recipe_note(*tables(queue, retrains)) == ""
    more(first, "z-imagenet", 70.0, dataset="imagenet")
    more(first, "z-longer", 97.0, epochs=1200)
    cells = {cell.digest: cell for cell in cell_stages(*tables(queue, retrains))}
    assert [
        (cells[job["genotype_digest"]].retrained, cells[job["genotype_digest"]].test) for job in (first, second)
    ] == [
        (95.0, (95.0 + 93.0) / 2),
        (95.0, 94.0),
    ]
    queue, retrains = tables(queue, retrains)
    note = recipe_note(queue, retrains)
    assert note.startswith(
        " Retrained and test accuracies are of one recipe, cifar10 with 600 epochs, 20 cells and 36 "
    )
    assert note.endswith("means over its seeds; 2 retrainings by other recipes are left out.")
    assert recipe_note(queue, retrains.assign(ema_decay=math.nan)) == note  # a table that is older than the field
    assert proxies_table(queue, retrains).note.endswith(note)
    assert correlations_table([], note).note.endswith(note)


def test_the_report_keeps_the_stages_apart(tmp_path):
    searches, queue, retrains = staged()
    store = ResultStore(str(tmp_path / "demo"))
    for table, rows in ((SEARCHES, searches), (QUEUE, queue), (RETRAINS, retrains)):
        store.append(table, rows, "a")
    found = built(store)
    tables = {block.id: block for block in found["retrained"].blocks if isinstance(block, Table)}
    assert [len(tables[name].rows) for name in ("retrains", "proxies", "rank-correlation")] == [3, 6, 5]
    cards = [block.title for block in found["cells"].blocks if isinstance(block, Card)]
    assert len(cards) == 3 and all(f"Rank {rank}" in cards[rank - 1] for rank in (1, 2, 3))
    points = {point.name: point.why for point in good_practice(
        store.read(SEARCHES), store.read(EPOCHS), store.read(RETRAINS), described=True
    )}  # fmt: skip
    assert points["Same evaluation protocol for all methods"].startswith("All 3 retrainings")
    assert "15 retrainings" in points["Time of the whole method, end to end"]


def test_while_the_proxies_run_their_cells_are_shown_and_no_test_accuracy_is_claimed(tmp_path):
    searches, queue, retrains = staged(finals=0)
    store = ResultStore(str(tmp_path / "demo"))
    for table, rows in ((SEARCHES, searches), (QUEUE, queue), (RETRAINS, retrains[:1])):
        store.append(table, rows, "a")
    found = built(store)
    assert "No retraining has ended yet" in found["retrained"].blocks[0].text
    assert len([block for block in found["cells"].blocks if isinstance(block, Card)]) == 6
