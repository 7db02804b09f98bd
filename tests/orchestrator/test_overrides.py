"""Changes to a study by the names of its fields."""

import dataclasses

import pytest

from orchestrator.config import Rung, StudyConfig, StudyImages
from orchestrator.options import RunOptions
from orchestrator.overrides import FIELDS, override_options, override_study, parse_assignments
from orchestrator.presets import STUDIES, smoke
from pcdarts.presets import RECIPES, fashion


def quiet(text):
    """Where nothing is to be said."""
    raise AssertionError(text)


def study(preset, *assignments, say=quiet):
    return override_study(STUDIES[preset](), parse_assignments(assignments), say=say)


def test_values_are_read_by_the_type_of_their_field():
    texts = ("search.k=2,4", "search.order=1", "search.learning_rate=1", "search.edge_normalization=False", "name=a,b")
    assert parse_assignments([*texts, "sweep.seed=3", "run.wait=true", "search.data_dir=/a,b"]) == {
        "search.k": [2, 4],
        "search.order": 1,
        "search.learning_rate": 1.0,
        "search.edge_normalization": False,
        "name": "a,b",
        "sweep.seed": [3],
        "run.wait": True,
        "search.data_dir": "/a,b",
    }
    assert parse_assignments(["search.k=2", "search.k=4"]) == {"search.k": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search.k", "'search.k' is not an assignment; write SECTION.FIELD=VALUE, as in search.k=2,4"),
        ("search.learnig_rate=1", "search.learnig_rate is not a field; did you mean search.learning_rate?"),
        ("serch.k=1", "serch.k is not a field; did you mean search.k?"),
        ("race.epochs=1", "race.epochs is not a field; did you mean race.recipe.epochs?"),
        ("race.rungs=25", "race.rungs has '25', but each rung must be EPOCHSxSEEDS:KEEP, each at least 1, as in 25"),
        ("race.rungs=0x1:2", "race.rungs has '0x1:2', but each rung must be EPOCHSxSEEDS:KEEP"),
        ("max_macs=1", "max_macs is not a field; did you mean selection.max_macs?"),
        (
            "learning_rate=1",
            "learning_rate is not a field; did you mean search.learning_rate or race.recipe.learning_rate or "
            "retrain.learning_rate?",
        ),
        ("colour=1", "colour is not a field; `pcdarts run --help-fields` lists them"),
        ("search.k=a", "search.k is 'a', but must be an integer"),
        ("search.k=2,", "search.k is '', but must be an integer"),
        ("search.learning_rate=fast", "search.learning_rate is 'fast', but must be a number"),
        ("run.wait=maybe", "run.wait is 'maybe', but must be true or false"),
        ("search.stem=mnist", "search.stem is 'mnist', but must be one of cifar, imagenet"),
        ("retrain.preset=cifar", "retrain.preset is 'cifar', but must be one of cifar10, imagenet, "),
    ],
)
def test_bad_assignments_are_refused(text, message):
    with pytest.raises(ValueError) as error:
        parse_assignments([text])
    assert str(error.value).startswith(message)


def test_no_change_is_the_study_itself():
    for make in STUDIES.values():
        assert override_study(make(), {}) == override_study(make(), {"run.workers": 2}) == make()


def test_lists_are_swept_and_single_values_are_not():
    result = study("smoke", "search.seed=5", "search.k=4", "search.order=1,2", "search.learning_rate=0.2")
    assert result.sweep == {"seed": (5,), "k": (4,), "order": (1, 2)}
    assert result.search.learning_rate == 0.2
    assert [result.setting(s) for s in result.searches()] == ["order=1", "order=2"]


def test_a_single_value_replaces_the_list_of_a_swept_field():
    assert [s.k for s in study("cifar10", "search.k=2").searches()] == [2] * 10
    assert study("cifar10", "search.k=2,4").extends(study("cifar10", "search.k=2"))


def test_the_common_part_is_made_with_values_that_are_searched():
    assert [s.k for s in study("smoke", "search.channels=6", "search.k=3,6").searches()] == [3, 6, 3, 6]


def test_warm_up_keeps_its_share_of_fewer_epochs():
    said = []
    result = study("fashion", "search.epochs=2", say=said.append)
    assert (fashion().warmup_epochs, fashion().epochs, result.search.warmup_epochs) == (3, 8, 1)
    assert said == [
        "search.warmup_epochs is 1 instead of 3, in proportion to 2 of 8 epochs; --set search.warmup_epochs=N sets it"
    ]
    assert study("fashion", "search.epochs=1", say=said.append).search.warmup_epochs == 0
    assert study("fashion", "search.epochs=4", "search.warmup_epochs=3").search.warmup_epochs == 3


