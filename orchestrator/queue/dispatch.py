"""The dispatcher: runs the retraining queue in rounds of jobs until none is pending."""

from collections.abc import Callable, Sequence

from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.lease import Lease

Run = Callable[[Sequence[RetrainJob]], None]
"""Runs jobs of one stage and rung, with their delays and retries, and records how they end."""


def dispatch(queue: RetrainQueue, lease: Lease, run: Run, *, until: Callable[[], bool] = lambda: False) -> None:
    """Run jobs until none is pending, while the lease is held; `until` is asked before every round.

    Jobs that are added during a round, and those of the next stage, run in the next one.  A job whose
    network cannot be built fails before it runs.
    """
    while not until() and (pending := queue.pending()):
        lease.check()
        runnable = []
        for queued in pending:
            if problem := queue.problem(queued.job):
                attempt = queued.state.attempts + (queued.state.state == "queued")
                queue.record(queued.job.job_id, "failed", attempt=attempt, error=problem, term=lease.term)
            else:
                runnable.append(queued)
        if runnable:
            first = runnable[0].job
            of_stage = [q for q in runnable if (q.job.stage, q.job.rung) == (first.stage, first.rung)]
            of_stage.sort(key=lambda queued: queued.state.retry_at or 0.0)  # delayed jobs come last
            run([queued.job for queued in of_stage])
