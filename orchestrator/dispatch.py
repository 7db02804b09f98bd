"""Working off the retraining queue: one dispatcher, rounds of the jobs that are due, until none is left."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from analysis.files import join
from analysis.records import RetrainJob
from cluster.connect import counted
from orchestrator.lease import Lease
from orchestrator.options import RunOptions
from orchestrator.queue import RetrainQueue

Run = Callable[[Sequence[RetrainJob]], None]


def open_lease(root: str, options: RunOptions, what: Literal["queue", "study"] = "queue", least_term: int = 0) -> Lease:
    """The lease of a study's queue, or of the study; `least_term` is one that events are known from.

    Its time-out is at least twice `storage_patience`, so that waiting for the storage does not lose it.
    """
    timeout = max(options.lease_timeout, 2 * options.storage_patience)
    return Lease(join(root, f"{what}-lease"), what=what, timeout=timeout, least_term=least_term)


def dispatch(
    queue: RetrainQueue,
    lease: Lease,
    run: Run,
    *,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = print,
) -> None:
    """Run jobs until none waits, while the lease is held.

    `run` runs the given jobs, all of one stage, with their repetitions, and records how they end.  Jobs that are added
    while it runs, and the final jobs that follow from proxies, are taken in the next round.  A job that no network can
    be built from fails before it runs.
    """
    while jobs := queue.waiting():
        lease.check()
        for job in jobs:
            if problem := queue.problem(job):
                attempt = job.attempts + (job.state == "queued")
                queue.record(job.job_id, "failed", attempt=attempt, error=problem, term=lease.term)
        now = queue.clock()
        states = {job.job_id: queue.state(job.job_id, look=False) for job in jobs}
        left = [job for job in jobs if states[job.job_id].state in ("queued", "running")]
        due_at = {job.job_id: states[job.job_id].retry_at or 0.0 for job in left}
        due = [job for job in left if due_at[job.job_id] <= now]
        if due:
            run([job for job in due if job.stage == due[0].stage])
        elif left:
            pause = min(due_at.values()) - now
            say(f"{counted(len(left), 'failed job')} to be tried again in {pause:.0f} s")
            sleep(pause)
