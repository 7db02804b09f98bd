"""What simulated studies of known truth may conclude, in the tables of `conclude` and in the text of the report."""

import math
import re
from functools import cache

import numpy as np
import pytest

from analysis.conclusions import conclude
from analysis.report.build import build
from analysis.report.formats import markdown
from analysis.study_data import StudyData
from tests.simulated import PUBLISHED, Setting, SimulatedStudy


def simulated(*settings, seed=1):
    return SimulatedStudy(settings=settings, generator=np.random.default_rng(seed))


def retrained(*settings, seed=1, cells=None, **options):
    """A study whose cells, or those of the settings `cells`, were trained in full."""
    study = simulated(*settings, seed=seed)
    study.retrain(study.cells(*cells or ()), **options)
    return study


def equal():
    return retrained(Setting(k=2, searches=8), Setting(k=4, searches=8))


def better_by_one_shot_only():
    return retrained(Setting(k=2, searches=8, one_shot=92.0), Setting(k=4, searches=8, one_shot=85.0))


def better_after_retraining():
    """k = 4 is better by three deviations, and worse by one-shot accuracy."""
    return retrained(Setting(k=2, searches=8, one_shot=92.0), Setting(k=4, searches=8, one_shot=85.0, accuracy=97.5))


def collapsed():
    """Three collapsed searches of k = 2 look best by one-shot accuracy and are worst after retraining."""
    return retrained(Setting(k=2, searches=8, collapsed=(0, 3, 5)), Setting(k=4, searches=8))


def too_few_seeds():
    return retrained(Setting(k=2, searches=3), Setting(k=4, searches=3, accuracy=97.6))


def not_retrained():
    return simulated(Setting(k=2, one_shot=92.0), Setting(k=4, one_shot=85.0))


def partly_retrained():
    """No cell of k = 8 was trained."""
    return retrained(Setting(k=2, searches=8), Setting(k=4, searches=8), Setting(k=8, searches=8), cells=["k=2", "k=4"])


def single_setting():
    return retrained(Setting(searches=8))


def random_is_better():
    return retrained(Setting(searches=8, accuracy=96.5), Setting(method="random", searches=8, accuracy=97.1))


def random_is_worse():
    return retrained(Setting(searches=8, accuracy=97.1), Setting(method="random", searches=8, accuracy=96.5))


def race():
    """A race between two settings and random cells, and fresh trainings of the winner."""
    settings = (Setting(k=2, searches=8), Setting(k=4, searches=8, accuracy=97.2))
    study = simulated(*settings, Setting(method="random", searches=8, accuracy=96.9))
    kept = study.race([(25, 1, 10), (100, 2, 3)])
    study.retrain(kept, seeds=3)
    best = study.best(kept, rung=None, keep=1, each_setting=False)
    study.retrain(best, PUBLISHED, stage="published", seeds=3)
    return study


def failures():
    """All searches of k = 8 failed, one of k = 4, and one retraining."""
    settings = (Setting(k=2, searches=8), Setting(k=4, searches=8, failed=(2,)), Setting(k=8, failed=(0, 1, 2, 3, 4)))
    study = simulated(*settings)
    study.retrain(study.cells(), failed=study.cells("k=2")[:1])
    return study


STUDIES = {
    make.__name__: make
    for make in (
        equal,
        better_by_one_shot_only,
        better_after_retraining,
        collapsed,
        too_few_seeds,
        not_retrained,
        partly_retrained,
        single_setting,
        random_is_better,
        random_is_worse,
        race,
        failures,
    )
}


@cache
def concluded(name):
    return conclude(*STUDIES[name]().frames())


def outcomes(name):
    return {(each.first, each.second): each.outcome for each in concluded(name).comparisons}


def verdict(name):
    return " ".join(concluded(name).verdict)


def row(name, setting):
    (found,) = (row for row in concluded(name).settings if row.setting == setting)
    return found


@pytest.mark.parametrize("name", ["equal", "better_by_one_shot_only", "failures"])
def test_equal_settings_are_not_told_apart_whatever_their_one_shot_accuracy(name):
    assert outcomes(name)["k=2", "k=4"] == "none"
    assert verdict(name).startswith("No significant difference between k=2 and k=4")
    assert "is better" not in verdict(name)


def test_one_shot_accuracy_changes_no_conclusion_about_settings():
    first, second = concluded("equal"), concluded("better_by_one_shot_only")
    assert first.verdict[0] == second.verdict[0] and first.comparisons == second.comparisons
    assert first.settings == second.settings and first.recommendation == second.recommendation


