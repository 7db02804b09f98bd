"""How often running jobs write progress events."""

import json

import pytest

from analysis.tables import RETRAIN_EPOCHS
from orchestrator.queue.events import JobState
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.background import BackgroundWork
from orchestrator.storage.lease import Lease
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials import retrain_listener
from orchestrator.trials.failures import classify
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_listener import PROGRESS_SECONDS, RetrainListener
from orchestrator.trials.retrain_spec import RetrainSpec
from tests.orchestrator.queue.killing import OPTIONS, RESULT, make_study, study_with_searches
from tests.orchestrator.storage.test_table_writer import Held

EPOCH = {"kind": "epoch", "content": {"epoch": 0, "seconds": 1.0, "valid_accuracy": 50.0}}


FULL = {
    "epoch": 0,
    "learning_rate": 0.1,
    "train_loss": 2.0,
    "train_accuracy": 40.0,
    "valid_loss": 2.1,
    "valid_accuracy": 50.0,
    "seconds": 1.0,
}


def test_epochs_of_jobs_are_rows_while_they_run(tmp_path):
    queue = RetrainQueue(*study_with_searches(str(tmp_path), make_study()))
    queue.update()
    job = queue.pending()[0].job
    spec = RetrainSpec(key=job.job_id, root="", config=queue.recipe(job), job=job)
    progress = Progress("", {spec.key: 2})
    with TableWriter(queue.store, (RETRAIN_EPOCHS,)) as writer:
        listener = RetrainListener(queue, Lease(f"{tmp_path}/lease"), progress, OPTIONS, writer=writer)
        listener.expect([spec])
        listener.reported(spec, {"kind": "began", "content": {}})
        for epoch in (0, 1, 1):  # one that resumes repeats its epochs
            listener.reported(spec, {"kind": "epoch", "content": FULL | {"epoch": epoch}})
        (trial,) = listener.board.snapshot().running
        assert (trial.epoch, trial.epochs, trial.attempt, trial.cell) == (2, 2, 1, job.cell.genotype.digest)
        writer.flush()
        rows = queue.store.rows(RETRAIN_EPOCHS)
    found = [(row["job_id"], row["epoch"], row["valid_accuracy"]) for row in rows]
    assert found == [(job.job_id, 0, 50.0), (job.job_id, 1, 50.0)]


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


def test_a_job_that_fails_says_first_how_far_it_got(tmp_path):
    """Otherwise a try would count that trained further than the last one."""
    now = 1000.0
    queue = RetrainQueue(*study_with_searches(str(tmp_path), make_study()), clock=lambda: now)
    queue.update()
    job = queue.pending()[0].job
    spec = RetrainSpec(key=job.job_id, root="", config=queue.recipe(job), job=job)
    progress = Progress("", {spec.key: 9}, clock=lambda: now)
    listener = RetrainListener(queue, Lease(f"{tmp_path}/lease"), progress, OPTIONS)
    listener.reported(spec, {"kind": "began", "content": {}})
    for epoch in (0, 1, 2):  # within the pause between two progress events
        listener.reported(spec, {"kind": "epoch", "content": EPOCH["content"] | {"epoch": epoch}})
    assert queue.state(spec.key).epochs == 1
    assert listener.failed(spec, classify("Traceback\nRuntimeError: broken\n"))
    assert (queue.state(spec.key).epochs, queue.state(spec.key).state) == (3, "queued")


def test_slow_storage_takes_events_in_the_background_and_progress_only_when_it_is_idle(tmp_path):
    now, held = 1000.0, Held()
    queue = RetrainQueue(*study_with_searches(str(tmp_path), make_study()), clock=lambda: now)
    queue.update()
    first, second = (queued.job for queued in queue.pending()[:2])
    specs = [RetrainSpec(key=job.job_id, root="", config=queue.recipe(job), job=job) for job in (first, second)]
    progress = Progress("", {spec.key: 9 for spec in specs}, clock=lambda: now)
    listener = RetrainListener(queue, Lease(f"{tmp_path}/lease"), progress, OPTIONS, work=BackgroundWork(held))
    listener.expect(specs)

    def write_all():
        held.waiting.reverse()  # `run` takes the last one
        while held.waiting:
            held.run()
        listener.tick()

    for spec in specs:
        listener.reported(spec, {"kind": "began", "content": {}})
    listener.reported(specs[0], EPOCH)
    assert [queue.state(spec.key).state for spec in specs] == ["queued", "queued"]
    assert [trial.epoch for trial in listener.board.snapshot().running] == [1, 0]
    write_all()
    assert [queue.state(spec.key) for spec in specs] == [JobState(state="running", attempts=1, tries=1)] * 2
    listener.reported(specs[0], EPOCH)
    listener.reported(specs[1], EPOCH)
    write_all()
    assert [queue.state(spec.key).epochs for spec in specs] == [1, 0]
    listener.reported(specs[0], {"kind": "result", "content": RESULT})
    listener.tick()
    assert listener.board.snapshot().done == 0
    write_all()
    assert listener.board.snapshot().done == 1
    assert [queue.state(spec.key).state for spec in specs] == ["done", "running"] and queue.result(specs[0].key)
