"""Selection: order, duplicates, limits."""

import pytest

from orchestrator.config import SelectionConfig
from orchestrator.queue.selection import lower_bound, rerank, select, spread
from pcdarts.genotype import OPERATIONS, Genotype


def cell_of(operation):
    pairs = [(operation, 0), (operation, 1)]
    return Genotype(normal=pairs, normal_concat=[2], reduce=pairs, reduce_concat=[2])


CELLS = dict(zip("xyzwqrs", map(cell_of, OPERATIONS), strict=False))
"""Distinct cells by name."""
NAMES = {genotype.digest: name for name, genotype in CELLS.items()}


def row(name, accuracy, cell, macs=1, parameters=1, status="completed", method="pcdarts", seed=0, **more):
    genotype = CELLS.get(cell)
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


def test_best_first_and_isomorphic_cells_once_with_all_their_origins():
    rows = [row("a", 90.0, "x"), row("b", 95.0, "y"), row("c", 91.0, "x"), row("d", 88.0, "z")]
    assert names(rows, top=2) == [("b",), ("c", "a")]
    best = select(rows, SelectionConfig(top=2))[1]
    assert (best.genotype, best.valid_accuracy) == (CELLS["x"], 91.0)
    # Squares about the mean of all: 1, 16, 0 and 9; two searches found it.
    assert best.reason == (
        f"mean validation accuracy 90.50 %, ranked by {90.5 - 1.645 * (26 / 3 / 2) ** 0.5:.2f} % "
        "(mean - 1.645 standard errors), found by 2 of 4 searches"
    )


def test_the_bound_and_the_spread_in_closed_form():
    rows = [row(n, a, "x", setting=s) for n, a, s in (("a", 1.0, "p"), ("b", 3.0, "p"), ("c", 9.0, "q"))]
    assert spread(rows) == pytest.approx(2**0.5)  # squares 2, freedom 1: settings do not add to it
    assert lower_bound(rows[:2], 2**0.5) == pytest.approx(2 - 1.645)
    assert spread(rows[2:]) == 0.0 and lower_bound(rows[2:], 0.0) == 9.0


def test_a_cell_found_often_passes_one_found_once_with_luck():
    rows = [row("a", 91.0, "x")] + [row(f"b{i}", 90.9, "y") for i in range(4)] + [row("z", 80.0, "z")]
    assert names(rows, top=1) == [("b0", "b1", "b2", "b3")]


def test_a_cell_that_only_warned_searches_found_is_demoted():
    rows = [row("a", 99.0, "x", warnings="skips"), row("b", 50.0, "y"), row("c", 98.0, "z", warnings="skips")]
    assert names(rows, top=3) == [("b",), ("a",), ("c",)]
    assert "demoted, because a collapse rule fired" in select(rows, SelectionConfig(top=3))[1].reason
    stopped = [row("a", 99.0, "x", warnings="skips", status="stopped"), rows[1]]
    assert names(stopped) == [("a",), ("b",)]


def test_ties_go_by_search_id_whatever_the_order_of_rows():
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
    return row(f"random-seed{seed}", None, cell, method="random", seed=seed, **values)


def test_random_cells_get_as_many_places_after_the_searched_ones_in_order_of_seed():
    rows = [random_row(11, "r"), random_row(3, "q"), row("a", 90.0, "x"), random_row(2, "r"), random_row(12, "s")]
    chosen = select(rows, SelectionConfig(top=2))
    assert [candidate.origins for candidate in chosen] == [("a",), ("random-seed2", "random-seed11"), ("random-seed3",)]
    assert [candidate.valid_accuracy for candidate in chosen] == [90.0, None, None]
    assert chosen[0].reason == "validation accuracy 90.00 %, found by 1 of 1 searches"
    assert chosen[1].reason == "random baseline, seed 2"


def test_random_cells_obey_the_limits_and_are_not_queued_twice():
    rows = [random_row(0, "r", macs=6), random_row(1, "x"), random_row(2, "s"), row("a", 90.0, "x")]
    assert names(rows, top=1, max_macs=5) == [("a",), ("random-seed2",)]
    assert names(rows, top=0) == []


def test_searches_that_a_rule_stopped_count():
    (only,) = select([row("a", 2.0, "x", status="stopped")], SelectionConfig())
    assert only.origins == ("a",)


def candidates(rows, top=10):
    return select(rows, SelectionConfig(top=top))


def ranked(rows, accuracies, **options):
    """Names of the cells, and the candidates, by their proxies."""
    by_digest = {CELLS[name].digest: values for name, values in accuracies.items()}
    chosen = rerank(candidates(rows), by_digest, **options)
    return [NAMES[candidate.genotype.digest] for candidate in chosen], chosen


def test_proxies_rank_by_their_lower_bound_in_closed_form():
    rows = [row("a", 90.0, "x"), row("b", 95.0, "y"), row("c", 80.0, "z")]
    # Deviation sqrt((2 + 0 + 0) / (1 + 1 + 0)) = 1: the bounds are 91 - 1.16, 91 - 1.16 and 91.2 - 1.645.
    proxies = {"x": [90.0, 92.0], "y": [91.0, 91.0], "z": [91.2]}
    names, chosen = ranked(rows, proxies, seeds=2, top=2)
    assert names == ["y", "x"] and ranked(rows, proxies, seeds=2, top=9)[0] == ["y", "x", "z"]
    bound = "ranked by 89.84 % (mean - 1.645 standard errors)"
    reason = f"proxy validation accuracy 91.00 %, {bound}, mean of 2 of 2 trainings; "
    assert [c.reason for c in chosen] == [f"{reason}place {place} of 3 by the searches" for place in (1, 2)]


def test_equal_proxies_go_by_multiply_adds_and_cells_without_a_result_come_last():
    rows = [row("a", 95.0, "x", macs=2), row("b", 94.0, "y", macs=1), row("c", 99.0, "z"), row("d", 98.0, "w")]
    names, chosen = ranked(rows, {"x": [50.0], "y": [50.0]}, seeds=1, top=4)
    assert names == ["y", "x", "z", "w"]
    assert chosen[2].reason == "no proxy retraining succeeded; place 1 of 4 by the searches"


def test_random_cells_are_ranked_among_themselves_by_their_proxies():
    rows = [random_row(0, "r"), random_row(1, "s"), row("a", 90.0, "x"), row("b", 80.0, "y")]
    proxies = {"r": [50.0], "s": [99.0], "x": [10.0], "y": [20.0]}
    names, chosen = ranked(rows, proxies, seeds=1, top=1)
    assert names == ["y", "s"] and chosen[1].reason.endswith("trainings; random baseline, seed 1")