def test_a_setting_that_is_better_after_retraining_is_called_better():
    assert outcomes("better_after_retraining") == {("k=2", "k=4"): "second"}
    assert verdict("better_after_retraining").startswith("k=4 is better than k=2")
    (comparison,) = concluded("better_after_retraining").comparisons
    assert comparison.difference.low < -0.5 < comparison.difference.high < 0


def test_collapsed_searches_count_with_their_bad_cells():
    collapsed = row("collapsed", "k=2")
    assert (collapsed.searches, collapsed.collapsed, collapsed.retrained, collapsed.failed) == (8, 3, 8, 0)
    assert collapsed.worst > 3.5 > row("collapsed", "k=4").worst
    assert "a collapse rule fired in 3 of k=2" in verdict("collapsed")
    assert "k=2 is better" not in verdict("collapsed")
    assert concluded("collapsed").recommendation.found_by[0] not in [f"k=2, seed {seed}" for seed in (0, 3, 5)]


def test_too_few_seeds_decide_nothing_however_large_the_difference():
    assert outcomes("too_few_seeds") == {("k=2", "k=4"): "too few"}
    assert verdict("too_few_seeds").startswith("No setting can be called better: 3 search seeds")
    assert "at least 6 are needed" in verdict("too_few_seeds")


def test_without_retraining_nothing_is_better_and_the_command_is_named():
    found = concluded("not_retrained")
    assert found.verdict[0] == "No setting can be called better: no cell of k=2 or k=4 was retrained."
    assert found.level is None and found.recommendation is None and found.comparisons == ()
    assert "pcdarts retrain" in found.next_step
    assert all(math.isnan(setting.test_error) for setting in found.settings)


def test_a_setting_without_retrained_cells_is_named_and_not_compared():
    assert set(concluded("partly_retrained").left_out) == {"k=8"}
    assert set(outcomes("partly_retrained")) == {("k=2", "k=4")}
    assert "no cell of k=8 was retrained" in verdict("partly_retrained")


def test_a_single_setting_has_no_comparison():
    assert concluded("single_setting").comparisons == ()
    assert verdict("single_setting").startswith("8 retrained cells of k=4 have a mean test error of")
    assert "No random cell was retrained" in verdict("single_setting")


def test_random_cells_that_are_better_than_the_searched_ones_are_called_better():
    gain = row("random_is_better", "k=4").gain
    assert gain.low < -0.6 < gain.high < 0
    assert verdict("random_is_better").startswith("method=random is better than k=4")
    gain = row("random_is_worse", "k=4").gain
    assert 0 < gain.low < 0.6 < gain.high
    assert verdict("random_is_worse").startswith("k=4 is better than method=random")


def test_a_race_compares_settings_where_all_cells_were_trained_and_reports_fresh_trainings():
    found = concluded("race")
    assert (found.level.stage, found.level.rung, found.level.cells) == ("rung", 1, 24)
    assert [level.stage for level in found.levels] == ["rung", "rung", "final", "published"]
    assert {each.pairs for each in found.comparisons} == {8}
    best = found.recommendation
    assert best.chosen_at.stage == "final" and best.reported_at.stage == "published" and best.fresh
    assert (best.trainings, best.candidates) == (3, 3) and 0.5 <= best.beats_next <= 1
    assert best.test_error.low < best.test_error.value < best.test_error.high


def test_a_setting_without_results_is_listed_and_not_compared():
    failed = row("failures", "k=8")
    assert (failed.searches, failed.failed, failed.retrained) == (0, 5, 0)
    assert [each.setting for each in concluded("failures").settings] == ["k=2", "k=4", "k=8"]
    assert "6 failed" in verdict("failures")


def slow_unless(*names):
    """All studies as parameters; a report takes a second or two."""
    return [pytest.param(name, marks=[] if name in names else pytest.mark.slow) for name in STUDIES]


@pytest.mark.parametrize("name", slow_unless("better_by_one_shot_only", "not_retrained"))
def test_the_report_opens_with_the_verdict_and_ranks_no_setting_by_one_shot_accuracy(name, tmp_path):
    store = STUDIES[name]().write(str(tmp_path / name), epochs=10 * (name == "race"))
    text = markdown(build(StudyData(store=store))).replace("\\", "")
    assert concluded(name).verdict[0] in text[:2000]
    assert "best setting" not in text.lower()
    for sentence in re.split(r"(?<=[.:;|])\s", text):
        if re.search("one-shot", sentence, re.IGNORECASE):
            assert not re.search(r"k=\d+ (is|are) (better|best)|significantly|outperforms", sentence), sentence
