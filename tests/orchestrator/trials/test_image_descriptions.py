"""What a study finds in its images before it runs, on this machine."""

import os
from dataclasses import replace

import pytest

from orchestrator.config import FinalConfig, StudyConfig
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.trials.image_descriptions import describe_images, with_absolute_paths
from pcdarts.config import OWN_IMAGES
from tests.pcdarts.data.own_images import write_arrays, write_tree


def own_study(place, *, dataset="folder", **changes):
    """The smoke study on own images."""
    search, retrain, recipe = (
        replace(config, dataset=dataset, data_dir=str(place))
        for config in (smoke().search, smoke().retrain, smoke().race.recipe)
    )
    return replace(smoke(), search=search, retrain=retrain, race=replace(smoke().race, recipe=recipe), **changes)


def described(study, stored=None, **options):
    return describe_images(study, stored, RunOptions(**options), say=lambda text: None)[0]


def shape(config):
    return config.classes, config.image_channels, config.image_height, config.image_width


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "flowers", train=60, val=12)


def test_searches_and_trainings_hold_the_shape_and_the_fingerprint(tree):
    study = described(own_study(tree, final=FinalConfig(recipes=("digits",))))
    assert study.search.data_fingerprint.startswith("60+12 images, 3x8x8, ")
    configs = [*study.searches(), *(stage.recipe for stage in study.stages())]
    assert {config.dataset for config in configs} == {"folder"} and {shape(config) for config in configs} == {
        (3, 3, 8, 8)
    }
    assert {config.data_fingerprint for config in configs} == {study.search.data_fingerprint}
    assert StudyConfig.from_dict(study.to_dict()) == study


def test_a_study_on_built_in_images_without_files_stays_as_it_is():
    assert described(smoke()) == smoke()


def test_paths_are_made_absolute_where_the_driver_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    search = replace(smoke().search, data_dir="data", split_file="~/lists.txt")
    sweep = {"seed": (0, 1), "split_file": ("a.txt", ""), "data_dir": ("~/x", "/y")}
    study = with_absolute_paths(replace(smoke(), search=search, sweep=sweep))
    assert (study.search.data_dir, study.search.split_file) == (str(tmp_path / "data"), "/home/me/lists.txt")
    assert study.sweep["split_file"] == (str(tmp_path / "a.txt"), "") and study.sweep["data_dir"] == (
        "/home/me/x",
        "/y",
    )
    assert study.retrain.data_dir == study.race.recipe.data_dir == str(tmp_path / "data")


def test_every_swept_folder_has_its_own_images(tree, tmp_path):
    other = write_tree(tmp_path / "birds", classes=4, size=(10, 6), train=80, test=16)
    study = described(own_study(tree, sweep={"seed": (0, 1), "data_dir": (str(tree), str(other))}))
    searches = study.searches()
    assert len(searches) == len({search.search_id for search in searches}) == 4
    assert {search.data_dir: shape(search) for search in searches} == {
        str(tree): (3, 3, 8, 8),
        str(other): (4, 3, 10, 6),
    }
    assert shape(study.retrain) == (3, 3, 8, 8)


def test_swept_sizes_and_data_sets_have_their_own_shapes(tree):
    study = described(own_study(tree, sweep={"seed": (0,), "image_size": (4, 6), "dataset": ("folder", "synthetic")}))
    shapes = {(search.dataset, search.image_size): shape(search) for search in study.searches()}
    nothing = (0, 0, 0, 0)
    expected = {("folder", 4): (3, 3, 4, 4), ("folder", 6): (3, 3, 6, 6)}
    assert shapes == expected | {("synthetic", 4): nothing, ("synthetic", 6): nothing}


def test_other_images_than_those_of_the_stored_study_are_refused(tree):
    stored = described(own_study(tree))
    assert described(own_study(tree), stored) == stored
    (tree / "train" / "class0" / "0.png").unlink()
    with pytest.raises(
        ValueError, match=r"holds 59\+12 images, .*60\+12 images, .*; restore the images, or give --study"
    ):
        described(own_study(tree), stored)


def test_images_may_move(tree):
    stored = described(own_study(tree))
    moved = tree.rename(tree.with_name("moved"))
    study = described(own_study(moved), stored)
    assert study.searches()[0].search_id == stored.searches()[0].search_id
    assert study.retrain == replace(stored.retrain, data_dir=str(moved))


def test_a_machine_without_the_images_goes_by_the_stored_study(tree, tmp_path):
    stored = described(own_study(tree))
    assert (
        described(own_study(tmp_path / "elsewhere"), stored).search.data_fingerprint == stored.search.data_fingerprint
    )


def test_built_in_images_of_trainings_may_come_later(tmp_path):
    study = replace(smoke(), retrain=replace(smoke().retrain, dataset="cifar10", data_dir=str(tmp_path)))
    assert described(study) == study


def test_what_an_auxiliary_head_cannot_take_is_refused_before_anything_runs(tree):
    study = own_study(tree)
    with pytest.raises(ValueError, match="auxiliary"):
        described(replace(study, retrain=replace(study.retrain, auxiliary_weight=0.4)))


def test_parts_of_the_trainings_are_checked_before_the_searches(tree):
    study = own_study(tree)
    with pytest.raises(ValueError, match="validation_portion is 0.001"):
        described(replace(study, retrain=replace(study.retrain, validation_portion=0.001)))


def test_arrays_are_described(tmp_path):
    study = described(own_study(write_arrays(tmp_path / "a.npz", channels=5, train=60), dataset="arrays"))
    assert shape(study.search) == (3, 5, 8, 8) and study.search.dataset in OWN_IMAGES


def test_data_folders_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    study = with_absolute_paths(own_study("~/flowers", sweep={"data_dir": ("data", "/data")}))
    assert study.search.data_dir == study.retrain.data_dir == study.race.recipe.data_dir == "/home/me/flowers"
    assert study.sweep["data_dir"] == (os.path.join(tmp_path, "data"), "/data")
