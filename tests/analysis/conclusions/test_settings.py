"""Tests of analysis.conclusions.settings."""

import math
from dataclasses import replace

import pytest

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.sentences import searches_sentence
from analysis.conclusions.settings import comparison_level, found_cells, selected_cells, setting_row
from analysis.statistics.bootstrap import Estimate
from tests.analysis.conclusions.tables import RECIPE, SHORT, Tables, settings_with


def level_of(tables):
    searches, queue, retrains = tables.frames()
    done = trainings(retrains)
    return comparison_level(found_cells(searches), queue, done, levels(done))


def row_of(tables, setting="k=4"):
    searches, queue, retrains = tables.frames()
    done = trainings(retrains)
    found = found_cells(searches)
    at = comparison_level(found, queue, done, levels(done)).level
    selected = selected_cells(found, queue, done)[setting]
    done = done[done["level"] == at.number] if at else done
    return setting_row(searches[searches["setting"] == setting], selected, done, at, Estimate())


def raced():
    """Four cells of two settings after 25 epochs; the best of each in full."""
    tables = settings_with({"k=2": [], "k=4": []})
    for cell, (setting, seed) in enumerate([("k=2", 0), ("k=2", 1), ("k=4", 0), ("k=4", 1)]):
        tables.search(setting, seed, cell)
        tables.train(cell, [8.0 + cell], stage="rung", rung=1, recipe=SHORT)
    tables.train(0, [3.0])
    tables.train(2, [3.2])
    return tables


def test_after_a_race_settings_compare_where_all_their_selected_cells_were_trained():
    found = level_of(raced())
    assert (found.level.stage, found.level.epochs) == ("rung", 25)
    assert found.complete == ("k=2", "k=4") and found.left_out == {}


def test_without_a_race_they_compare_by_the_final_training():
    found = level_of(settings_with({"k=2": [3.0, 3.1], "k=4": [3.2, 3.3]}))
    assert (found.level.stage, found.complete) == ("final", ("k=2", "k=4"))


def test_settings_with_missing_trainings_are_left_out():
    tables = settings_with({"k=2": [3.0, 3.1], "k=4": [3.2, 3.3], "k=8": []})
    tables.search("k=8", 0, 10)
    tables.search("k=4", 2, 11)
    tables.wait(11)
    found = level_of(tables)
    assert found.complete == ("k=2",)
    assert found.left_out == {
        "k=4": "2 of 3 selected cells are trained",
        "k=8": "no cell was retrained",
    }


def test_a_training_that_failed_for_good_keeps_no_setting_waiting():
    tables = settings_with({"k=2": [3.0, 3.1], "k=4": [3.2]})
    tables.search("k=4", 1, 11)
    tables.train(11, [None])
    assert level_of(tables).complete == ("k=2", "k=4")


def test_the_longest_level_wins_if_all_are_trained_there():
    tables = raced()
    tables.train(1, [3.1])
    tables.train(3, [3.3])
    assert level_of(tables).level.stage == "final"


def test_other_recipes_and_the_published_protocol_do_not_compare_settings():
    tables = settings_with({"k=2": [3.0], "k=4": [3.2]})
    for cell in (0, 1):
        tables.train(cell, [2.5], stage="published")
        tables.train(cell, [4.0], stage="recipe", recipe=replace(RECIPE, epochs=700))
    assert level_of(tables).level.stage == "final"


def test_nothing_retrained_is_no_level():
    tables = Tables()
    assert level_of(tables).level is None
    tables.search("k=4", 0, 0)
    found = level_of(tables)
    assert found.level is None and found.left_out == {"k=4": "no cell was retrained"}


def test_a_row_means_over_searches_and_pools_the_deviation_between_trainings():
    tables = Tables()
    for seed, (cell, errors) in enumerate([(0, [3.0, 3.2]), (1, [4.0, 4.2]), (1, [])]):
        tables.search("k=4", seed, cell, network_macs=5 * 10**8 + cell, gpu_days=0.1 + 0.1 * seed, device_name="a GPU")
        tables.train(cell, errors)
    tables.search("k=4", 3, None)
    row = row_of(tables)
    assert (row.searches, row.failed, row.distinct_cells, row.selected, row.retrained) == (3, 1, 2, 2, 2)
    assert (row.retrained_searches, row.trainings) == (3, 4)
    assert row.test_error == pytest.approx((3.1 + 4.1 + 4.1) / 3)
    assert row.test_error_std == pytest.approx(1 / math.sqrt(3)) and row.worst == pytest.approx(4.1)
    assert row.seed_std == pytest.approx(0.2 / math.sqrt(2))
    assert row.sampling.value == row.test_error and row.sampling.low < row.test_error < row.sampling.high
    assert (row.multiply_adds.low, row.multiply_adds.high) == (500_000_000, 500_000_001)
    assert row.gpu_days == pytest.approx(0.2) and row.device == "a GPU" and math.isnan(row.cpu_hours)
    assert math.isnan(row.test_top5_error)


def test_a_search_on_a_cpu_costs_hours_times_threads():
    tables = Tables()
    tables.search("k=4", 0, 0, seconds=1800.0, threads=4, device_name="cpu (x86_64)")
    row = row_of(tables)
    assert row.cpu_hours == 2 and math.isnan(row.gpu_days) and math.isnan(row.test_error)


def test_searches_with_a_warning_and_stopped_ones_count_as_collapsed():
    tables = Tables()
    tables.search("k=4", 0, 0)
    tables.search("k=4", 1, 1, warnings="epoch 8: 5 skip connections")
    tables.search("k=4", 2, 2, status="stopped", warnings="epoch 9: not finite")
    row = row_of(tables)
    assert row.collapsed == 2 and row.rules_recorded
    imported = Tables()
    imported.search("k=4", 0, 0, warnings=None)
    assert row_of(imported).collapsed == 0 and not row_of(imported).rules_recorded


def test_searches_stopped_by_hand_do_not_count_as_collapsed():
    tables = Tables()
    tables.search("k=4", 0, 0, status="stopped", stop_reason="stopped by hand", warnings="")
    tables.search("k=4", 1, 1, status="canceled")
    tables.search("k=4", 2, 2, status="stopped", stop_reason="frozen rule: same", warnings="")
    row = row_of(tables)
    assert (row.searches, row.failed, row.collapsed, row.stopped_by_hand, row.canceled) == (2, 0, 1, 2, 1)
    assert searches_sentence([row]) == (
        "Of 3 searches, none failed; a collapse rule fired in 1 of k=4; 2 of k=4 were stopped by hand."
    )


def test_top_5_errors_are_means_over_searches_too():
    tables = Tables()
    tables.search("k=4", 0, 0)
    tables.search("k=4", 1, 1)
    tables.train(0, [25.0], test_top5=92.0)
    tables.train(1, [26.0], test_top5=91.0)
    assert row_of(tables).test_top5_error == pytest.approx(8.5)
