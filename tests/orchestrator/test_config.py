"""Study configurations: sweeps, ids, differences."""

import dataclasses
import json

import pytest

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig, StudyConfig, rungs_text
from orchestrator.presets import STUDIES, smoke, study_preset
from pcdarts.config import SearchConfig
from pcdarts.presets import RECIPES


def test_every_combination_is_searched_seeds_outermost():
    study = dataclasses.replace(smoke(), sweep={"k": (1, 2), "seed": (3, 4)})
    assert [(s.seed, s.k) for s in study.searches()] == [(3, 1), (3, 2), (4, 1), (4, 2)]
    assert len({s.search_id for s in study.searches()}) == 4


def test_searches_with_fewer_epochs_than_the_common_ones_have_shorter_warm_ups():
    study = dataclasses.replace(STUDIES["pc-darts-iclr"](), sweep={"epochs": (25, 50, 75)})
    assert [(s.epochs, s.warmup_epochs) for s in study.searches()] == [(25, 8), (50, 15), (75, 15)]
    longer = dataclasses.replace(study, search=dataclasses.replace(study.search, epochs=75))
    assert [s.warmup_epochs for s in longer.searches()] == [5, 10, 15]
    assert study.differences(longer) == ["search.epochs: 50 -> 75"] and not longer.extends(study)
    given = dataclasses.replace(study, sweep={"epochs": (25, 50), "warmup_epochs": (10,)})
    assert [s.warmup_epochs for s in given.searches()] == [10, 10]


def test_a_setting_is_what_the_seeds_share():
    study = dataclasses.replace(smoke(), sweep={"k": (1, 2), "order": (1, 2), "seed": (3, 4)})
    assert study.setting(study.searches()[0]) == "k=1, order=1"
    single = dataclasses.replace(smoke(), sweep={"seed": (3, 4)})
    assert single.setting(single.searches()[0]) == "k=2"


def methods(**sweep):
    return dataclasses.replace(smoke(), sweep={"seed": (0,), "method": ("pcdarts", "darts", "random"), **sweep})


def test_combinations_that_amount_to_the_same_search_are_searched_once():
    found = [(s.method, s.k) for s in methods(k=(2, 4)).searches()]
    assert found == [("pcdarts", 2), ("pcdarts", 4), ("darts", 1), ("random", 2)]
    assert len(methods(k=(2, 4), order=(1, 2)).searches()) == 4 + 2 + 1
    assert len(methods(space=("darts", "s2")).searches()) == 6


def test_a_setting_names_no_field_that_its_method_does_not_use():
    def settings(study):
        return [study.setting(search) for search in study.searches()]

    assert settings(methods()) == ["method=pcdarts, k=2", "method=darts", "method=random"]
    assert settings(methods(k=(2, 4)))[:2] == ["method=pcdarts, k=2", "method=pcdarts, k=4"]
    assert settings(methods(order=(1, 2)))[2:] == ["method=darts, order=1", "method=darts, order=2", "method=random"]
    assert settings(methods(space=("s1", "s2")))[-2:] == ["method=random, space=s1", "method=random, space=s2"]
    one = dataclasses.replace(smoke(), search=SearchConfig(method="darts"), sweep={"k": (2, 4)})
    assert settings(one) == ["method=darts"]
    spaces = dataclasses.replace(smoke(), sweep={"space": ("darts", "s2")})
    assert settings(spaces) == ["space=darts", "space=s2"]


def test_every_setting_of_a_study_has_its_own_name():
    study = methods(k=(2, 4), space=("darts", "s2"), edge_normalization=(True, False))
    names = [study.setting(search) for search in study.searches()]
    assert len(set(names)) == len(names)


def test_official_darts_is_searched_once_whatever_is_swept_of_what_it_sets():
    compared = ("pcdarts", "darts-official", "random")
    study = methods(method=compared, k=(1, 2), side_operation=("none", "conv_1x1"), order=(1, 2))
    official = [s for s in study.searches() if s.method == "darts-official"]
    assert [(s.k, s.side_operation, s.order, s.batch_size) for s in official] == [
        (1, "none", 1, 64),
        (1, "none", 2, 64),
    ]
    names = [study.setting(search) for search in study.searches()]
    assert len(set(names)) == len(names) == 2 * 2 * 2 + 2 + 1
    assert [name for name in names if "official" in name] == [f"method=darts-official, order={n}" for n in (1, 2)]
    assert {s.warmup_epochs for s in study.searches() if s.method != "darts-official"} == {1}
    alone = dataclasses.replace(smoke(), sweep={"seed": (0,), "method": compared})
    assert [alone.setting(s) for s in alone.searches()][1:] == ["method=darts-official", "method=random"]


