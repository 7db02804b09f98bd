"""Study configurations: sweeps, ids, differences."""

import dataclasses
import json

import pytest

from orchestrator.config import SelectionConfig, StudyConfig
from orchestrator.presets import STUDIES, smoke, study_preset


def test_every_combination_is_searched_seeds_outermost():
    study = dataclasses.replace(smoke(), sweep={"k": (1, 2), "seed": (3, 4)})
    assert [(s.seed, s.k) for s in study.searches()] == [(3, 1), (3, 2), (4, 1), (4, 2)]
    assert len({s.search_id for s in study.searches()}) == 4


def test_a_setting_is_what_the_seeds_share():
    study = dataclasses.replace(smoke(), sweep={"k": (1, 2), "order": (1, 2), "seed": (3, 4)})
    assert study.setting(study.searches()[0]) == "k=1, order=1"
    single = dataclasses.replace(smoke(), sweep={"seed": (3, 4)})
    assert single.setting(single.searches()[0]) == "k=2"


@pytest.mark.parametrize("name", STUDIES)
def test_presets_survive_json(name):
    study = STUDIES[name]()
    assert StudyConfig.from_dict(json.loads(json.dumps(study.to_dict()))) == study
    assert study.differences(study) == []


def test_differences_name_field_old_and_new_value():
    old = smoke()
    new = dataclasses.replace(
        old,
        search=dataclasses.replace(old.search, epochs=3, data_dir="/elsewhere"),
        sweep=dict(old.sweep) | {"seed": (0,)},
        selection=SelectionConfig(top=3),
    )
    assert old.differences(new) == ["search.epochs: 2 -> 3", "sweep.seed: [0, 1] -> [0]", "selection.top: 1 -> 3"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../up"}, "study name is '../up'"),
        ({"name": ""}, "study name"),
        ({"sweep": {"seed": ()}}, "needs at least one"),
        ({"sweep": {"seed": (1, 1)}}, "each once"),
        ({"sweep": {"k": (3,)}}, "divides the channels"),
        ({"sweep": {"colour": (1,)}}, "no field of a search"),
    ],
)
def test_bad_studies_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(smoke(), **values)


def test_an_unknown_preset_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean cifar10"):
        study_preset("cifar")


@pytest.mark.parametrize("plain", [{}, {"name": "x"}, {"name": "x", "search": 1, "sweep": {}, "retrain": {}}])
def test_a_broken_description_is_a_value_error(plain):
    with pytest.raises(ValueError):
        StudyConfig.from_dict(plain)
