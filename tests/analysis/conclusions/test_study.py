"""Tests of analysis.conclusions.study, and of the sentences."""

import math

import pytest

from analysis.conclusions import conclude
from analysis.conclusions.sentences import other_origin
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from pcdarts.genotype import PUBLISHED
from tests.analysis.conclusions.tables import ALL_IMAGES, SHORT, Tables, digest, settings_with

WORSE, BETTER = [3.3, 3.5, 3.4, 3.6, 3.2, 3.4, 3.5, 3.3, 3.4], [3.0, 3.1, 3.0, 3.2, 2.9, 3.1, 3.0, 3.0, 3.1]
FULL = "600 epochs on cifar10 (final training)"


def concluded(tables):
    return conclude(*tables.frames())


def verdict(tables):
    return concluded(tables).verdict


def test_no_searches():
    nothing = (table.to_arrow([]).to_pandas() for table in (SEARCHES, QUEUE, RETRAINS))
    found = conclude(*nothing)
    assert found.verdict == ("No search has finished yet.",)
    assert found.settings == found.comparisons == found.orders == found.levels == found.published == ()
    assert found.level is found.recommendation is None and found.next_step == ""


def test_a_study_that_only_retrains_published_cells():
    tables = Tables()
    for name, errors in (("PC_DARTS_cifar", [2.5, 2.6]), ("DARTS_V2", [2.8])):
        before = len(tables.retrains)
        tables.train(0, errors, recipe=ALL_IMAGES)
        cell = {"genotype": str(PUBLISHED[name]), "genotype_digest": PUBLISHED[name].digest}
        tables.retrains[before:] = [row | cell for row in tables.retrains[before:]]
    assert verdict(tables) == (
        "The study trained given cells, without a search.",
        f"Test error of cells that no search found, after {FULL}: DARTS_V2 2.80 % (1 training) and "
        "PC_DARTS_cifar 2.55 ± 0.07 % (2 trainings).",
        "No cell is recommended: no retraining was validated, and test accuracy must not choose.",
    )


def test_cells_that_no_search_found_are_named_next_to_those_of_searches():
    tables = settings_with({"random": [3.2, 3.3]})
    tables.train(90, [2.5])
    assert verdict(tables)[1] == (
        f"Test error of cells that no search found, after {FULL}: {digest(90)} 2.50 % (1 training)."
    )


@pytest.mark.parametrize("images", [300, 2000])
def test_few_test_images_are_named_where_settings_are_compared(images):
    tables = settings_with({"k=2": BETTER, "k=4": WORSE})
    for row in tables.retrains:
        row["test_images"] = images
    text = (
        "The intervals are about these 300 test images: their number alone leaves an error of 3.40 % between 1.87 and "
        "6.11 %."
    )
    assert (text in verdict(tables)) == (images == 300)


def test_all_searches_failed():
    tables = Tables()
    tables.search("k=4", 0, None)
    found = concluded(tables)
    assert found.verdict == ("No search has a result.", "Of 1 search, 1 of k=4 failed.")
    assert found.settings[0].failed == 1 and found.next_step == ""


def test_no_retraining():
    tables = settings_with({"k=2": [], "k=4": []})
    tables.search("k=2", 0, 0, valid_accuracy=95.0)
    tables.search("k=4", 0, 1, valid_accuracy=90.0)
    found = concluded(tables)
    assert found.verdict[0] == "No setting can be called better: no cell of k=2 or k=4 was retrained."
    assert found.next_step == "Run `pcdarts retrain STUDY` to retrain the selected cells of every setting."
    assert len(found.groups) == 2 and "differ in k" in found.why_separate


def test_imported_searches_cannot_be_continued():
    tables = Tables()
    tables.search("k=4", 0, 0, device_name=None)
    assert concluded(tables).next_step == ""


def test_a_single_setting_without_retraining():
    tables = Tables()
    tables.search("k=4", 0, 0)
    assert verdict(tables)[0] == "No cell of k=4 was retrained, so nothing is known about the accuracy of its cells."


def test_partial_retraining_names_the_settings_without_cells():
    tables = settings_with({"k=2": BETTER, "k=4": [], "k=8": []})
    tables.search("k=4", 0, 90)
    tables.search("k=8", 0, 91)
    assert verdict(tables)[0] == (
        "No setting can be called better: no cell of k=4 or k=8 was retrained. 9 retrained cells of k=2 have a mean "
        f"test error of 3.04 ± 0.09 % after {FULL}."
    )


def test_trainings_that_are_missing_are_counted():
    tables = settings_with({"k=2": BETTER, "k=4": WORSE, "k=8": []})
    tables.search("k=8", 0, 90)
    tables.search("k=8", 1, 91)
    tables.train(90, [3.0])
    tables.wait(91)
    found = concluded(tables)
    assert found.verdict[2] == "Not compared: 1 of 2 selected cells of k=8 are trained."
    assert found.verdict[-1] == "1 training is queued or running: the conclusions can change."
    assert found.next_step == "Run `pcdarts retrain STUDY` to finish the queued trainings."


