"""Study presets: enough seeds for what they compare, and the table in the docs."""

import math
import re
from pathlib import Path

import pytest

from analysis.conclusions.power import seeds_needed
from orchestrator.presets import RETRAIN_AT_ONCE, STUDIES

COMPARISONS = ("baselines", "cifar10", "ablation-k", "ablation-parts", "ablation-journal", "stability")
COMPARISONS += ("cifar10-baselines", "robust-spaces")
PUBLISHED = ("published-cifar10", "published-imagenet")
EXPERIMENTS = (*COMPARISONS[2:], *PUBLISHED)
"""Presets of the papers' experiments."""
DEVIATION, DIFFERENCE = 0.2, 0.3
"""Percentage points: of cells of one setting after retraining, and between settings."""
PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"


def settings(study):
    return {study.setting(search) for search in study.searches()}


@pytest.mark.parametrize("name", COMPARISONS)
def test_settings_have_the_seeds_that_their_comparison_needs(name):
    study = STUDIES[name]()
    pairs = math.comb(len(settings(study)), 2)
    assert len(study.sweep["seed"]) == seeds_needed(DEVIATION * math.sqrt(2), DIFFERENCE, pairs)
    assert study.selection.top == len(study.sweep["seed"])  # all cells are compared


@pytest.mark.parametrize("name", COMPARISONS[2:])
def test_every_setting_of_a_comparison_reaches_the_full_training(name):
    study = STUDIES[name]()
    assert [rung.keep for rung in study.race.rungs] == [2 * len(settings(study)), len(settings(study))]
    assert study.final.seeds == 3 and study.final.published == 1


def test_other_presets_with_several_settings_say_that_they_cannot_compare_them():
    others = [name for name in STUDIES if name not in COMPARISONS and len(settings(STUDIES[name]())) > 1]
    assert others == ["demo", "own", "smoke"]
    assert all("too few to compare" in STUDIES[name].__doc__ for name in ("demo", "own"))
    assert "try out" in STUDIES["smoke"].__doc__


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_are_trained_on_all_training_images_next_to_random_ones(name):
    study = STUDIES[name]()
    assert study.retrain.validation_portion == 0 and not study.race.rungs
    assert settings(study) == {"method=random"} and study.selection.top == len(study.final.cells) == 3


def test_the_page_on_experiments_has_every_preset_with_its_seeds():
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", PAGE.read_text(), flags=re.MULTILINE)
    assert [name for name, _ in rows] == 2 * list(EXPERIMENTS)  # what it is, and what it costs
    for name, text in rows[: len(EXPERIMENTS)]:
        study = STUDIES[name]()
        count = study.final.seeds if name in PUBLISHED else len(study.sweep["seed"])
        assert f"{count} {'training' if name in PUBLISHED else 'seed'}" in text


def test_short_presets_retrain_at_once():
    short = ("digits", "folder", "synthetic")
    assert {name for name in STUDIES if STUDIES[name]().search.dataset in short} == RETRAIN_AT_ONCE
