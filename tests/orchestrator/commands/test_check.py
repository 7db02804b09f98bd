"""What `pcdarts check` looks at, and what it prints."""

import dataclasses
import re
from collections import namedtuple

import pytest

from analysis.storage.study_files import StudyFiles
from analysis.tables import SEARCHES
from cluster.resources import TrialResources
from orchestrator.commands import check as checks
from orchestrator.commands.check import check
from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig
from orchestrator.more_seeds import with_added_seeds
from orchestrator.options import RunOptions
from orchestrator.presets import cifar10, fashion, imagenet, smoke
from orchestrator.storage.lease import Lease
from orchestrator.storage.steering_log import SteeringLog
from orchestrator.storage.study_folder import create_or_open
from pcdarts.diagnostics.memory import predict_memory
from tests.analysis.synthetic import search_row
from tests.orchestrator.trials.test_image_descriptions import own_study
from tests.pcdarts.data.own_images import write_tree

LOCAL = RunOptions(address="local")


def printed(study, tmp_path, options=LOCAL):
    said = []
    failed = check(study, str(tmp_path), options, say=said.append)
    return failed, "\n".join(said)


def test_a_study_that_can_run_passes_and_its_memory_is_told(tmp_path, ray_session):
    failed, said = printed(smoke(), tmp_path)
    totals = [predict_memory(config).total / 1e9 for config in smoke().searches()]
    assert failed == 0 and said.count("data") == 1
    assert min(totals) < max(totals) and "memory: about" in said
    assert f"{max(totals):.1f} GB a search on a CPU" in said
    assert f"for which {max(totals):.1f} GB of a node's memory are reserved" in said


@pytest.mark.parametrize(("most", "at_once"), [(0, 4), (3, 3), (9, 4)])
def test_no_more_searches_are_counted_at_once_than_are_allowed(most, at_once, monkeypatch, ray_session):
    monkeypatch.setattr(checks, "fitting", lambda trials: min(8, len(list(trials))))
    monkeypatch.setattr(checks, "_seconds", lambda step, device: 1.0)
    told = checks._cost(smoke(), RunOptions(address="local", max_concurrent=most))
    assert len(smoke().searches()) == 4 and f" in all with {at_once} at once " in told


def test_the_data_of_every_stage_are_looked_for_too(tmp_path, ray_session):
    missing = str(tmp_path / "nowhere")
    study = smoke()
    study = dataclasses.replace(
        study,
        retrain=dataclasses.replace(study.retrain, dataset="cifar10", data_dir=missing),
        race=dataclasses.replace(
            study.race, recipe=dataclasses.replace(study.race.recipe, dataset="cifar100", data_dir=missing)
        ),
    )
    failed, said = printed(study, tmp_path)
    assert failed == 2
    assert "failed  data of final: cifar10 not found" in said
    assert "failed  data of rung 1: cifar100 not found" in said


def stored_there(study, tmp_path):
    """The study with a result, so that it cannot be changed."""
    store = create_or_open(study, str(tmp_path / study.name), [])
    store.append(SEARCHES, [search_row(4, 0, 80.0)], "s")


def test_a_study_that_is_stored_with_another_configuration_fails_the_check(tmp_path, ray_session):
    stored_there(smoke(), tmp_path)
    failed, said = printed(smoke(), tmp_path)
    assert failed == 0 and "can be written to; the study there would be resumed" in said
    other = dataclasses.replace(smoke(), search=dataclasses.replace(smoke().search, batch_size=16))
    failed, said = printed(other, tmp_path)
    assert failed == 1 and "failed  storage: study 'smoke' at " in said and "has another configuration" in said


def test_a_folder_that_holds_something_else_fails_the_check(tmp_path, ray_session):
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "notes.txt").touch()
    failed, said = printed(smoke(), tmp_path)
    assert failed == 1 and "holds files that are no study" in said


def test_a_study_that_another_process_runs_fails_the_check(tmp_path, ray_session, monkeypatch):
    monkeypatch.setattr(Lease, "held_elsewhere", lambda self: self.what == "study")
    failed, said = printed(smoke(), tmp_path)
    assert failed == 1 and "failed  storage: another process works on the study" in said
    assert printed(smoke(), tmp_path, RunOptions(address="local", wait=True))[0] == 0