def test_a_common_part_that_has_forgotten_k_is_refused():
    for method in ("darts", "darts-official"):
        common = dataclasses.replace(smoke().search, method=method)
        with pytest.raises(ValueError, match=f"search.method is {method}, .* k, .*; set search.method to pcdarts"):
            dataclasses.replace(smoke(), search=common, sweep={"method": (method, "pcdarts")})
        assert len(dataclasses.replace(smoke(), search=common, sweep={"method": (method,)}).searches()) == 1


@pytest.mark.parametrize("name", STUDIES)
def test_presets_survive_json(name):
    study = STUDIES[name]()
    assert StudyConfig.from_dict(json.loads(json.dumps(study.to_dict()))) == study
    assert study.differences(study) == []


def test_a_study_that_was_stored_before_there_was_a_race_has_none():
    study = dataclasses.replace(smoke(), race=RaceConfig())
    plain = study.to_dict()
    del plain["race"], plain["final"]
    old = StudyConfig.from_dict(plain)
    assert old == study and old.differences(dataclasses.replace(old, race=RaceConfig(recipe=RECIPES["digits"]()))) == []
    assert old.differences(smoke())[0] == 'race.rungs: "" -> "1x2:1"'


def test_a_study_with_the_proxy_stage_of_an_earlier_version_is_refused():
    plain = smoke().to_dict()
    del plain["race"]
    assert StudyConfig.from_dict(plain | {"proxy": {"top": 0}}).race == RaceConfig()
    with pytest.raises(ValueError, match="proxy stage is of an earlier version"):
        StudyConfig.from_dict(plain | {"proxy": {"top": 8}})


def test_the_stages_have_their_recipes_with_seeds_that_follow():
    race = RaceConfig(rungs=(Rung(epochs=3, keep=4), Rung(epochs=9, seeds=2, keep=2)), recipe=RECIPES["imagenet"]())
    final = FinalConfig(seeds=3, published=1, recipes=("digits",))
    study = dataclasses.replace(smoke(), race=race, final=final, retrain=dataclasses.replace(smoke().retrain, seed=7))
    assert [stage.name for stage in study.stages()] == ["rung 1", "rung 2", "final", "published", "recipe digits"]
    assert [[recipe.seed for recipe in stage.recipes()] for stage in study.stages()] == [[0], [0, 1], *[[7, 8, 9]] * 3]
    assert [stage.recipe.epochs for stage in study.stages()] == [3, 9, 2, 2, 12]
    assert [stage.recipe.learning_rate_warmup_epochs for stage in study.stages()[:2]] == [0, 0]  # 5 of 250 epochs
    first, _, full, published, _ = (stage.recipe for stage in study.stages())
    assert dataclasses.replace(published, validation_portion=full.validation_portion) == full == study.retrain
    assert dataclasses.replace(first, epochs=250, learning_rate_warmup_epochs=5) == race.recipe


def test_rungs_are_written_as_they_are_read():
    rungs = (Rung(epochs=25, keep=4), Rung(epochs=100, seeds=2, keep=2))
    assert rungs_text(rungs) == "25x1:4,100x2:2" and tuple(map(Rung.parse, rungs_text(rungs).split(","))) == rungs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"race": RaceConfig(rungs=(Rung(epochs=2, keep=1),), recipe=smoke().retrain)},
            "rung 1 and final .* fewer epochs",
        ),
        ({"final": FinalConfig(recipes=("smoke",))}, "final and recipe smoke .* leave smoke out of final.recipes"),
        (
            {
                "final": FinalConfig(published=1),
                "retrain": dataclasses.replace(smoke().retrain, validation_portion=0.0),
            },
            "final and published .* set final.published=0",
        ),
    ],
)
def test_stages_that_would_train_the_same_jobs_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(smoke(), **values)


def test_differences_name_field_old_and_new_value():
    old = smoke()
    new = dataclasses.replace(
        old,
        search=dataclasses.replace(old.search, epochs=3, data_dir="/elsewhere"),
        sweep=dict(old.sweep) | {"seed": (0,)},
        selection=SelectionConfig(top=3),
    )
    assert old.differences(new) == ["search.epochs: 2 -> 3", "sweep.seed: [0, 1] -> [0]", "selection.top: 1 -> 3"]


