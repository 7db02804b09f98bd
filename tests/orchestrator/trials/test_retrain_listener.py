"""How often running jobs write progress events."""

import json

import pytest

from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import Lease
from orchestrator.trials import retrain_listener
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import PROGRESS_SECONDS, RetrainListener
from orchestrator.trials.retrain_spec import RetrainSpec
from tests.orchestrator.queue.killing import OPTIONS, make_study, study_with_searches

EPOCH = {"kind": "epoch", "content": {"epoch": 0, "seconds": 1.0, "valid_accuracy": 50.0}}


@pytest.mark.parametrize(("least", "pause"), [(PROGRESS_SECONDS, PROGRESS_SECONDS), (1.0, 3.0)])
def test_a_job_writes_progress_twice_a_minute_and_many_jobs_once_a_second_in_all(tmp_path, monkeypatch, least, pause):
    monkeypatch.setattr(retrain_listener, "PROGRESS_SECONDS", least)
    now = 1000.0
    queue = RetrainQueue(*study_with_searches(str(tmp_path), make_study()), clock=lambda: now)
    queue.update()
    jobs = [queued.job for queued in queue.pending()]
    specs = [RetrainSpec(key=job.job_id, root="", config=queue.recipe(job), job=job) for job in jobs]
    assert len(specs) == 3
    progress = Progress("", {spec.key: 9 for spec in specs}, clock=lambda: now)
    listener = RetrainListener(queue, Lease(f"{tmp_path}/lease"), progress, OPTIONS)

    def events():
        found = [json.loads(path.read_text())["kind"] for path in (tmp_path / "queue-events").glob("*.json")]
        return found.count("progress")

    for spec in specs:
        listener.reported(spec, {"kind": "began", "content": {}})
    listener.reported(specs[0], EPOCH)
    now += pause - 0.5
    listener.reported(specs[0], EPOCH)
    assert events() == 1
    now += 0.5
    listener.reported(specs[0], EPOCH)
    assert events() == 2
