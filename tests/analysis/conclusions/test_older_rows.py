"""Rows of earlier versions next to later ones."""

from dataclasses import replace

import pytest

from analysis.conclusions.levels import levels, trainings
from analysis.conclusions.older_rows import comparable
from analysis.store import ResultStore
from analysis.study_data import StudyData
from analysis.tables import SEARCHES
from tests.analysis.conclusions.tables import RECIPE, Tables

NOT_YET = dict.fromkeys(
    ("image_size", "max_images", "flip", "data_fingerprint", "classes", "image_channels", "image_height", "image_width")
)
"""Columns of a row that an earlier version wrote."""
PRINT = "50000+10000 images, 3x32x32, 1a2b3c4d"


def trained(*fingerprints, dataset="cifar10"):
    """A training for each fingerprint; None: of an earlier version."""
    tables = Tables()
    for cell, fingerprint in enumerate(fingerprints):
        recipe = replace(RECIPE, dataset=dataset, data_fingerprint=fingerprint or "")
        tables.train(cell, [3.0], recipe=recipe, **(NOT_YET if fingerprint is None else {}))
    return tables.frames()[2]


def test_trainings_by_one_recipe_are_of_one_level_whatever_version_made_them():
    done = trainings(trained(None, PRINT, ""))
    (level,) = levels(done)
    assert level.cells == 3 and level.recipe == "600 epochs on cifar10"
    assert set(done["data_fingerprint"]) == {PRINT} and set(done["image_size"]) == {0} and set(done["flip"]) == {"auto"}
    assert len(levels(trainings(trained(None, None)))) == 1


@pytest.mark.parametrize("given", [("", "a", "b"), (None, "a", "b")])
def test_different_images_are_told_apart(given):
    assert sorted(comparable(trained(*given))["data_fingerprint"]) == ["", "a", "b"]
    assert sorted(comparable(trained(None, "a", dataset="folder"))["data_fingerprint"]) == ["", "a"]


def test_the_report_reads_searches_in_the_same_way(tmp_path):
    tables = Tables()
    tables.search("k=2", 0, 1, **NOT_YET)
    tables.search("k=4", 0, 2, data_fingerprint=PRINT)
    store = ResultStore(str(tmp_path))
    store.append(SEARCHES, tables.searches, "all")
    searches = StudyData(store=store).searches
    assert set(searches["data_fingerprint"]) == {PRINT} and set(searches["image_size"]) == {0}


def test_tables_without_rows():
    assert not len(comparable(trained()))
