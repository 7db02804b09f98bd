"""Several workers train one network under Ray Train: as one would, also where one of them is killed in mid-epoch."""

import dataclasses
import os
import signal
from pathlib import Path

import pandas as pd
import torch

from orchestrator import retraining, training
from orchestrator.cli import main
from orchestrator.config import SelectionConfig
from orchestrator.queue import RetrainQueue
from orchestrator.storage import create_or_open
from pcdarts import presets
from pcdarts.genotype import PUBLISHED
from pcdarts.imagenet import FolderBatches
from pcdarts.retrain import retrain
from tests.pcdarts.test_distributed import folder_tree

TOLERANCE = 1e-7


def study_with_job(root, data, **values):
    """A study whose queue holds one job: published cells, retrained by the recipe imagenet scaled down."""
    from orchestrator.presets import smoke

    small = {"channels": 8, "layers": 3, "epochs": 2, "batch_size": 10, "threads": 1, "device": "cpu"}
    small |= {"learning_rate_warmup_epochs": 0, "validation_portion": 0.25, "data_dir": str(data)}
    recipe = dataclasses.replace(presets.RECIPES["imagenet"](), **(small | values))
    study = dataclasses.replace(smoke(), retrain=recipe, selection=SelectionConfig(top=0))
    store = create_or_open(study, str(root), [])
    RetrainQueue(study, store).add("PC_DARTS_image")
    return study, store


def faulty(marker):
    original = training._work

    def work(job):
        rank = torch.distributed.get_rank()
        epoch = FolderBatches.epoch

        def dying(self, batch_size, generator):
            for step, batch in enumerate(epoch(self, batch_size, generator)):
                yield batch
                passes = getattr(FolderBatches, "passes", 0)
                if rank == 1 and passes == 1 and step == 0 and not os.path.exists(marker):
                    Path(marker).touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            FolderBatches.passes = getattr(FolderBatches, "passes", 0) + 1

        FolderBatches.epoch = dying
        torch.set_default_dtype(torch.float64)
        original(job)

    def trial(spec, team):
        training._work = work
        retraining.retrain_trial(spec, team)

    return trial


def test_two_workers(ray_session, tmp_path, monkeypatch):
    folder_tree(tmp_path / "data")
    study, store = study_with_job(tmp_path / "smoke", tmp_path / "data")
    torch.set_default_dtype(torch.float64)
    try:
        result = retrain(PUBLISHED["PC_DARTS_image"], study.retrain)
    finally:
        torch.set_default_dtype(torch.float32)
    monkeypatch.setattr("orchestrator.study.retrain_trial", faulty(str(tmp_path / "killed")))
    assert main(["retrain", str(tmp_path / "smoke"), "--workers", "3", "--min-workers", "2"]) == 0
    row = pd.read_parquet(tmp_path / "smoke" / "retrains").iloc[0].to_dict()
    print(row)
    print(result)
    assert (tmp_path / "killed").exists()
