"""Selection: order, duplicates, limits."""

import pytest

from orchestrator.config import SelectionConfig
from orchestrator.queue.selection import select, settings_of_cells
from pcdarts.genotype import OPERATIONS, Genotype


def cell_of(normal, reduce=None):
    cells = [[(operation, 0), (operation, 1)] for operation in (normal, reduce or normal)]
    return Genotype(normal=cells[0], normal_concat=[2], reduce=cells[1], reduce_concat=[2])


CELLS = dict(zip("xyzwqrs", map(cell_of, OPERATIONS), strict=False))
"""Distinct cells by name."""
ALL_CELLS = [cell_of(first, second) for first in OPERATIONS[:5] for second in OPERATIONS[:5]]
"""25 distinct cells."""
NAMES = {genotype.digest: name for name, genotype in CELLS.items()}


def row(name, accuracy, cell, macs=1, parameters=1, status="completed", method="pcdarts", seed=0, **more):
    genotype = CELLS.get(cell, cell)
    return more | {
        "search_id": name,
        "method": method,
        "seed": seed,
        "status": status,
        "valid_accuracy": accuracy,
        "genotype": genotype and str(genotype),
        "genotype_digest": genotype and genotype.digest,
        "network_macs": macs,
        "network_parameters": parameters,
    }


def names(rows, **limits):
    return [candidate.origins for candidate in select(rows, SelectionConfig(**limits))]


def test_cells_that_more_searches_found_come_first_and_isomorphic_cells_once_with_all_their_origins():
    rows = [row("a", 90.0, "x"), row("b", 95.0, "y"), row("c", 91.0, "x"), row("d", 88.0, "z")]
    assert names(rows, top=2) == [("a", "c"), ("b",)]
    best = select(rows, SelectionConfig(top=2))[0]
    assert (best.genotype, best.valid_accuracy) == (CELLS["x"], 91.0)
    assert best.reason == "place 1 of 3, found by 2 of 4 searches, ties broken by one-shot accuracy (90.50 %)"


def test_every_setting_has_its_own_places_whatever_its_one_shot_accuracy():
    means = {1: 92.0, 2: 90.0, 4: 88.0, 8: 85.0}
    cells = iter(ALL_CELLS)
    rows = [
        row(f"k{k}s{seed}", mean + seed / 10, next(cells), setting=f"k={k}", seed=seed)
        for k, mean in means.items()
        for seed in range(5)
    ]
    chosen = names(rows, top=2)
    assert chosen == [(f"k{k}s{seed}",) for seed in (4, 3) for k in means]
    reason = select(rows, SelectionConfig(top=2))[3].reason
    assert reason == "k=8: place 1 of 5, found by 1 of 5 searches, ties broken by one-shot accuracy (85.40 %)"


def test_a_cell_of_two_settings_is_one_candidate_that_counts_for_both():
    rows = [row("a", 50.0, "x", setting="k=2"), row("b", 60.0, "x", setting="k=4"), row("c", 9.0, "y", setting="k=4")]
    (only,) = select(rows, SelectionConfig(top=1))
    assert only.origins == ("a", "b") and only.valid_accuracy == 60.0
    assert only.reason.startswith("k=2: place 1 of 1, ") and "; k=4: place 1 of 2, " in only.reason
    assert settings_of_cells(rows) == {CELLS["x"].digest: ["k=2", "k=4"], CELLS["y"].digest: ["k=4"]}


def test_a_cell_that_only_warned_searches_found_is_demoted():
    rows = [row("a", 99.0, "x", warnings="skips"), row("b", 50.0, "y"), row("c", 98.0, "z", warnings="skips")]
    assert names(rows, top=3) == [("b",), ("a",), ("c",)]
    assert "after the others, because a collapse rule fired" in select(rows, SelectionConfig(top=3))[1].reason
    stopped = [row("a", 99.0, "x", warnings="skips", status="stopped"), rows[1]]
    assert names(stopped) == [("a",), ("b",)]


def test_ties_go_by_multiply_adds_and_search_id_whatever_the_order_of_rows():
    rows = [row("b", 90.0, "y"), row("a", 90.0, "x")]
    assert names(rows) == names(rows[::-1]) == [("a",), ("b",)]


def test_failed_and_nan_are_passed_over():
    rows = [row("a", None, None, status="failed"), row("b", float("nan"), "x"), row("c", 1.0, "y")]
    assert names(rows) == [("c",)]
    assert names([]) == []


@pytest.mark.parametrize("limits", [{"max_macs": 5}, {"max_parameters": 5}, {"max_macs": 5, "max_parameters": 5}])
def test_limits_are_inclusive_and_the_next_best_moves_up(limits):
    rows = [row("a", 99.0, "x", macs=6, parameters=6), row("b", 98.0, "y", macs=5, parameters=5)]
    assert names(rows, top=1, **limits) == [("b",)]


def test_top_0_selects_nothing():
    assert names([row("a", 1.0, "x")], top=0) == []


def random_row(seed, cell, **values):
    return row(f"random-seed{seed}", None, cell, method="random", seed=seed, setting="method=random", **values)


def test_random_cells_are_a_setting_of_their_own_in_order_of_seed():
    rows = [random_row(11, "r"), random_row(3, "q"), row("a", 90.0, "x"), random_row(2, "r"), random_row(12, "s")]
    chosen = select(rows, SelectionConfig(top=2))
    assert [candidate.origins for candidate in chosen] == [("a",), ("random-seed2", "random-seed11"), ("random-seed3",)]
    assert [candidate.valid_accuracy for candidate in chosen] == [90.0, None, None]
    assert chosen[1].reason == "method=random: place 1 of 3, random cell of seed 2"


def test_random_cells_obey_the_limits_and_are_not_queued_twice():
    rows = [random_row(0, "r", macs=6), random_row(1, "x"), random_row(2, "s"), row("a", 90.0, "x")]
    assert names(rows, top=1, max_macs=5) == [("a", "random-seed1")]
    assert names(rows, top=0) == []


def test_searches_that_a_rule_stopped_count():
    (only,) = select([row("a", 2.0, "x", status="stopped")], SelectionConfig())
    assert only.origins == ("a",)
