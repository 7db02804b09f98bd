"""Tests of analysis.report.practice: every answer of the 14 points."""

import pytest

from analysis.report.practice import good_practice, section
from analysis.tables import RETRAINS, SEARCHES
from tests.analysis.synthetic import queue_row, retrain_row, search_row

GRID = [search_row(k, seed, 80.0 + seed) for k in (2, 4) for seed in range(3)]
CELLS = ("DARTS_V1", "DARTS_V2")
JOBS = [queue_row(search_row(4, 0, 80.0, cell=cell), rank) for rank, cell in enumerate(CELLS, 1)]
RETRAINED = [retrain_row(job, 97.0) for job in JOBS]
FOUND = [search_row(k, 0, 80.0, cell=cell) for k, cell in zip((2, 4), CELLS, strict=True)]
"""Searches of two settings that found the retrained cells."""
OPEN = "not decided by the tables"


def points(searches=(), retrains=(), described=True, **columns):
    """Number of every point to its answer and reason; `columns` become columns of searches."""
    frames = [t.to_arrow(rows).to_pandas() for t, rows in ((SEARCHES, searches), (RETRAINS, retrains))]
    found = good_practice(frames[0].assign(**columns), *frames[1:], described=described)
    return {number: (point.answer, point.why) for number, point in enumerate(found, 1)}


def changed(rows, **values):
    return [row | {name: value[i] for name, value in values.items()} for i, row in enumerate(rows)]


def test_a_study_with_all_of_it():
    grid = [search_row(k, seed, 80.0, cell=cell) for k, cell in zip((2, 4), CELLS, strict=True) for seed in range(3)]
    found = points(grid, RETRAINED)
    assert {number for number, (answer, _) in found.items() if answer == "met"} == {3, 4, 5, 6, 7, 9, 13, 14}
    assert {number for number, (answer, _) in found.items() if answer == OPEN} == {1, 2, 10, 12}
    assert found[5][1] == "2 settings were retrained by one recipe; some differ in k alone."
    assert found[13][1] == "6 searches took 12.2 minutes and 2 retrainings took 2.3 days, not counting failures."


@pytest.mark.parametrize("rows", [[], [search_row(4, 0, None)]], ids=["empty", "failed"])
def test_without_results_nothing_is_met_by_them(rows):
    found = points(rows, described=False)
    assert {found[number][0] for number in (5, 6, 7, 8, 9, 13)} == {"not met"}
    assert all(why.endswith(".") and "nan" not in why and "None" not in why for _, why in found.values())


@pytest.mark.parametrize(
    ("revisions", "search_code", "as_run"),
    [
        (["a1", "a1"], "Every search ran revision a1; whether it is public is not recorded.", "met"),
        (["a1", None], "1 of 2 searches ran revision a1; whether it is public is not recorded.", "met"),
        ([None, None], "No search records the git revision of its code.", "not met"),
        (["a1", "b2+"], "Every search ran one of 2 revisions; whether it is public is not recorded.", "partly"),
    ],
)
def test_tables_know_the_revision_of_the_code_and_not_whether_it_is_public(revisions, search_code, as_run):
    found = points(changed(GRID[:2], git_revision=revisions))
    assert found[2] == (OPEN, search_code) and found[3][0] == as_run


def test_own_images_are_named_by_their_folder_and_told_apart_by_their_fingerprint():
    own = {"dataset": ["folder"] * 2, "data_dir": ["/data/flowers"] * 2}
    same = points(changed(GRID[:2], **own, data_fingerprint=["70+14 images, 3x8x8, 1a"] * 2))[4]
    assert same == (
        "met",
        "All searches used the same data (flowers: 70+14 images, 3x8x8, 1a), split and search space.",
    )
    answer, why = points(changed(GRID[:2], **own, data_fingerprint=["1a", "2b"]))[4]
    assert answer == "not met" and "different data sets (flowers of 1a and flowers of 2b)" in why


def test_data_and_space_must_be_the_same():
    assert points(changed(GRID[:2], dataset=["digits", "cifar10"]))[4] == (
        "not met",
        "The searches used different data sets (cifar10 and digits), so their accuracies are not comparable.",
    )
    assert points(changed(GRID[:2], train_portion=[0.5, 0.9]))[4][0] == "partly"
    assert points(GRID[:2], dataset=None)[4][0] == "not met"