def test_differences_name_fields_at_their_default():
    old = dataclasses.replace(smoke(), search=SearchConfig(), sweep={"seed": (0,)})
    new = dataclasses.replace(old, search=SearchConfig(k=8))
    assert old.differences(new) == ["search.k: 4 -> 8"] and new.differences(old) == ["search.k: 8 -> 4"]


def test_a_study_stored_before_a_field_existed_has_its_default(monkeypatch):
    plain = smoke().to_dict()
    later = dataclasses.make_dataclass(
        "Later", [("new_field", int, 0)], bases=(SearchConfig,), frozen=True, kw_only=True
    )
    monkeypatch.setattr("orchestrator.config.SearchConfig", later)
    old = StudyConfig.from_dict(plain)
    assert old.search.new_field == 0
    assert [search.search_id for search in old.searches()] == [search.search_id for search in smoke().searches()]
    new = dataclasses.replace(old, search=dataclasses.replace(old.search, new_field=1))
    assert old.differences(new) == ["search.new_field: 0 -> 1"] and not new.extends(old)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../up"}, "study name is '../up'"),
        ({"name": ""}, "study name"),
        ({"sweep": {"seed": ()}}, "must have at least one value"),
        ({"sweep": {"seed": (1, 1)}}, "each only once"),
        ({"sweep": {"k": (3,)}}, "divides the channels"),
        ({"sweep": {"colour": (1,)}}, "not a field of a search"),
    ],
)
def test_bad_studies_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(smoke(), **values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rung(epochs=0, keep=1), "epochs is 0"),
        (lambda: Rung(epochs=1, keep=0), "keep is 0"),
        (lambda: RaceConfig(rungs=(Rung(epochs=2, keep=2), Rung(epochs=2, keep=1))), "rungs is 2x1:2,2x1:1, but every"),
        (lambda: RaceConfig(rungs=(Rung(epochs=1, keep=2), Rung(epochs=2, keep=2))), "change 2x1:2"),
        (lambda: RaceConfig(rungs=[]), "rungs is .*, but must be a list of Rung"),
        (lambda: FinalConfig(seeds=0), "seeds is 0"),
        (lambda: FinalConfig(recipes=("nothing",)), "recipes is nothing, but must name recipes, each once: cifar10, "),
        (lambda: FinalConfig(recipes=("smoke", "smoke")), "recipes is smoke,smoke"),
        (
            lambda: FinalConfig(cells=("DARTS",)),
            "cells is DARTS, but must name published cells, each once: PC_DARTS_cifar",
        ),
        (lambda: FinalConfig(cells=("DARTS_V2", "DARTS_V2")), "cells is DARTS_V2,DARTS_V2"),
    ],
)
def test_bad_races_and_finals_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_race_needs_validation():
    with pytest.raises(ValueError, match="recipe.validation_portion is 0, but must be above 0, because validation"):
        RaceConfig(recipe=dataclasses.replace(smoke().retrain, validation_portion=0.0))


def test_an_unknown_preset_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean cifar10"):
        study_preset("cifar")


@pytest.mark.parametrize("plain", [{}, {"name": "x"}, {"name": "x", "search": 1, "sweep": {}, "retrain": {}}])
def test_a_broken_description_is_a_value_error(plain):
    with pytest.raises(ValueError):
        StudyConfig.from_dict(plain)


def test_names_of_settings_must_stay_when_searches_are_added():
    one = dataclasses.replace(smoke(), sweep={"seed": (0,), "order": (1,)})
    two = dataclasses.replace(one, sweep={"seed": (0,), "order": (1, 2)})
    assert not two.extends(one) and dataclasses.replace(one, sweep={"seed": (0, 1), "order": (1,)}).extends(one)
    assert not dataclasses.replace(one, selection=SelectionConfig(top=9)).extends(one)


def test_a_study_that_sweeps_epochs_can_get_fewer_ones():
    """`differences` then names search.epochs, of which the new warm-ups are a share; the old searches stay."""
    study = study_preset("stability")
    fewer = dataclasses.replace(study, sweep={**study.sweep, "epochs": (25, *study.sweep["epochs"])})
    assert fewer.extends(study) and not study.extends(fewer)
    assert not dataclasses.replace(fewer, search=dataclasses.replace(study.search, batch_size=64)).extends(study)
