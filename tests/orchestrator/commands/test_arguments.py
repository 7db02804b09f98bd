"""The study that a command line asks for."""

from dataclasses import replace

import pytest

from orchestrator.cli import _parser
from orchestrator.commands.arguments import study_from_arguments
from orchestrator.presets import STUDIES
from pcdarts.presets import RECIPES, fashion


def study(*argv):
    return study_from_arguments(_parser().parse_args(["run", *argv]))


def test_a_preset_alone_is_the_preset():
    for name, make in STUDIES.items():
        assert study(name).differences(make()) == []


def test_lists_are_swept_and_single_values_are_not():
    result = study("smoke", "--seeds", "5", "--k", "4", "--order", "1", "2", "--learning-rate", "0.2")
    assert result.sweep == {"seed": (5,), "k": (4,), "order": (1, 2)}
    assert result.search.learning_rate == 0.2
    assert [result.setting(s) for s in result.searches()] == ["order=1", "order=2"]


def test_warm_up_keeps_its_share_of_fewer_epochs(capsys):
    result = study("fashion", "--epochs", "2")
    assert (fashion().warmup_epochs, fashion().epochs, result.search.warmup_epochs) == (3, 8, 1)
    assert "warmup_epochs is 1 instead of 3" in capsys.readouterr().out
    assert study("fashion", "--epochs", "1").search.warmup_epochs == 0


@pytest.mark.parametrize("given", [["pcdarts", "darts"], ["darts", "pcdarts"]])
def test_methods_are_swept_and_pcdarts_keeps_its_k(given):
    result = study("smoke", "--method", *given)
    assert {(s.method, s.k) for s in result.searches()} == {("pcdarts", 1), ("pcdarts", 2), ("darts", 1)}
    only = study("demo", "--method", "darts")
    assert [s.k for s in only.searches()] == [1, 1, 1] and "method" not in only.sweep
    assert study("baselines", "--method", "random").sweep["method"] == ("random",)


def test_cells_are_retrained_on_the_data_they_were_searched_on():
    result = study("smoke", "--dataset", "digits", "--retrain-epochs", "3")
    assert (result.search.dataset, result.retrain.dataset, result.retrain.epochs) == ("digits", "digits", 3)
    assert study("cifar10", "--dataset", "cifar100").retrain.dataset == "imagenet"


def test_the_proxy_stage_is_set_and_turned_off_by_flags():
    result = study("fashion", "--proxy-top", "4", "--proxy-seeds", "2", "--proxy-epochs", "1").proxy
    assert (result.top, result.seeds, result.recipe.epochs, result.recipe.dataset) == (4, 2, 1, "fashion-mnist")
    assert study("cifar10", "--proxy-top", "0").proxy.top == 0
    assert study("cifar10", "--data-dir", "/data").proxy.recipe.data_dir == "/data"
    assert study("smoke", "--dataset", "digits").proxy.recipe.dataset == "digits"


def test_one_data_folder_serves_search_and_retraining_unless_told():
    assert study("cifar10", "--data-dir", "/data").retrain.data_dir == "/data"
    assert study("cifar10", "--data-dir", "/a", "--retrain-data-dir", "/b").retrain.data_dir == "/b"


def test_a_recipe_replaces_the_presets_and_single_fields_are_changed_after_it():
    result = study("smoke", "--recipe", "cifar10", "--retrain-epochs", "3", "--data-dir", "/data")
    assert result.retrain == replace(RECIPES["cifar10"](), epochs=3, data_dir="/data")


def test_warm_up_of_the_retraining_keeps_its_share_too(capsys):
    result = study("imagenet", "--retrain-epochs", "50")
    assert (result.retrain.learning_rate_warmup_epochs, result.search.warmup_epochs) == (1, 35)
    assert "--retrain-learning-rate-warmup-epochs sets it" in capsys.readouterr().out