def test_seeds_that_were_added_while_it_ran_are_no_other_configuration(tmp_path, ray_session):
    study = smoke()
    stored_there(with_added_seeds(study, [7]), tmp_path)
    SteeringLog(StudyFiles(str(tmp_path / study.name / "steering"))).ask("seeds", seeds=(7,))
    assert printed(study, tmp_path)[0] == 0


def test_a_folder_that_other_nodes_do_not_see_fails_the_check(tmp_path, ray_session, monkeypatch):
    asked = []

    def refuse(root, wanted):
        asked.append(root)
        raise ValueError("is not the same folder")

    monkeypatch.setattr(checks, "require_shared", refuse)
    failed, said = printed(smoke(), tmp_path, dataclasses.replace(LOCAL, retrain=True))
    assert failed == 2 and "failed  cluster: is not the same" in said
    assert "failed  cluster for trainings: is not the same" in said
    assert asked == [str(tmp_path)] * 2 and list(tmp_path.iterdir()) == []


def test_workers_that_have_no_room_fail_the_check(tmp_path, ray_session):
    failed, said = printed(smoke(), tmp_path, dataclasses.replace(LOCAL, retrain=True, workers=1000))
    assert failed == 1 and "failed  cluster for trainings: 1000 workers want" in said


def test_own_images_are_described_in_one_line(tmp_path, ray_session, monkeypatch):
    monkeypatch.setattr(checks, "_cost", lambda *_: "")
    tree = write_tree(tmp_path / "flowers", train=60, val=12)
    (tree / "train" / "class0" / "notes.heic").touch()
    failed, said = printed(own_study(tree), tmp_path / "studies")
    assert failed == 0
    assert "ok      data: folder: 3 classes, 3 x 8 x 8 pixels, 60 training and 12 test images" in said
    assert re.search(r"test images: val/; .*heic 1.*; digest [0-9a-f]{8}\n", said)
    assert not (tmp_path / "studies").exists()


def test_shared_memory_that_is_too_small_is_named_with_the_remedy(monkeypatch):
    study = imagenet()
    search = dataclasses.replace(study.search, threads=3)
    study = dataclasses.replace(study, search=search, retrain=dataclasses.replace(study.retrain, threads=1))
    needed = 2 * 2 * search.batch_size * 3 * 224 * 224
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: usage(needed))
    assert "a trial uses up to" in checks._shared_memory(study, "/")
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: usage(needed - 1))
    with pytest.raises(ValueError, match="give the container more .*--shm-size"):
        checks._shared_memory(study, "/")
    assert checks._shared_memory(smoke(), "/") == "not needed"


def test_images_that_the_run_would_refuse_fail_the_check(tmp_path, ray_session):
    tree = write_tree(tmp_path / "flowers", train=60, val=12)
    (tree / "val" / "class1" / "4.png").write_bytes(b"<html>")
    failed, said = printed(own_study(tree), tmp_path)
    assert failed == 1 and "failed  data: " in said and "4.png" in said and "networks" not in said


def test_an_auxiliary_head_on_small_maps_fails_the_check(tmp_path, ray_session):
    study = dataclasses.replace(smoke(), retrain=dataclasses.replace(smoke().retrain, auxiliary_weight=0.4))
    failed, said = printed(study, tmp_path)
    assert failed == 1 and "failed  networks: auxiliary_weight is 0.4" in said


def test_the_packing_of_gpus_is_told(monkeypatch, ray_session):
    searches = smoke().searches()
    need = max(predict_memory(config, gpu=True).total for config in searches)
    wanted = TrialResources(cpus=1, gpus=0.5)
    monkeypatch.setattr(checks, "pack_searches", lambda *_: (wanted, {"a": need}))
    monkeypatch.setattr(checks, "smallest_gpu", lambda: 3 * need)
    told = checks._cluster(searches, "s3://bucket/studies", RunOptions())
    assert told.endswith(f"; about {need / 1e9:.1f} GB a search, of which a GPU of {3 * need / 1e9:.1f} GB holds 2")


