"""Retraining under Ray Tune: when a job that failed is tried again."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.storage.study_files import StudyFiles
from analysis.tables import FAILURES
from orchestrator.cli import main
from orchestrator.config import FinalConfig, SelectionConfig
from orchestrator.live_driver import LiveDriver
from orchestrator.overrides import override_study
from orchestrator.presets import smoke
from orchestrator.queue.events import EventLog
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.queue.selection import select
from orchestrator.storage.lease import open_lease
from orchestrator.trials import retrain_trials as retraining
from orchestrator.trials.take_up import Requests
from orchestrator.trials.tune_trials import TrialSpec
from tests.orchestrator.queue.killing import OPTIONS, RESULT, make_study, study_with_searches
from tests.orchestrator.queue.test_selection import row


def trial_of(retrain):
    """A trial whose training is this function of the study's folder and the job's genotype."""

    def trial(given, shared=None):
        def trained(genotype, config, **others):
            retrain(Path(given["spec"].root), str(genotype))
            return RetrainResult(**RESULT)

        from pcdarts.results import RetrainResult

        retraining.retrain = trained
        retraining.retrain_trial(given, shared=shared)

    return trial


@pytest.fixture
def queue(tmp_path):
    """A study of three cells that wait for their retraining."""
    study, store = study_with_searches(str(tmp_path), make_study())
    queue = RetrainQueue(study, store)
    queue.update()
    return queue


def test_what_the_storage_met_with_in_the_last_step_is_recorded(queue, monkeypatch):
    monkeypatch.setattr(retraining, "_work", lambda *_: queue.store.troubles.append("disk full; it worked again"))
    assert retraining.work_queue(queue, options=OPTIONS, say=lambda text: None)
    assert [(one["kind"], one["error"]) for one in queue.store.rows(FAILURES)] == [
        ("storage", "disk full; it worked again")
    ]


def events(root, job_id, kind):
    found = [json.loads(path.read_text()) for path in sorted((root / "queue-events").glob(f"{job_id}.*.json"))]
    return [event for event in found if event["kind"] == kind]


def test_every_round_says_what_it_trains():
    study = replace(smoke(), final=FinalConfig(published=1, recipes=("digits",)))
    cells = select([row("a", 90.0, "x"), row("b", 80.0, "y")], SelectionConfig(top=2))
    said = [
        retraining.announcement(
            [RetrainJob.of(cell, recipe, stage.stage, rung=stage.rung) for cell in cells for recipe in stage.recipes()]
        )
        for stage in study.stages()
    ]
    assert said == [
        "Race, rung 1 (1 epoch): 4 trainings of 2 cells on synthetic",
        "Full training: 2 trainings of 2 cells on synthetic",
        "Full training on all training images: 2 trainings of 2 cells on synthetic",
        "Training by other recipes: 2 trainings of 2 cells on digits",
    ]


def test_jobs_that_were_queued_for_another_stage_run_as_full_trainings(tmp_path, monkeypatch):
    """The study trains by another recipe too; now that is the recipe of the full training."""
    study, store = study_with_searches(str(tmp_path), replace(make_study(), final=FinalConfig(recipes=("digits",))))
    RetrainQueue(study, store).update()
    queue = RetrainQueue(override_study(study, {"retrain.preset": "digits", "final.recipes": ()}), store)
    pending = [queued.job for queued in queue.pending()]
    assert [job.stage for job in pending] == ["recipe"] * 3
    for name in ("prepare_trials", "require_shared", "make_team", "share_data"):
        monkeypatch.setattr(retraining, name, lambda *args: None)
    ran = []
    monkeypatch.setattr(retraining, "memory_fraction", lambda resources: 1.0)
    monkeypatch.setattr(retraining.tune, "with_parameters", lambda trial, **shared: trial)
    monkeypatch.setattr(retraining, "run_trials", lambda trial, specs, **others: ran.extend(specs.specs))
    with open_lease(str(tmp_path), OPTIONS) as lease:
        requests = Requests(LiveDriver(str(tmp_path), [], lease), queue.study, store, lambda study: None)
        retraining._prepare(queue, lease, OPTIONS, requests, lambda line: None)(pending)
    assert [spec.key for spec in ran] == [job.job_id for job in pending]


def test_a_job_that_failed_is_tried_again_while_others_run(ray_session, tmp_path, monkeypatch, queue):
    first = queue.rows()[0]["genotype"]

    def retrain(root, genotype):
        tries = root / "tries"
        if genotype == first:
            with tries.open("a") as file:
                file.write("x")
            if tries.read_text() == "x":
                raise RuntimeError("once")
            return
        while not tries.exists() or tries.read_text() != "xx":
            time.sleep(0.1)

    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", trial_of(retrain))
    assert main(["retrain", str(tmp_path), "--set", "run.retry_delay=1", "--max-concurrent", "2"]) == 0
    assert (tmp_path / "tries").read_text() == "xx"
    (job,) = [row["job_id"] for row in queue.rows() if row["genotype"] == first]
    rows = pd.read_parquet(tmp_path / "retrains").query("job_id == @job").sort_values("attempt")
    assert rows["status"].tolist() == ["failed", "completed"] and rows["attempt"].tolist() == [1, 2]
    (failed,), (_, again) = events(tmp_path, job, "failed"), events(tmp_path, job, "started")
    assert again["at"] / 1000 >= failed["retry_at"]
    assert set(pd.read_parquet(tmp_path / "queue")["state"]) == {"done"}


def test_a_job_that_always_fails_is_given_up(ray_session, tmp_path, monkeypatch, queue):
    job = queue.jobs()[0].job

    def retrain(root, genotype):
        if genotype == str(job.cell.genotype):
            raise RuntimeError("always")

    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", trial_of(retrain))
    assert main(["retrain", str(tmp_path), "--set", "run.retry_delay=0", "run.max_failures=1"]) == 1
    found = {row["job_id"]: (row["state"], row["attempts"], row["error"]) for row in queue.rows()}
    assert found.pop(job.job_id) == ("failed", 2, "RuntimeError: always")
    assert set(found.values()) == {("done", 1, "")}
    failures = pd.read_parquet(tmp_path / "failures")["error"].tolist()
    assert sorted(failures) == ["given up: RuntimeError: always", "to be retried: RuntimeError: always"]


@pytest.mark.slow
def test_a_job_that_has_had_its_attempts_before_is_not_tried_again_and_again(ray_session, tmp_path, monkeypatch, queue):
    job = queue.jobs()[0].job.job_id
    for attempt in (1, 2):  # as an earlier run recorded, that was ended before the third
        queue.record(job, "started", attempt=attempt, term=1)
        queue.record(job, "failed", attempt=attempt, term=1, error="RuntimeError: always", retry_at=1.0)

    def retrain(root, genotype):
        raise RuntimeError("always")

    monkeypatch.setattr("orchestrator.trials.retrain_trials.retrain_trial", trial_of(retrain))
    assert main(["retrain", str(tmp_path), "--set", "run.retry_delay=0", "run.max_failures=2"]) == 1
    assert {(row["attempts"], row["state"]) for row in queue.rows()} == {(3, "failed")}


def test_a_job_that_is_dropped_while_it_waits_is_not_tried_again(tmp_path, monkeypatch):
    log = EventLog(StudyFiles(str(tmp_path / "queue-events")))
    log.append("job", "queued")
    log.append("job", "started", attempt=1, term=1)
    log.append("job", "failed", attempt=1, term=1, error="once", retry_at=time.time() + 1000)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        log.append("job", "dropped", error="by hand")

    monkeypatch.setattr(retraining.time, "sleep", sleep)
    assert retraining._wait_until_due(TrialSpec(key="job", root=str(tmp_path), config=None)) == "dropped"
    assert pauses == [retraining.LOOK_SECONDS]
