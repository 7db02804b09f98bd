"""Tests of analysis.conclusions.published."""

from dataclasses import replace

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.published import published_rows
from tests.analysis.conclusions.tables import ALL_IMAGES, SHORT, Tables


def level(recipe, **values):
    tables = Tables()
    tables.train(0, [3.0], recipe=recipe, **values)
    (found,) = levels(trainings(tables.frames()[2]))
    return found


def test_the_rows_are_of_the_same_data_set():
    assert [row.test_error for row in published_rows(level(ALL_IMAGES))] == [3.29, 3.00, 2.76, 2.57, 2.55]
    imagenet = published_rows(replace(level(ALL_IMAGES), dataset="imagenet"))
    assert [(row.test_error, row.gpu_days) for row in imagenet] == [(26.7, 4), (24.2, 3.8), (24.1, 2.8)]
    assert published_rows(replace(level(ALL_IMAGES), dataset="digits")) == () == published_rows(None)


def test_another_protocol_is_flagged():
    assert {row.differs for row in published_rows(level(ALL_IMAGES))} == {""}
    assert {row.differs for row in published_rows(level(SHORT))} == {
        "600 epochs, here 25; trained on all 50,000 images, here on 45,000; last epoch, here picked on validation "
        "images"
    }
    unknown = replace(level(SHORT), epochs=None, training_images=None, validation_images=None)
    assert {row.differs for row in published_rows(unknown)} == {
        "600 epochs, here unknown; trained on all 50,000 images, here on an unknown number; last epoch, here picked in "
        "an unknown way"
    }