def test_a_search_that_fits_nowhere_is_refused_with_the_numbers(tmp_path, monkeypatch, ray_session):
    study = smoke()
    monkeypatch.setattr("orchestrator.trials.placement.predicted_bytes", lambda configs, gpu: {"a": 10**15})
    failed, said = printed(study, tmp_path)
    assert failed == 1 and "failed  cluster: a search is to reserve 1000000.0 GB of memory, but" in said


@pytest.mark.parametrize(("memory", "reserved"), [(0.0, ""), (0.5, "for which 0.5 GB of a node's memory are reserved")])
def test_a_given_memory_replaces_the_prediction(memory, reserved, tmp_path, ray_session):
    options = RunOptions(address="local", memory_per_trial=memory)
    told = checks._cluster(smoke().searches(), str(tmp_path), options)
    assert told.endswith(reserved) and ("reserved" in told) == bool(reserved)


def test_every_setting_is_priced_by_itself(monkeypatch, ray_session):
    monkeypatch.setattr(checks, "fitting", lambda trials: 2)
    monkeypatch.setattr(checks, "_search_seconds", lambda config: {1: 100.0, 2: 40.0}[config.k])
    told = checks._cost(smoke(), LOCAL)  # seed 0 of k=1 and k=2, then seed 1 of both: 100 + 40 and 40 + 100 seconds
    assert told.startswith("about 0:01:40 (k=1), 0:00:40 (k=2) a search, 0:02:20 in all with 2 at once ")
    one = dataclasses.replace(smoke(), sweep={"seed": (0, 1, 2)}, search=dataclasses.replace(smoke().search, k=2))
    assert checks._cost(one, LOCAL).startswith("about 0:00:40 a search, 0:01:20 in all with 2 at once ")


def test_searches_start_in_their_order_as_soon_as_there_is_room():
    assert checks._makespan([3.0, 1.0, 1.0, 2.0], 2) == 4.0
    assert checks._makespan([3.0, 1.0], 1) == 4.0


def test_the_trainings_that_follow_are_listed_by_stage():
    final = FinalConfig(seeds=3, published=1, recipes=("cifar10-short",))
    race = RaceConfig(rungs=(Rung(epochs=25, keep=4), Rung(epochs=100, seeds=2, keep=1)))
    study = dataclasses.replace(cifar10(), selection=SelectionConfig(top=5), race=race, final=final)
    assert checks._trainings(study) == [
        "  then, at most:",
        "    rung 1: 10 cells x 1 seed x 25 epochs on cifar10",
        "    rung 2: 4 cells x 2 seeds x 100 epochs on cifar10",
        "    final: 1 cell x 3 seeds x 250 epochs on imagenet",
        "    published: 1 cell x 3 seeds x 250 epochs on imagenet",
        "    recipe cifar10-short: 1 cell x 3 seeds x 100 epochs on cifar10",
    ]
    none = dataclasses.replace(fashion(), selection=dataclasses.replace(fashion().selection, top=0))
    assert checks._trainings(none) == []


@pytest.mark.parametrize(
    ("seeds", "top", "message"),
    [
        (6, 6, "up to 6 retrained cells per setting, enough to decide 1 comparison between 2 settings (at least 6)"),
        (6, 3, "at most 3 retrained cells per setting, but to decide 1 comparison between 2 settings takes at least 6"),
        (3, 6, "at most 3 retrained cells per setting, but to decide 1 comparison between 2 settings takes at least 6"),
        (6, 0, "no cell is retrained (selection.top=0), so no setting can be called better"),
    ],
)
def test_check_says_whether_the_seeds_can_decide(seeds, top, message):
    sweep = {"seed": tuple(range(seeds)), "k": (1, 2)}
    study = dataclasses.replace(smoke(), sweep=sweep, selection=SelectionConfig(top=top))
    assert checks._seeds(study).startswith(message)
    assert checks._seeds(dataclasses.replace(study, sweep={"seed": (0,)})) == ""
