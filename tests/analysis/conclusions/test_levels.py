"""Tests of analysis.conclusions.levels."""

from dataclasses import replace

import numpy as np

from analysis.conclusions.levels import levels, trainings
from analysis.tables import RETRAINS
from tests.analysis.conclusions.tables import ALL_IMAGES, RECIPE, SHORT, Tables


def done(tables):
    return trainings(tables.frames()[2])


def test_levels_are_stages_rungs_and_recipes_the_longest_last():
    tables = Tables()
    tables.train(0, [2.5, 2.6], stage="published", recipe=ALL_IMAGES)
    tables.train(0, [2.9, 3.1])
    tables.train(1, [3.0])
    tables.train(0, [4.0], stage="recipe", recipe=replace(RECIPE, epochs=100))
    tables.train(0, [8.0], stage="rung", rung=1, recipe=SHORT)
    found = levels(done(tables))
    assert [(each.name, each.cells, each.trainings) for each in found] == [
        ("25 epochs on cifar10 (rung 1 of the race)", 1, 1),
        ("100 epochs on cifar10 (another recipe)", 1, 1),
        ("600 epochs on cifar10 (final training)", 2, 3),
        ("600 epochs on cifar10 (published protocol)", 1, 2),
    ]
    assert sorted(each.number for each in found) == [0, 1, 2, 3]


def test_every_level_says_how_many_images_and_what_picked_the_epoch():
    tables = Tables()
    tables.train(0, [2.5], stage="published", recipe=ALL_IMAGES)
    tables.train(0, [2.9])
    final, published = levels(done(tables))
    assert final.protocol == (
        "600 epochs on cifar10 (final training): trained on 45,000 images, the epoch picked on 5,000 other training "
        "images, tested on 10,000 test images."
    )
    assert published.protocol.endswith("trained on 50,000 images, the last epoch taken, tested on 10,000 test images.")


def test_recipes_of_a_stage_are_named_by_what_they_differ_in():
    tables = Tables()
    tables.train(0, [2.9])
    tables.train(1, [2.9])
    tables.train(0, [3.1], recipe=replace(RECIPE, cutout=0))
    assert [each.recipe for each in levels(done(tables))] == [
        "600 epochs on cifar10, cutout 0",
        "600 epochs on cifar10, cutout 16",  # of more cells
    ]


def test_another_recipe_is_named_by_what_differs_from_the_final_training():
    tables = Tables()
    tables.train(0, [2.9])
    tables.train(0, [3.1], stage="recipe", recipe=replace(RECIPE, cutout=0))
    many = {"cutout": 0, "drop_path": 0.1, "batch_size": 64, "weight_decay": 0.0, "layers": 8, "channels": 16}
    tables.train(0, [3.2], stage="recipe", recipe=replace(RECIPE, epochs=100, **many))
    assert [each.name for each in levels(done(tables))] == [
        "100 epochs on cifar10, batch_size 64, channels 16, layers 8, weight_decay 0 and 2 other fields "
        "(another recipe)",
        "600 epochs on cifar10, cutout 0 (another recipe)",
        "600 epochs on cifar10 (final training)",
    ]


def test_what_an_import_does_not_know_is_said_to_be_unknown():
    tables = Tables()
    tables.train(0, [3.0])
    unknown = dict.fromkeys(("epochs", "validation_portion", "training_images", "validation_images", "test_images"))
    tables.retrains = [row | unknown for row in tables.retrains]
    (level,) = levels(done(tables))
    assert level.epochs is level.training_images is level.validation_images is None
    assert level.protocol == (
        "An unrecorded number of epochs on cifar10 (final training): trained on an unrecorded number of images, how "
        "the epoch was picked not recorded, tested on the test images."
    )


def test_the_last_completed_attempt_of_a_job_counts_with_the_chosen_weights():
    tables = Tables()
    tables.train(0, [3.0, None], validated=[3.0, 3.0])
    again = tables.retrains[0] | {
        "attempt": 2,
        "chosen_weights": "ema",
        "ema_test_accuracy": 98.0,
        "ema_test_top5": 99.5,
    }
    tables.retrains.append(again | {"ema_valid_accuracy": 98.5})
    (row,) = done(tables).to_dict("records")
    assert (row["attempt"], row["test_error"], row["test_top5_error"], row["valid_accuracy"]) == (2, 2.0, 0.5, 98.5)


def test_no_trainings_have_no_levels():
    nothing = trainings(RETRAINS.to_arrow([]).to_pandas())
    assert len(nothing) == 0 and levels(nothing) == ()


def test_a_training_without_a_finite_accuracy_is_left_out():
    tables = Tables()
    tables.train(0, [np.nan])
    tables.train(1, [3.0])
    assert len(done(tables)) == 1


def test_own_images_are_named_by_their_folder_and_never_mixed_with_others_of_the_name():
    own = replace(RECIPE, dataset="folder", data_dir="/data/flowers", classes=7, data_fingerprint="a")
    tables = Tables()
    tables.train(0, [2.9], recipe=own)
    tables.train(1, [2.9], recipe=replace(own, data_dir="/elsewhere/flowers"))
    tables.train(2, [2.9], recipe=replace(own, classes=8, data_fingerprint="b"))
    names = ["600 epochs on flowers, data_fingerprint b", "600 epochs on flowers, data_fingerprint a"]
    assert [(each.recipe, each.cells) for each in levels(done(tables))] == list(zip(names, (1, 2), strict=True))
