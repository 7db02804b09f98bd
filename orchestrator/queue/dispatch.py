"""Working off the retraining queue: one dispatcher, rounds of the jobs that are due, until none is left."""

from collections.abc import Callable, Sequence
from typing import Literal

from analysis.records import RetrainJob
from analysis.storage.study_files import join
from orchestrator.options import RunOptions
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import Lease

Run = Callable[[Sequence[RetrainJob]], None]


def open_lease(root: str, options: RunOptions, what: Literal["queue", "study"] = "queue", least_term: int = 0) -> Lease:
    """The lease of a study's queue, or of the study; its term is above `least_term`, the last one that events name.

    Its time-out is at least twice `storage_patience`, so that waiting for the storage does not lose it.
    """
    timeout = max(options.lease_timeout, 2 * options.storage_patience)
    return Lease(join(root, f"{what}-lease"), what=what, timeout=timeout, least_term=least_term)


def dispatch(queue: RetrainQueue, lease: Lease, run: Run) -> None:
    """Run jobs until none waits, while the lease is held.

    `run` runs the given jobs, all of one stage, each not before its time and with its repetitions, and records how they
    end.  Jobs that are added while it runs, and the final jobs that follow from proxies, are taken in the next round.
    A job that no network can be built from fails before it runs.
    """
    while jobs := queue.waiting():
        lease.check()
        for job in jobs:
            if problem := queue.problem(job):
                attempt = job.attempts + (job.state == "queued")
                queue.record(job.job_id, "failed", attempt=attempt, error=problem, term=lease.term)
        left = [job for job in jobs if queue.state(job.job_id, look=False).state in ("queued", "running")]
        if left:
            stage = [job for job in left if job.stage == left[0].stage]
            run(sorted(stage, key=lambda job: job.retry_at or ""))  # those that have to wait come last