def test_warm_up_keeps_its_length_with_more_epochs():
    assert study("cifar10", "search.epochs=150").search.warmup_epochs == 15
    assert {s.warmup_epochs for s in study("cifar10", "search.epochs=50,75").searches()} == {15}


def warmups(study):
    return {search.epochs: search.warmup_epochs for search in study.searches() if search.k == 4}


def test_every_search_of_swept_epochs_has_its_own_warm_up():
    said = []
    result = study("cifar10", "search.epochs=75,25,50", say=said.append)
    assert warmups(result) == {75: 15, 25: 8, 50: 15}
    assert said == [
        "search.warmup_epochs is 8 instead of 15, in proportion to 25 of 50 epochs; the official code keeps 15; "
        "--set search.warmup_epochs=N sets it"
    ]
    again = override_study(result, parse_assignments(["search.epochs=20"]), say=said.append)
    assert warmups(again) == {20: 6} and "search.warmup_epochs is 6 instead of 15" in said[1]
    assert StudyConfig.from_dict(result.to_dict()) == result


def test_a_given_warm_up_holds_for_all_swept_epochs():
    assert warmups(study("cifar10", "search.epochs=25,50,75", "search.warmup_epochs=20")) == {25: 20, 50: 20, 75: 20}
    with pytest.raises(ValueError, match=r"search\.warmup_epochs is 30, but must be .* less than epochs \(25\)"):
        study("cifar10", "search.epochs=50,25", "search.warmup_epochs=30")
    both = study("cifar10", "search.epochs=25,50", "search.warmup_epochs=5,10").searches()
    assert {(s.epochs, s.warmup_epochs) for s in both} == {(25, 5), (25, 10), (50, 5), (50, 10)}


def test_warm_up_of_the_retraining_keeps_its_share_too():
    said = []
    result = study("imagenet", "retrain.epochs=50", say=said.append)
    assert (result.retrain.learning_rate_warmup_epochs, result.search.warmup_epochs) == (1, 35)
    assert said == [
        "retrain.learning_rate_warmup_epochs is 1 instead of 5, in proportion to 50 of 250 epochs; the official code "
        "keeps 5; --set retrain.learning_rate_warmup_epochs=N sets it"
    ]


@pytest.mark.parametrize("given", ["pcdarts,darts", "darts,pcdarts"])
def test_methods_are_swept_and_pcdarts_keeps_its_k(given):
    result = study("smoke", f"search.method={given}")
    assert {(s.method, s.k) for s in result.searches()} == {("pcdarts", 1), ("pcdarts", 2), ("darts", 1)}
    only = study("demo", "search.method=darts")
    assert [s.k for s in only.searches()] == [1, 1, 1] and "method" not in only.sweep
    assert study("baselines", "search.method=random").sweep["method"] == ("random",)


def test_a_field_that_the_method_sets_is_named():
    said = []
    result = study("demo", "search.method=darts-official", "search.k=2,4", "search.batch_size=32", say=said.append)
    assert {(s.k, s.batch_size) for s in result.searches()} == {(1, 64)}
    assert said == [
        "search.batch_size has no effect: method darts-official sets it to 64",
        "search.k has no effect: method darts-official sets it to 1",
    ]
    assert study("cifar10", "search.method=darts", "search.k=1").searches()[0].k == 1
    assert study("baselines", "search.k=2").search.k == 2  # which pcdarts uses
    short = study("pc-darts-iclr", "search.method=darts-official", "search.epochs=10")
    assert {(s.epochs, s.warmup_epochs) for s in short.searches()} == {(10, 0)}


def test_cells_are_retrained_on_the_data_they_were_searched_on():
    result = study("smoke", "search.dataset=digits", "retrain.epochs=3")
    assert (result.search.dataset, result.retrain.dataset, result.retrain.epochs) == ("digits", "digits", 3)
    assert study("cifar10", "search.dataset=cifar100").retrain.dataset == "imagenet"


def test_one_data_folder_serves_search_and_retraining_unless_they_have_others():
    result = study("cifar10", "search.data_dir=/data")
    assert result.retrain.data_dir == result.race.recipe.data_dir == "/data"
    other = study("cifar10", "search.data_dir=/a", "retrain.data_dir=/b")
    assert other.retrain.data_dir == "/b"
    again = override_study(other, {"search.data_dir": "/c"})
    assert (again.search.data_dir, again.retrain.data_dir, again.race.recipe.data_dir) == ("/c", "/b", "/c")