def test_one_setting_better_after_retraining():
    found = concluded(settings_with({"k=2": BETTER, "k=4": WORSE}))
    lead = found.comparisons[0].difference
    assert found.verdict[0] == (
        f"k=2 is better than k=4 (test error 0.36 percentage points lower [{lead.low:.2f}, {lead.high:.2f}]), after "
        f"{FULL}, over 9 search seeds."
    )
    assert [row.setting for row in found.settings] == ["k=2", "k=4"]


def test_one_shot_accuracy_has_no_say():
    """The verdict is the same whatever the one-shot accuracies are."""
    tables = settings_with({"k=2": BETTER, "k=4": WORSE})
    before = verdict(tables)
    tables.searches = [row | {"valid_accuracy": 99.0 if row["k"] == 4 else 80.0} for row in tables.searches]
    assert [s for s in verdict(tables) if "ne-shot" not in s] == [s for s in before if "ne-shot" not in s]


def test_equal_settings():
    found = concluded(settings_with({"k=2": BETTER, "k=4": BETTER[1:] + BETTER[:1]}))
    sentence = found.verdict[0]
    assert sentence.startswith("No significant difference between k=2 and k=4: test errors differ by 0.00 percentage")
    assert sentence.endswith("would have been found with a probability of 80 %.")


def test_several_equal_settings():
    found = concluded(settings_with({f"k={k}": BETTER[k:] + BETTER[:k] for k in (1, 2, 4)}))
    largest = max(each.detectable for each in found.comparisons)
    assert found.verdict[0] == (
        f"No significant difference between k=1, k=2 and k=4 in test error after {FULL}, over 9 search seeds; a "
        f"difference of {largest:.2f} percentage points would have been found with a probability of 80 %."
    )


def test_too_few_seeds():
    found = concluded(settings_with({"k=2": BETTER[:3], "k=4": WORSE[:3]}))
    assert found.verdict[0] == (
        "No setting can be called better: 3 search seeds with a retrained cell in both settings cannot decide between "
        "k=2 and k=4; at least 6 are needed."
    )
    assert "`--seeds`" in found.next_step and "selection.top=6" in found.next_step


def test_seeds_that_found_the_same_cell_are_not_independent():
    tables = settings_with({"k=4": BETTER[:6]})
    for seed in range(6):
        tables.search("k=2", seed, 90)
    tables.train(90, [3.5])
    found = concluded(tables)
    assert found.verdict[0] == (
        "No setting can be called better: 6 search seeds with a retrained cell in both settings (1 independent, as "
        "searches found the same cell) cannot decide between k=2 and k=4; at least 6 are needed."
    )
    assert "6 common search seeds that found different cells: add seeds (`--seeds`)" in found.next_step


def test_a_better_setting_comes_with_the_seeds_of_its_comparison():
    found = concluded(settings_with({"k=2": BETTER, "k=4": BETTER[:4], "k=8": WORSE}))
    assert found.verdict[0].startswith("k=2 is better than k=8 (")
    assert found.verdict[0].endswith("over 9 search seeds; too few seeds to compare k=2 with k=4 and k=4 with k=8.")


def test_several_settings_are_named_with_what_they_beat():
    found = concluded(settings_with({"k=2": BETTER, "k=4": WORSE, "k=8": [e + 0.02 for e in WORSE[::-1]]}))
    assert found.verdict[0].startswith("k=2 is better than k=4 (test error 0.36 percentage points lower")
    assert "]) and k=8 (test error 0.38 " in found.verdict[0]
    assert found.verdict[0].endswith("over 9 search seeds; no other two settings differ significantly.")


def test_what_restricts_a_comparison_is_said():
    tables = Tables()
    for cell in range(16):
        setting, seed = ("k=2", "k=4")[cell % 2], cell // 2
        tables.search(setting, seed, cell)
        if seed < 7:
            tables.train(cell, [8.0 + 0.1 * (seed % 3) + (cell % 2) * seed / 9], stage="rung", rung=1, recipe=SHORT)
    tables.train(0, [3.0])
    found = verdict(tables)
    assert "after 25 epochs on cifar10 (rung 1 of the race), over 7 search seeds" in found[0]
    assert found[2] == (
        "The longest training of all selected cells is 25 epochs on cifar10 (rung 1 of the race); after the final "
        "training, settings may compare differently. The comparison "
        "is between the cells that were retrained: 7 of 8 cells of k=2 and 7 of 8 cells of k=4."
    )


