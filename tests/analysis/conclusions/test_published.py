"""Tests of analysis.conclusions.published."""

from dataclasses import replace

import pytest

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.published import OFFICIAL, published_rows
from pcdarts import presets
from tests.analysis.conclusions.tables import ALL_IMAGES, SHORT, Tables


def published(recipe, **values):
    tables = Tables()
    tables.train(0, [3.0], recipe=recipe, **values)
    done = trainings(tables.frames()[2])
    (level,) = levels(done)
    return published_rows(level, done)


def test_the_rows_are_of_the_same_data_set():
    assert [row.test_error for row in published(ALL_IMAGES)] == [3.29, 3.00, 2.76, 2.57, 2.55]
    imagenet = published(OFFICIAL["imagenet"])
    assert [(row.test_error, row.gpu_days) for row in imagenet] == [(26.7, 4), (24.2, 3.8), (24.1, 2.8)]
    assert {row.differs for row in imagenet} == {""}
    assert published(replace(ALL_IMAGES, dataset="cifar100")) == ()
    assert published_rows(None, trainings(Tables().frames()[2])) == ()


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_the_official_recipes_are_those_of_the_presets(name):
    preset = {"cifar10": presets.retrain_cifar10, "imagenet": presets.retrain_imagenet}[name]()
    assert {row.differs for row in published(replace(preset, validation_portion=0.0))} == {""}


def test_another_protocol_is_flagged():
    assert {row.differs for row in published(ALL_IMAGES)} == {""}
    assert {row.differs for row in published(replace(SHORT, channels=16))} == {
        "epochs 25 (papers: 600); 10 % of the training images only pick the epoch (papers: all trained on, last "
        "epoch); channels 16 (papers: 36)"
    }
    few = replace(ALL_IMAGES, max_images=4000)
    assert {row.differs for row in published(few)} == {"max_images 4000 (papers: 0)"}
    unknown = dict.fromkeys(("epochs", "validation_portion", "training_images", "validation_images"))
    assert {row.differs for row in published(ALL_IMAGES, **unknown)} == {"unknown: epochs, validation_portion"}
