"""Several workers train one network under Ray Train: as one would, also where one of them is killed in mid-epoch."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import ray
import ray.train
import torch

from cluster.resources import TrialResources
from orchestrator.cli import main
from orchestrator.config import RaceConfig
from orchestrator.options import RunOptions
from orchestrator.presets import smoke
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.study_folder import create_or_open, open_study
from orchestrator.trials import retrain_trials as retraining
from orchestrator.trials import worker_team as team_module
from orchestrator.trials.worker_team import Team, jobs_at_once, make_team
from pcdarts import presets
from pcdarts.data.folder_batches import FolderBatches
from pcdarts.genotype import PUBLISHED
from pcdarts.retrain import retrain
from tests.pcdarts.training.test_distributed import TOLERANCE, folder_tree

CELLS = "PC_DARTS_image"


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def study_with_job(root, data, **values):
    """A study whose queue holds one job: published cells, by the recipe imagenet scaled down."""
    small = {"channels": 8, "layers": 3, "epochs": 3, "batch_size": 10, "threads": 1, "device": "cpu"}
    small |= {"learning_rate_warmup_epochs": 0, "validation_portion": 0.25, "data_dir": str(data), "drop_path": 0.2}
    recipe = dataclasses.replace(presets.RECIPES["imagenet"](), **(small | {"learning_rate": 5.0} | values))
    study = dataclasses.replace(smoke(), retrain=recipe, race=RaceConfig())
    store = create_or_open(study, str(root), [])
    RetrainQueue(study, store).add(CELLS)
    return study


def in_double_precision(killed="", started=""):
    """A trial whose workers compute in double precision, note that they start, and of which one kills itself, once.

    It does so in its second epoch, after it has trained on one of three batches.
    """

    def work(job, work=team_module._work):
        rank, whole_epoch, epochs = torch.distributed.get_rank(), FolderBatches.epoch, []

        def epoch(self, batch_size, generator):
            epochs.append(self)
            for step, batch in enumerate(whole_epoch(self, batch_size, generator)):
                if killed and (rank, len(epochs), step) == (1, 2, 1) and not os.path.exists(killed):
                    Path(killed).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch

        FolderBatches.epoch = epoch
        torch.set_default_dtype(torch.float64)
        if started and rank == 0:
            with open(started, "a") as file:
                file.write("started\n")
        work(job)

    def trial(spec, team=None, shared=None):
        team_module._work = work
        if team is None:
            torch.set_default_dtype(torch.float64)
        retraining.retrain_trial(spec, team, shared)

    return trial


def assert_equal(row, expected):
    """Losses but for rounding, all else exactly."""
    for name in ("train_loss", "test_loss"):
        assert math.isclose(row[name], getattr(expected, name), rel_tol=TOLERANCE), name
    for name in ("best_epoch", "train_accuracy", "valid_accuracy", "test_accuracy", "epochs_trained"):
        assert row[name] == getattr(expected, name), name


@pytest.mark.slow
def test_workers_of_which_one_is_killed_in_mid_epoch_end_as_one_alone(
    ray_session, tmp_path, monkeypatch, double_precision
):
    folder_tree(tmp_path / "data")
    root = tmp_path / "smoke"
    study = study_with_job(root, tmp_path / "data")
    expected = retrain(PUBLISHED[CELLS], study.retrain)
    killed, started = str(tmp_path / "killed"), tmp_path / "started"
    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", in_double_precision(killed, str(started)))
    # On two CPUs, two of three begin.
    assert main(["retrain", str(root), "--set", "run.workers=3", "run.min_workers=2"]) == 0
    assert os.path.exists(killed) and started.read_text().count("started") == 2
    (row,) = pd.read_parquet(root / "retrains").to_dict("records")
    assert (row["status"], row["attempt"], row["workers"]) == ("completed", 1, min(3, ray.cluster_resources()["CPU"]))
    assert_equal(row, expected)
    (job,) = pd.read_parquet(root / "queue").to_dict("records")
    assert (job["state"], job["epochs_done"], job["attempts"]) == ("done", 3, 1)


@pytest.mark.slow
def test_a_training_that_diverges_is_not_repaired_by_new_workers(ray_session, tmp_path, monkeypatch):
    folder_tree(tmp_path / "data")
    root, started = tmp_path / "smoke", tmp_path / "started"
    study_with_job(root, tmp_path / "data", learning_rate=1e30, gradient_clip=1e30)
    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", in_double_precision(started=str(started)))
    assert main(["retrain", str(root), "--set", "run.workers=2", "run.max_failures=1", "run.retry_delay=0"]) == 1
    rows = pd.read_parquet(root / "retrains")
    assert rows["status"].tolist() == ["failed", "failed"]  # the queue's attempts
    assert rows["error"].str.startswith("FloatingPointError: training loss is").all(), rows["error"].tolist()
    assert started.read_text().count("started") == 2


def dropping(spec, team=None, shared=None):
    """A trial whose job is dropped by hand once its workers have started."""

    def work(job, work=team_module._work):
        if torch.distributed.get_rank() == 0:
            Path(job["spec"].root, "started").open("a").write("started\n")
            RetrainQueue(*open_study(job["spec"].root)).drop(job["spec"].key)
        work(job)

    team_module._work = work
    retraining.retrain_trial(spec, team, shared)


@pytest.mark.slow
def test_workers_whose_job_is_dropped_end_and_are_not_started_again(ray_session, tmp_path, monkeypatch):
    folder_tree(tmp_path / "data")
    root = tmp_path / "smoke"
    study_with_job(root, tmp_path / "data")
    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", dropping)
    assert main(["retrain", str(root), "--set", "run.workers=2"]) == 0
    (job,) = pd.read_parquet(root / "queue").to_dict("records")
    assert (job["state"], job["attempts"]) == ("dropped", 1)
    assert (root / "started").read_text() == "started\n" and not (root / "retrains").exists()
    assert pd.read_parquet(root / "retrain_epochs")["epoch"].tolist() == [0]


@pytest.mark.slow
def test_a_lost_node_and_a_lost_driver_cost_nothing_but_time(tmp_path, double_precision):
    folder_tree(tmp_path / "data")
    study = study_with_job(tmp_path / "smoke", tmp_path / "data", epochs=12, learning_rate=0.5)
    expected = retrain(PUBLISHED[CELLS], study.retrain)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("RAY_ADDRESS", None)
    script = Path(__file__).with_name("losing.py")
    subprocess.run([sys.executable, str(script), str(tmp_path / "smoke")], env=environment, check=True)
    (row,) = pd.read_parquet(tmp_path / "smoke" / "retrains").to_dict("records")
    assert (row["status"], row["attempt"], row["workers"]) == ("completed", 1, 1)
    assert_equal(row, expected)


def options(**values):
    return RunOptions(**values)


def test_teams(monkeypatch):
    one = TrialResources(cpus=1)
    monkeypatch.setattr(team_module, "slots", lambda wanted: 5)
    assert make_team(one, options()) is None
    team = make_team(one, options(workers=2, max_failures=7))
    assert team == Team(workers=2, least=2, resources=one, max_failures=7)
    assert make_team(one, options(workers=8, min_workers=3)).least == 3
    assert jobs_at_once(team, options()) == 2 and jobs_at_once(team, options(max_concurrent=1)) == 1
    assert jobs_at_once(team, options(autoscaling=True)) == 0
    assert jobs_at_once(dataclasses.replace(team, workers=8, least=3), options()) == 1


def test_workers_without_room_are_refused_with_numbers(monkeypatch):
    monkeypatch.setattr(team_module, "slots", lambda wanted: 3)
    eight = TrialResources(cpus=8, gpus=1.0)
    with pytest.raises(ValueError, match="4 workers want 8 CPUs and 1 GPU each, but the nodes have room for 3 of"):
        make_team(eight, options(workers=4))
    assert make_team(eight, options(workers=4, min_workers=3)).least == 3
    assert make_team(eight, options(workers=4, autoscaling=True)).workers == 4
    with pytest.raises(ValueError, match="gpus_per_trial is 0.5, but must be 1 with 2 workers"):
        make_team(TrialResources(cpus=1, gpus=0.5), options(workers=2))


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"workers": 0}, "workers is 0, but must be at least 1"),
        ({"min_workers": -1}, "min_workers is -1, but must be at least 0"),
        ({"workers": 2, "min_workers": 3}, r"min_workers is 3, but must be at most workers \(2\)"),
    ],
)
def test_impossible_numbers_of_workers(values, rule):
    with pytest.raises(ValueError, match=rule):
        RunOptions(**values)


def test_a_definite_error_ends_the_run_and_is_told_as_it_was():
    callback = team_module._EndAtDefiniteErrors()
    callback.after_exception(None, {0: RuntimeError("Connection closed by peer"), 1: OSError()})
    with pytest.raises(FloatingPointError):
        callback.after_exception(None, {0: RuntimeError(), 1: FloatingPointError("loss is nan")})
    error, lost = ValueError("no data"), ray.train.ControllerError(RuntimeError())
    assert team_module._cause(ray.train.ControllerError(ray.train.ControllerError(error))) is error
    assert team_module._cause(lost) is lost