def test_ablations_differ_in_one_field_and_are_retrained():
    both = changed([GRID[0], GRID[3]], order=[1, 2])
    assert points(both)[5] == ("partly", "2 settings differ in several fields at once (k and order).")
    third = [GRID[0] | {"setting": "k=2, order=2", "order": 2, "search_id": "third"}]
    assert points([*both, *third])[5] == (
        "partly",
        "3 settings; some differ in k and order alone, but no two of them were retrained by one recipe.",
    )
    assert points(FOUND, retrains=RETRAINED)[5][0] == "met"
    same = changed(GRID[:2], setting=["a", "b"])
    assert points(same)[5][0] == "partly" and points(GRID[:3])[5][0] == "not met"


def test_one_protocol_needs_two_settings_retrained_by_one_recipe():
    recipe = "600 epochs on cifar10"
    assert points(FOUND, retrains=RETRAINED)[6] == (
        "met",
        f"All 2 settings have cells retrained by one recipe ({recipe}).",
    )
    assert points(FOUND, retrains=changed(RETRAINED, seed=[0, 1]))[6][0] == "met"
    only = "Of 2 settings only k=2 has retrained cells of one recipe, so no two settings can be compared."
    assert points(FOUND, retrains=RETRAINED[:1])[6] == ("not met", only)
    assert points(FOUND, retrains=changed(RETRAINED, epochs=[600, 10]))[6][0] == "not met"
    assert points(FOUND[:1], retrains=RETRAINED)[6] == (
        OPEN,
        "The study has one setting, so there is nothing to compare.",
    )
    more = [*FOUND, search_row(8, 0, 80.0)]
    assert points(more, retrains=RETRAINED)[6] == (
        "partly",
        f"2 of 3 settings have cells retrained by one recipe ({recipe}).",
    )


def test_compute_is_seconds():
    assert points(GRID)[7][0] == "partly"
    assert points(FOUND, retrains=RETRAINED)[7][0] == "met"
    assert points(GRID, seconds=None)[7][0] == "not met"


def test_random_cells_count_once_retrained():
    method = ["random", *["pcdarts"] * 5]
    assert points(GRID, method="pcdarts")[8][0] == "not met"
    assert points(GRID, retrains=RETRAINED, method=method)[8] == (
        "partly",
        "1 random cell was drawn, but none was retrained.",
    )
    grid = [search_row(4, 9, 80.0, cell="DARTS_V1"), *GRID]
    random, found = RETRAINED[0], retrain_row(queue_row(GRID[0], 1), 96.0)
    method.append("pcdarts")
    assert points(grid, retrains=[random, found], method=method)[8] == (
        "met",
        "1 random cell was drawn; 1 retrained by the same recipe as searched cells.",
    )
    for retrained in ([random], [random, found | {"epochs": 10}], [random, RETRAINED[1]]):
        assert points(grid, retrains=retrained, method=method)[8] == (
            "partly",
            "1 random cell was retrained, but no searched cell by the same recipe.",
        )


def test_seeds_are_counted_by_setting():
    assert points(GRID[:5])[9] == ("partly", "k=4 has fewer than 3 seeds.")
    assert points(GRID[::3])[9][0] == "not met"


def test_confounders_are_named():
    assert points(changed(GRID[:2], device_name=["A", "B"]))[11] == ("partly", "The searches differ in device.")
    assert points(changed(GRID[:2], torch_version=[None, None]))[11] == ("partly", "Not recorded: PyTorch.")
    nothing = dict.fromkeys(("device_name", "torch_version", "python_version", "git_revision"))
    assert points(GRID, **nothing)[11][0] == "not met"


def test_the_set_up_is_whole_or_what_is_missing_is_named():
    assert points(GRID, described=False)[14] == (
        "partly",
        "Missing, at least for some rows: study.json with the exact command.",
    )
    assert points([*GRID, search_row(8, 0, None)])[14][0] == "met"


def test_the_section_counts_the_answers():
    frames = [table.to_arrow([]).to_pandas() for table in (SEARCHES, RETRAINS)]
    text, table = section(good_practice(*frames, described=False)).blocks
    assert text.text == "Of 14 points: 0 met, 0 partly met, 10 not met, 4 not decided by the tables."
    assert [row[0].split(".")[0] for row in table.rows] == [str(number) for number in range(1, 15)]
