"""Tests of analysis.conclusions.recommendation."""

import math

import numpy as np
import pytest

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.recommendation import recommend
from analysis.conclusions.settings import found_cells
from analysis.statistics.proportions import sampling_interval
from tests.analysis.conclusions.tables import ALL_IMAGES, SHORT, Tables, digest


def recommended(tables):
    searches, _, retrains = tables.frames()
    done = trainings(retrains)
    return recommend(found_cells(searches), done, levels(done))


def three_cells(seeds=3):
    """Validated with errors of 3.0, 3.5 and 4.0 %, tested with 3.2, 3.1 and 4.1 %."""
    tables = Tables()
    for cell, (validated, tested) in enumerate([(3.0, 3.2), (3.5, 3.1), (4.0, 4.1)]):
        tables.search("k=4", cell, cell)
        spread = [0.05 * (seed - (seeds - 1) / 2) for seed in range(seeds)]
        tables.train(cell, [tested + each for each in spread], validated=[validated + each for each in spread])
    return tables


def packed(wrong, images=10_000):
    correct = np.ones(images, dtype=bool)
    correct[list(wrong)] = False
    return np.packbits(correct).tobytes()


def test_validation_accuracy_chooses_not_test_accuracy():
    found = recommended(three_cells())
    assert (found.digest, found.next_best, found.candidates) == (digest(0), digest(1), 3)
    assert found.found_by == ("k=4, seed 0",) and found.chosen_at.stage == "final"
    assert found.valid_accuracy == pytest.approx(97.0) and found.test_error_mean == pytest.approx(3.2)
    assert found.seed_std == pytest.approx(0.05) and found.trainings == 3


@pytest.mark.parametrize("fewer", [0, 1])
def test_of_equal_cells_the_one_with_fewer_multiply_adds_is_recommended(fewer):
    tables = Tables()
    for cell in range(2):
        tables.search("k=4", cell, cell)
        tables.train(cell, [3.0], validated=[3.0])
    tables.retrains[fewer] |= {"network_macs": 400_000_000}
    found = recommended(tables)
    assert found.digest == digest(fewer) and found.equals_next
    assert not recommended(three_cells()).equals_next


def test_without_predictions_the_validation_images_make_a_lead_uncertain():
    """5,000 images: a standard error of 0.24 points for each cell; a lead of 0.5 is 1.5 errors, before shrinkage."""
    found = recommended(three_cells())
    assert 0.8 < found.beats_next < 0.93 and digest(1) in found.tied


def test_predictions_show_how_much_of_the_sampling_error_cells_share():
    tables = three_cells()
    for row in tables.retrains:
        row["test_correct"] = packed(range(300))  # all networks err on the same images
    found = recommended(tables)
    assert found.beats_next > 0.99 and found.tied == ()


def test_fresh_trainings_by_the_published_protocol_report_the_error():
    tables = three_cells()
    tables.train(0, [2.6, 2.8], stage="published", recipe=ALL_IMAGES)
    tables.train(1, [2.5], stage="published", recipe=ALL_IMAGES)
    found = recommended(tables)
    assert found.digest == digest(0) and found.fresh and not found.corrected
    assert (found.reported_at.stage, found.chosen_at.stage, found.trainings) == ("published", "final", 2)
    assert found.test_error.value == pytest.approx(2.7)
    images = sampling_interval(2.7, 10_000)
    low = math.hypot(12.7062 * 0.1, 2.7 - images.low)  # Student's t of 2 values, and the number of images
    assert found.test_error.low == pytest.approx(2.7 - low, abs=1e-3)


def test_the_error_of_the_trainings_that_chose_is_shrunk():
    tables = Tables()
    for cell, error in enumerate([3.0, 3.05, 3.1, 3.02]):
        tables.search("k=4", cell, cell)
        tables.train(cell, [error - 0.1, error + 0.1], validated=[error - 0.1, error + 0.1])
    found = recommended(tables)
    assert found.corrected and not found.fresh
    assert found.test_error_mean == pytest.approx(3.0) and 3.0 < found.test_error.value < 3.05
    width, images = found.test_error.high - found.test_error.low, found.sampling.high - found.sampling.low
    assert width > images


def test_a_single_candidate_of_the_final_stage_was_chosen_by_other_trainings():
    tables = Tables()
    for cell in range(2):
        tables.search("k=4", cell, cell)
        tables.train(cell, [8.0 + cell], validated=[8.0 + cell], stage="rung", rung=1, recipe=SHORT)
    tables.train(0, [3.0, 3.1], validated=[3.0, 3.1])
    found = recommended(tables)
    assert found.candidates == 1 and found.fresh and not found.corrected and found.next_best == ""
    assert found.chosen_at.stage == "final" and found.against_next is None


def test_without_repeats_nobody_knows_how_sure_the_choice_is():
    found = recommended(three_cells(seeds=1))
    assert math.isnan(found.beats_next) and found.tied == ()
    assert not found.corrected and not found.fresh and math.isnan(found.test_error.low)
    assert found.test_error.value == pytest.approx(3.2) and found.sampling.low < 3.2 < found.sampling.high


def test_two_cells_are_compared_on_the_same_images():
    tables = three_cells(seeds=1)
    for row, wrong in zip(tables.retrains, (range(320), range(10, 320), range(410)), strict=True):
        row["test_correct"] = packed(wrong)
    found = recommended(tables).against_next
    assert (found.first, found.second, found.images) == (digest(0), digest(1), 10_000)
    assert found.difference.value == pytest.approx(-0.1) and found.p_value == pytest.approx(2 / 2**10)


def test_nothing_is_recommended_by_test_accuracy():
    tables = Tables()
    tables.search("k=4", 0, 0)
    tables.train(0, [3.0], recipe=ALL_IMAGES)
    assert recommended(tables) is None
    assert recommended(Tables()) is None


def test_a_cell_added_by_hand_has_no_search():
    tables = three_cells()
    tables.train(7, [2.0, 2.1, 2.2], validated=[2.0, 2.1, 2.2])
    found = recommended(tables)
    assert found.digest == digest(7) and found.found_by == ()