def test_random_cells_are_the_baseline():
    tables = settings_with({"k=2": BETTER, "k=4": WORSE, "random": [error + 0.01 for error in WORSE[::-1]]})
    found = concluded(tables)
    gains = {row.setting: row.gain.value for row in found.settings}
    assert gains["k=2"] == pytest.approx(0.37, abs=0.01) and gains["k=4"] == pytest.approx(0.01, abs=0.001)
    assert math.isnan(gains["random"])
    assert found.verdict[2].startswith("Better than random cells: k=2 (by 0.37 percentage points [")
    assert found.verdict[2].endswith("; not known for k=4.")
    without = settings_with({"k=2": BETTER})
    assert verdict(without)[2] == (
        "No random cell was retrained, so whether a search finds better cells than chance is not known."
    )


def test_random_cells_that_are_better():
    found = verdict(settings_with({"k=2": WORSE, "k=4": WORSE[::-1], "random": BETTER}))
    assert found[2].startswith("Worse than random cells: k=2 (by 0.36") and " and k=4 (by 0.36" in found[2]


def test_no_setting_is_known_to_beat_random_cells():
    found = verdict(settings_with({"k=2": WORSE, "k=4": WORSE[::-1], "random": WORSE[1:] + WORSE[:1]}))
    assert found[2] == "Whether k=2 and k=4 find better cells than chance is not known."


def test_random_cells_of_another_space_are_no_baseline():
    tables = settings_with({"k=2": WORSE, "k=4": WORSE[::-1], "random": BETTER})
    tables.searches = [row | {"space": "s1" if row["method"] == "random" else "darts"} for row in tables.searches]
    found = concluded(tables)
    assert not any("orse than random" in sentence for sentence in found.verdict)
    assert all(math.isnan(row.gain.value) for row in found.settings)


def test_failed_trainings_are_counted():
    tables = settings_with({"k=4": [3.0, 3.1]})
    tables.search("k=4", 2, 90)
    tables.train(90, [None, None])
    assert verdict(tables)[-1] == "2 trainings of cells failed."


def test_collapsed_and_failed_searches_are_counted_by_setting():
    tables = Tables()
    tables.search("k=4", 0, 0, warnings="epoch 8: 5 skip connections")
    tables.search("k=4", 1, None)
    tables.search("k=8", 0, 1)
    assert verdict(tables)[-1] == "Of 3 searches, 1 of k=4 failed; a collapse rule fired in 1 of k=4."


def test_the_cell_its_error_and_how_sure():
    tables = Tables()
    for cell, error in enumerate([3.0, 4.0]):
        tables.search("k=4", cell, cell)
        tables.train(cell, [error - 0.05, error + 0.05], validated=[error - 0.05, error + 0.05])
    tables.train(0, [2.7, 2.8], stage="published", recipe=ALL_IMAGES)
    found = concluded(tables)
    cell, error = found.verdict[1].split(". ", 1)
    assert cell.startswith(
        f"Recommended cell: {digest(0)} (k=4, seed 0); the best of 2 cells by validation accuracy after {FULL}"
    )
    assert f"better than the next one, {digest(1)}, with a probability of" in cell
    assert error.startswith("Its test error is 2.75 % [") and "made after the choice" in error


def test_sentences_of_a_cell_without_repeats():
    found = verdict(settings_with({"k=4": [3.0, 3.2]}))
    assert "; how sure that is, is not known, as the deviation between trainings of a cell is unknown. Its" in found[1]
    assert " % ([2.68, 3.35] for the number of test images alone), from" in found[1]
    assert found[1].endswith(
        "from the training that took part in the choice, and not corrected for it: too low on average."
    )


def test_cells_with_equal_accuracies_are_tied():
    found = concluded(settings_with({"k=4": [3.0, 3.2, 3.0, 3.0]}))
    assert len(found.recommendation.tied) == 2 and digest(1) not in found.recommendation.tied
    assert " (equal to 2 other cells; ties go to fewer multiply-adds); how sure that is, is" in found.verdict[1]


def test_a_study_that_was_not_validated_recommends_no_cell():
    tables = Tables()
    tables.search("k=4", 0, 0)
    tables.train(0, [3.0])
    assert "No cell is recommended: no retraining was validated, and test accuracy must not choose." in verdict(tables)


def test_names_with_commas_are_told_apart():
    tables = settings_with({"k=4, order=1": [], "k=4, order=2": []})
    tables.search("k=4, order=1", 0, 0)
    tables.search("k=4, order=2", 0, 1, order=2)
    assert verdict(tables)[0].endswith("no cell of k=4, order=1; or k=4, order=2 was retrained.")


def test_many_settings_are_not_all_named():
    tables = Tables()
    for number in range(10):
        tables.search(f"setting {number}", 0, number)
    assert verdict(tables)[0].endswith("no cell of 10 settings was retrained.")


def test_a_cell_that_no_search_found_is_published_or_added_by_hand():
    assert other_origin(PUBLISHED["DARTS_V2"].digest) == "published as DARTS_V2"
    assert other_origin("0" * 16) == "added by hand"
