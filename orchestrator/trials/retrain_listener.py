"""Writes the events of the queue and the table `retrains` while jobs run, and decides about retries."""

from typing import Any

from analysis.tables import RETRAINS
from orchestrator.options import RunOptions
from orchestrator.queue.events import EventKind
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.failure_log import FailureLog
from orchestrator.storage.lease import Lease
from orchestrator.storage.provenance import now, provenance
from orchestrator.trials.failures import TrialFailure
from orchestrator.trials.progress import Progress
from orchestrator.trials.tune_trials import TrialSpec

PROGRESS_SECONDS = 30.0
"""Minimum time between two progress events of a job.  With many jobs it is longer: about one event a second in all."""


class RetrainListener:
    """Records the progress of jobs in the queue, and writes the table `retrains`."""

    def __init__(self, queue: RetrainQueue, lease: Lease, progress: Progress, options: RunOptions) -> None:
        self.queue, self.lease, self.progress, self.options = queue, lease, progress, options
        self.started_at: dict[str, str] = {}
        """Start times of the last attempts."""
        self.running: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.progress_at: dict[str, float] = {}
        """Times of the last progress events."""
        self.failures = FailureLog(queue.study.name, queue.store)

    def started(self, spec: TrialSpec) -> None:
        """Check the lease.  The attempt has not begun: the job may be delayed, or dropped by hand."""
        self.lease.check()

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Mark a job as running, show an epoch, or store the result."""
        kind, content = report["kind"], report["content"]
        if kind == "began":
            self._begin(spec)
        elif kind in ("dropped", "failed"):
            self.progress.finish(spec.key, failed=kind == "failed")
        elif kind == "result":
            self._store(spec, spec.key, status="completed", error="", result=content)
            self._record(spec, "done")
            self.running.discard(spec.key)
            self.progress.finish(spec.key)
        else:
            epochs = content["epoch"] + 1
            pause = max(PROGRESS_SECONDS, len(self.running))
            if self.queue.clock() - self.progress_at.get(spec.key, 0.0) >= pause:
                self.progress_at[spec.key] = self.queue.clock()
                self._record(spec, "progress", epochs=epochs, epoch_seconds=content["seconds"])
            self.progress.advance(spec.key, epochs, content["valid_accuracy"])

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """Store a failed attempt, with its traceback in a file; returns whether to run the job again."""
        if spec.key not in self.started_at:  # its process died before the attempt began
            self._begin(spec)
        error = failure.message
        self.queue.store.write_text(f"error-{spec.key}.txt", failure.traceback_text)
        self._store(spec, f"{spec.key}-attempt{self.attempts[spec.key]}", status="failed", error=error, result={})
        retry_at = self.queue.retry_time(spec.key, self.options)
        self._record(spec, "failed", error=error, retry_at=retry_at)
        del self.started_at[spec.key]
        self.running.discard(spec.key)
        if retry_at is None:
            self.failures.record("trial", spec.key, f"given up: {error}")
            self.progress.note(f"retraining {spec.key} failed: {error}")
            self.progress.finish(spec.key, failed=True)
            return False
        seconds = max(0.0, retry_at - self.queue.clock())
        self.failures.record("trial", spec.key, f"to be retried: {error}")
        self.progress.note(f"retraining {spec.key} failed, retrying in {seconds:.0f} s: {error}")
        return True

    def _begin(self, spec: TrialSpec) -> None:
        """Mark a job as running.  An interrupted attempt that resumes keeps its number."""
        self.lease.check()
        self.started_at[spec.key] = now()
        self.running.add(spec.key)
        state = self.queue.state(spec.key, look=False)
        self.attempts[spec.key] = state.attempts + (state.state != "running")
        self._record(spec, "started")
        self.progress.start(spec.key)

    def tick(self) -> None:
        """Stop if the lease is lost; record storage failures; redraw the progress."""
        self.lease.check()
        self.failures.flush()
        self.progress.show()

    def _record(self, spec: TrialSpec, kind: EventKind, **content: Any) -> None:
        dispatcher, attempt = self.lease.id, self.attempts[spec.key]
        self.queue.record(spec.key, kind, attempt=attempt, dispatcher=dispatcher, term=self.lease.term, **content)

    def _store(self, spec: TrialSpec, part: str, *, status: str, error: str, result: dict[str, Any]) -> None:
        """Write a row of `retrains`.  A completed job has one row, even if its result is delivered twice."""
        job = self.queue.requests.get(spec.key)
        row = RETRAINS.row(
            spec.config,
            result,
            provenance(self.started_at[spec.key], now()),
            job_id=spec.key,
            study=self.queue.study.name,
            attempt=self.attempts[spec.key],
            status=status,
            error=error,
            genotype=job.cell.genotype,
            genotype_digest=job.cell.genotype.digest,
            stage=job.stage,
            rung=job.rung,
        )
        if status == "failed" or self.queue.result(spec.key) is None:
            self.queue.store.append(RETRAINS, [row], part)
