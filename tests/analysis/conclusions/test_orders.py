"""Tests of analysis.conclusions.orders."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.orders import judge, order_checks
from analysis.conclusions.settings import found_cells
from analysis.statistics.bootstrap import Estimate
from tests.analysis.conclusions.tables import RECIPE, SHORT, Tables

ORDER = [3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 3.7, 3.8, 3.9]

FORTY = """
87.584 96.85, 86.404 97.12, 84.344 96.20, 85.984 97.38, 86.340 97.01, 86.148 96.99, 86.272 96.71, 86.384 96.90,
86.296 97.34, 86.072 97.11, 86.384 97.10, 86.056 96.79, 86.832 96.77, 86.684 97.10, 86.068 97.06, 86.336 96.92,
86.184 96.91, 86.016 96.92, 86.136 97.05, 86.200 97.15, 86.304 97.09, 86.600 96.87, 86.764 96.95, 86.044 96.83,
86.140 97.18, 86.612 97.05, 86.280 96.89, 86.112 97.02, 86.188 97.08, 86.168 97.01, 86.300 97.27, 86.244 97.17,
85.888 96.86, 86.268 96.89, 86.588 97.11, 86.500 96.87, 86.304 97.19, 86.064 97.09, 86.472 97.03, 86.284 97.10
"""
"""One-shot accuracy and accuracy after retraining of 40 PC-DARTS searches on CIFAR-10 by an independent user."""


def checks(tables):
    searches, _, retrains = tables.frames()
    done = trainings(retrains)
    found = levels(done)
    at = next((each for each in reversed(found) if each.stage == "final"), None)
    return {(each.kind, each.subject): each for each in order_checks(found_cells(searches), done, at, found)}


def searched(one_shot, errors, setting="k=4", first=0):
    tables = Tables()
    add(tables, one_shot, errors, setting, first)
    return tables


def add(tables, one_shot, errors, setting, first):
    for seed, accuracy in enumerate(one_shot):
        tables.search(setting, seed, first + seed, valid_accuracy=accuracy, network_macs=5 * 10**8 + seed)
        if seed < len(errors):
            tables.train(first + seed, [errors[seed]])


@pytest.mark.parametrize(
    ("low", "high", "judgement"),
    [
        (0.6, 0.9, "yes"),
        (0.1, 0.9, "partly"),
        (0.1, 0.4, "weakly"),
        (-0.3, 0.34, "no"),
        (-0.9, -0.2, "no"),
        (-0.2, 0.7, "unknown"),
        (math.nan, math.nan, "unknown"),
    ],
)
def test_the_interval_decides_what_can_be_said(low, high, judgement):
    assert judge(Estimate(value=(low + high) / 2, low=low, high=high)) == judgement


def test_one_shot_accuracy_that_orders_cells_like_retraining():
    found = checks(searched([90 - error for error in ORDER], ORDER))["one-shot", "k=4"]
    assert found.judgement == "yes" and found.correlation.value == 1 and found.cells == 10
    assert found.sentence == (
        "One-shot accuracy ranks the retrained cells of k=4 by test accuracy: rank correlation 1.00, 95 % interval "
        f"[{found.correlation.low:.2f}, 1.00], 10 cells after 600 epochs on cifar10 (final training)."
    )


def test_few_cells_say_nothing():
    found = checks(searched([90.0, 91, 92, 93, 94], ORDER))["one-shot", "k=4"]
    assert found.judgement == "unknown" and math.isnan(found.correlation.value)
    assert found.sentence == (
        "Whether one-shot accuracy ranks the retrained cells of k=4 is not known: 5 cells with both, and 6 are needed."
    )


def test_cells_that_were_not_retrained_are_named():
    found = checks(searched([90 - error for error in ORDER], ORDER[:7]))["one-shot", "k=4"]
    assert found.cells == 7 and found.sentence.endswith("(final training); 7 of 10 cells were retrained.")


def test_several_settings_are_judged_by_the_mean_within_them():
    """Between the settings the order is opposite: across them the correlation would be negative."""
    tables = searched([90 - error for error in ORDER], ORDER)
    add(tables, [80 - error for error in ORDER], [error - 2 for error in ORDER], "k=8", 100)
    found = checks(tables)
    mean = found["one-shot", "each setting"]
    assert mean.judgement == "yes" and mean.cells == 20 and mean.sentence.endswith("; mean within 2 settings.")
    assert mean.correlation.low > found["one-shot", "k=4"].correlation.low
    few = searched([90.0, 91], ORDER)
    add(few, [90.0, 91], ORDER, "k=8", 100)
    assert checks(few)["one-shot", "each setting"].sentence == (
        "Whether one-shot accuracy ranks the retrained cells of each setting is not known: no setting has 6 retrained "
        "cells."
    )


def test_the_setting_with_enough_cells_comes_first():
    tables = searched([90.0, 91], ORDER, setting="k=2")
    add(tables, [90 - error for error in ORDER], ORDER, "k=4", 100)
    assert [key for key in checks(tables) if key[0] == "one-shot"] == [("one-shot", "k=4"), ("one-shot", "k=2")]


def test_random_cells_have_no_one_shot_accuracy_but_a_size():
    found = checks(searched([None] * 6, ORDER, setting="random"))
    assert list(found) == [("size", "random")]


def test_another_recipe_and_the_rungs_are_compared_with_the_final_training():
    tables = searched([90.0] * 10, ORDER)
    for cell, error in enumerate(ORDER):
        tables.train(cell, [2 * error], stage="recipe", recipe=replace(RECIPE, epochs=100))
        tables.train(cell, [9 - error], stage="rung", rung=1, recipe=SHORT)
    tables.train(50, [9.0], stage="rung", rung=1, recipe=SHORT)
    found = checks(tables)
    recipe = found["recipe", "100 epochs on cifar10 (another recipe)"]
    assert recipe.sentence.startswith(
        "The order of cells survives from 100 epochs on cifar10 (another recipe) to 600 epochs on cifar10 (final "
        "training): rank correlation 1.00"
    )
    rung = found["rung", "25 epochs on cifar10 (rung 1 of the race)"]
    assert rung.judgement == "no" and rung.correlation.value == -1
    assert rung.sentence.endswith("10 cells; only the best of the rung went on.")
    assert found["one-shot", "k=4"].sentence.endswith("is not known: all values are equal.")


def test_forty_published_searches_are_not_ranked_by_one_shot_accuracy():
    one_shot, retrained = np.array([pair.split() for pair in FORTY.split(",")], dtype=float).T
    found = checks(searched(one_shot.tolist(), (100 - retrained).tolist()))
    check = found["one-shot", "k=4"]
    assert check.judgement == "no" and check.correlation.value == pytest.approx(0.02, abs=0.005)
    assert "does not rank the retrained cells" in check.sentence and "[-0.30, 0.33], 40 cells" in check.sentence