def test_the_race_is_set_and_turned_off():
    result = study("fashion", "race.rungs=1x1:4,5x2:2", "race.recipe.channels=6").race
    assert result.rungs == (Rung(epochs=1, seeds=1, keep=4), Rung(epochs=5, seeds=2, keep=2))
    assert (result.recipe.channels, result.recipe.dataset) == (6, "fashion-mnist")
    assert study("smoke", "race.rungs=").race.rungs == ()
    assert study("smoke", "search.dataset=digits").race.recipe.dataset == "digits"


def test_the_final_stage_is_set():
    final = study("fashion", "final.seeds=3", "final.recipes=digits,smoke").final
    assert (final.seeds, final.recipes) == (3, ("digits", "smoke"))
    assert study("fashion", "final.recipes=").final.recipes == ()


def test_a_recipe_replaces_the_section_and_single_fields_are_changed_after_it():
    result = study("smoke", "retrain.epochs=3", "retrain.preset=cifar10", "search.data_dir=/data")
    assert result.retrain == dataclasses.replace(RECIPES["cifar10"](), epochs=3, data_dir="/data")
    assert study("fashion", "race.recipe.preset=digits").race.recipe == RECIPES["digits"]()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search.k": 3}, r"search\.k is 3, but must be one of \[1, 2, 4\]"),
        ({"sweep.k": 3}, r"sweep\.k is 3, but must be a list"),
        ({"search.k": []}, r"sweep\.k is \[\], but must have at least one value"),
        ({"search.epochs": "x"}, r"search\.epochs is 'x', but must be an integer"),
        ({"race.recipe.epochs": 0}, r"race\.recipe\.epochs is 0, but must be at least 1"),
        ({"final.seeds": 0}, r"final\.seeds is 0"),
        ({"race.rungs": [{"epochs": 0, "keep": 1}]}, r"race\.rungs\.epochs is 0"),
        ({"race.rungs": ["25"]}, r"race\.rungs has '25', but each rung must be EPOCHSxSEEDS:KEEP"),
        ({"retrain.preset": []}, r"retrain\.preset is \[\], but must be one of"),
        ({"name": "../x"}, r"study name is '\.\./x'"),
        ({"search": 3}, "search is not a field"),
    ],
)
def test_bad_changes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        override_study(smoke(), changes)


def test_options_are_the_section_run():
    changes = {"run.max_failures": 3, "run.wait": True, "search.k": 2}
    assert override_options(RunOptions(address="auto"), changes) == RunOptions(
        address="auto", max_failures=3, wait=True
    )
    with pytest.raises(ValueError, match=r"run\.max_failures is -1, but must be at least 0"):
        override_options(RunOptions(), {"run.max_failures": -1})


def test_every_field_has_one_full_name():
    named = {"search.k", "sweep.k", "selection.top", "race.rungs", "race.recipe.epochs", "final.seeds", "run.address"}
    assert named <= set(FIELDS)
    assert "race.recipe" not in FIELDS and FIELDS["name"] is str


def data_of(config):
    return config.dataset, config.data_dir, config.image_size, config.flip


@pytest.mark.parametrize("preset", ["demo", "smoke", "cifar10", "own"])
def test_searches_and_trainings_turn_to_own_images_together(preset):
    assignments = ("search.dataset=arrays", "search.data_dir=a.npz", "search.image_size=24", "search.flip=off")
    own = study(preset, *assignments)
    for config in (own.search, own.retrain, own.race.recipe):
        assert data_of(config) == ("arrays", "a.npz", 24, "off")


def test_trainings_on_other_images_keep_their_size():
    transferred = study("cifar10", "search.image_size=24")
    assert transferred.retrain.dataset == "imagenet"
    assert (transferred.retrain.image_size, transferred.race.recipe.image_size) == (0, 24)
    larger = study("demo", "search.image_size=24", "retrain.image_size=48")
    assert (larger.retrain.image_size, larger.race.recipe.image_size) == (48, 24)


def test_a_recipe_by_name_stays_on_own_images():
    recipe = study("own", "retrain.preset=cifar10-short", "search.data_dir=flowers").retrain
    assert data_of(recipe) == ("folder", "flowers", 32, "auto") and recipe.channels == 18


def test_what_images_say_cannot_be_set():
    with pytest.raises(ValueError, match="search.classes is not a field"):
        study("own", "search.classes=3")


def test_trainings_at_another_size_need_a_new_look_at_the_images():
    images = StudyImages(
        dataset="folder", data_dir="data", image_size=32, classes=3, image_channels=3, image_height=32, image_width=32,
        data_fingerprint="a",
    )  # fmt: skip
    described = STUDIES["own"]().with_images([images])
    assert override_study(described, {"retrain.epochs": 5}).retrain.data_fingerprint == "a"
    larger = override_study(described, {"retrain.image_size": 64}).retrain
    assert (larger.image_size, larger.classes, larger.data_fingerprint) == (64, 0, "")
