"""The queue under Ray with real processes: two commands at once, a killed worker, a deposed dispatcher."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.storage.study_files import join
from orchestrator.options import RunOptions
from orchestrator.queue.dispatch import dispatch
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import Lease, open_lease
from tests.orchestrator.queue.killing import executor, make_study, study_with_searches

TRIAL = "ray::ImplicitFunc.train"
"""How Ray names the process of a Tune function while it runs."""


def queued(root, epochs):
    """A study of three cells that wait for their retraining."""
    study = make_study()
    study, store = study_with_searches(str(root), replace(study, retrain=replace(study.retrain, epochs=epochs)))
    queue = RetrainQueue(study, store)
    queue.update()
    return queue


@pytest.fixture
def start():
    """Starts `pcdarts retrain`; what still runs at the end is killed."""
    processes = []

    def run(root, *flags):
        command = [sys.executable, "-m", "orchestrator.cli", "retrain", str(root), "--address", "local", *flags]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, text=True, env=environment, **pipes))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


def wait_for(condition, processes):
    """Return what the condition gives once it is true; fail if all processes end before."""
    while not (found := condition()):
        if all(process.poll() is not None for process in processes):
            pytest.fail(f"came to nothing: {[p.communicate() for p in processes if p.poll() is not None]}")
        time.sleep(0.05)
    return found


def trials_of(process):
    """Ids of the processes below this one that run a trial."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_text().startswith(TRIAL):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended

    def is_below(pid):
        return pid == process.pid or (pid in parents and is_below(parents[pid]))

    return [pid for pid in found if is_below(pid)]


def counted(root, kind):
    """Events of this kind of every job."""
    events = [json.loads(path.read_text()) for path in (root / "queue-events").glob("*.json")]
    return Counter(event["job_id"] for event in events if event["kind"] == kind)


def assert_done_once(root, queue):
    jobs = [row["job_id"] for row in queue.rows()]
    view, retrains = pd.read_parquet(root / "queue"), pd.read_parquet(root / "retrains")
    assert sorted(view["job_id"]) == sorted(jobs) and set(view["state"]) == {"done"}
    completed = retrains[retrains["status"] == "completed"]
    assert sorted(completed["job_id"]) == sorted(jobs)
    assert set(completed["epochs_trained"]) == {queue.study.retrain.epochs}
    return retrains


@pytest.mark.slow
def test_two_commands_at_once_and_a_killed_worker_end_every_job_once(tmp_path, start):
    queue = queued(tmp_path, epochs=12)
    both = [start(tmp_path, "--set", "run.retry_delay=0") for _ in range(2)]

    def training():
        """The trials that run, once one has trained an epoch."""
        return any((tmp_path / "checkpoints").glob("*.pt")) and [pid for process in both for pid in trials_of(process)]

    os.kill(wait_for(training, both)[0], signal.SIGKILL)
    ended = {process.returncode: errors for process in both for _, errors in [process.communicate()]}
    assert sorted(ended) == [0, 4], ended
    assert "another process, process " in ended[4] and len(ended[4].strip().splitlines()) == 1
    retrains = assert_done_once(tmp_path, queue)
    (killed,) = retrains[retrains["status"] == "failed"]["job_id"]
    assert counted(tmp_path, "started") == {row["job_id"]: 1 + (row["job_id"] == killed) for row in queue.rows()}
    attempts = retrains[retrains["job_id"] == killed].sort_values("attempt")
    assert attempts["status"].tolist() == ["failed", "completed"] and attempts["attempt"].tolist() == [1, 2]


@pytest.mark.slow
def test_a_deposed_dispatcher_stops_in_one_line_and_the_next_one_finishes(tmp_path, start):
    queue = queued(tmp_path, epochs=500)
    first = start(tmp_path, "--set", "run.lease_timeout=8")
    wait_for(lambda: counted(tmp_path, "started"), [first])
    second = Lease(join(str(tmp_path), "queue-lease"), is_dead=lambda term: term.id != second.id)
    with second:  # as a dispatcher on another machine takes over, to which the first one seems dead
        dispatch(queue, second, executor(queue, second))
        _, errors = first.communicate()
    assert first.returncode == 4 and "this process lost the lease of the queue: process " in errors
    assert "Traceback" not in errors and len(errors.strip().splitlines()) == 1
    again = RetrainQueue(queue.study, queue.store)
    again.update()
    assert again.pending() == [] and open_lease(str(tmp_path), RunOptions()).acquire() is None
    retrains = pd.read_parquet(tmp_path / "retrains")
    assert sorted(retrains["job_id"]) == sorted(row["job_id"] for row in again.rows())
    assert set(retrains["status"]) == {"completed"}
