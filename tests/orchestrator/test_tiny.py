"""Studies at the tiny scale: what stays, and that every experiment of the papers runs through to its report."""

from dataclasses import replace

import pytest

from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from orchestrator.config import RaceConfig, Rung
from orchestrator.options import RunOptions
from orchestrator.presets import STUDIES, preset_options
from orchestrator.study import run_study
from orchestrator.study_file import load_study
from orchestrator.tiny import SEEDS, at_scale, tiny
from tests.orchestrator.test_presets import EXPERIMENTS


@pytest.mark.parametrize("name", STUDIES)
def test_settings_rungs_and_stages_stay(name):
    full, small = STUDIES[name](), tiny(STUDIES[name]())
    sizes = [len({study.setting(search) for search in study.searches()}) for study in (full, small)]
    assert sizes[0] == sizes[1] and small.sweep.keys() == {*full.sweep, "seed"}
    assert [stage.name for stage in small.stages()] == [stage.name for stage in full.stages()]
    assert small.final.cells == full.final.cells and small.name == f"{name}-tiny"
    assert {search.dataset for search in small.searches()} == {small.retrain.dataset} == {"synthetic"}
    assert len(small.sweep["seed"]) == SEEDS and small.selection.top <= SEEDS
    assert all(stage.recipe.dataset == "synthetic" and stage.recipe.epochs <= 3 for stage in small.stages())
    assert small.retrain.validation_portion == full.retrain.validation_portion


def test_rungs_keep_fewer_and_fewer_cells():
    rungs = {
        (Rung(epochs=50, keep=8), Rung(epochs=200, seeds=3, keep=4)): ["1x1:4", "2x2:2"],
        (Rung(epochs=5, keep=4), Rung(epochs=10, keep=3), Rung(epochs=20, keep=1)): ["1x1:3", "2x1:2", "3x1:1"],
    }
    for full, expected in rungs.items():
        study = replace(STUDIES["ablation-k"](), race=RaceConfig(rungs=full))
        assert list(map(str, tiny(study).race.rungs)) == expected


def test_swept_warm_ups_are_shorter_than_the_searches():
    sweep = {"warmup_epochs": (5, 10, 15), "learning_rate_warmup_epochs": (0, 5), "epochs": (50, 100)}
    full = replace(STUDIES["cifar10"](), sweep=sweep)
    small = tiny(full)
    assert len(small.searches()) == len(full.searches()) == 12
    assert {search.warmup_epochs for search in small.searches()} == {0, 1, 2}
    assert {search.epochs for search in small.searches()} == {3, 4}


def test_swept_data_are_synthetic_too():
    full = replace(STUDIES["cifar10"](), sweep={"seed": (0,), "dataset": ("cifar10", "folder"), "image_size": (32, 64)})
    small = tiny(full)
    assert small.sweep == {"seed": (0,)}
    assert [(search.dataset, search.image_size) for search in small.searches()] == [("synthetic", 0)]


def test_a_tiny_study_is_retrained_at_once():
    study, options = STUDIES["imagenet"](), preset_options("imagenet")
    assert at_scale(study, options, "full") == (study, RunOptions(retrain=False))
    assert at_scale(study, options, "tiny") == (tiny(study), RunOptions(retrain=True))


def test_changes_apply_to_the_tiny_study():
    study, options = load_study("ablation-k", {"search.epochs": 3, "run.retrain": False}, scale="tiny", say=print)
    assert study.search.epochs == 3 and study.search.dataset == "synthetic" and not options.retrain


@pytest.mark.slow  # minutes: some 200 searches and trainings, which take a second each
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_to_its_report(name, tmp_path, ray_session):
    study, options = load_study(name, {"run.address": "local"}, scale="tiny")
    assert run_study(study, str(tmp_path), options=options, command=["pcdarts", "run", name]) == 0
    store = ResultStore(str(tmp_path))
    searches, queue, retrains = (store.read(table) for table in (SEARCHES, QUEUE, RETRAINS))
    assert len(searches) == len(study.searches()) and set(searches["status"]) == {"completed"}
    assert set(queue["state"]) == {"done"} and sorted(queue["job_id"]) == sorted(retrains["job_id"])
    assert {stage.stage for stage in study.stages()} == set(queue["stage"])
    found = searches.set_index("search_id")["setting"]
    assert {found[search_id] for origins in queue["origins"] for search_id in origins} == set(found)
    text = (tmp_path / "report.html").read_text()
    assert study.name in text and all(setting in text for setting in searches["setting"])
