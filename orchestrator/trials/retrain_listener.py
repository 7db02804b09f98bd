"""Writes the events of the queue and the table `retrains` while jobs run, and decides about retries."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from analysis.tables import RETRAIN_EPOCHS, RETRAINS
from orchestrator.options import RunOptions
from orchestrator.queue.events import DROPPED_BY_HAND, Event, EventKind, JobState
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.background import BackgroundWork
from orchestrator.storage.failure_log import FailureLog
from orchestrator.storage.lease import Lease
from orchestrator.storage.live_board import LiveBoard, PlannedTrial
from orchestrator.storage.provenance import now, provenance
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.failures import TrialFailure
from orchestrator.trials.progress import Progress
from orchestrator.trials.retrain_spec import RetrainSpec
from orchestrator.trials.tune_trials import TrialSpec

PROGRESS_SECONDS = 30.0
"""Minimum time between two progress events of a job.  With many jobs it is longer: about one event a second in all, and
none while others are being written.
"""


class RetrainListener:
    """Records the progress of jobs in the queue, and writes the tables `retrains` and, with a writer, `retrain_epochs`.

    With `work`, events and results are written in the background; without it, at once.  Epochs may be stored a few
    seconds after the job's result.
    """

    def __init__(
        self,
        queue: RetrainQueue,
        lease: Lease,
        progress: Progress,
        options: RunOptions,
        *,
        writer: TableWriter | None = None,
        work: BackgroundWork | None = None,
        board: LiveBoard | None = None,
    ) -> None:
        self.queue, self.lease, self.progress, self.options = queue, lease, progress, options
        self.writer, self.work, self.board = writer, work, board or LiveBoard()
        self.started_at: dict[str, str] = {}
        """Start times of the last attempts."""
        self.running: set[str] = set()
        self.attempts: dict[str, int] = {}
        """Numbers of the last attempts, once their start is written."""
        self.progress_at: dict[str, float] = {}
        """Times of the last progress events."""
        self.reached: dict[str, dict[str, Any]] = {}
        """How far running jobs have reported to be, as a progress event says it."""
        self.failures = FailureLog(queue.study.name, queue.store)

    def expect(self, specs: Iterable[RetrainSpec], instead_of: Iterable[TrialSpec] = ()) -> None:
        """Jobs that wait for a place; others are withdrawn."""
        specs = list(specs)
        for spec in specs:
            self.progress.expect(spec.key, spec.config.epochs)
        for key in {spec.key for spec in instead_of} - {spec.key for spec in specs}:
            self._withdraw(key)
        self.board.expect(
            PlannedTrial(
                key=spec.key,
                kind="retrain",
                cell=spec.job.cell.genotype.digest,
                seed=spec.config.seed,
                epochs=spec.config.epochs,
                group=f"{spec.job.stage} {spec.job.rung} {spec.config.dataset}",
            )
            for spec in specs
        )

    def started(self, spec: TrialSpec) -> None:
        """Check the lease.  The attempt has not begun: the job may be delayed, or dropped by hand."""
        self.lease.check()

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Mark a job as running, show an epoch, or store the result."""
        kind, content = report["kind"], report["content"]
        if kind == "began":
            self._begin(spec)
        elif kind == "dropped":
            self.settle()
            self.started_at.pop(spec.key, None)
            self.running.discard(spec.key)
            if self.queue.state(spec.key).pending and self.queue.stops.is_set(spec.key):
                self.queue.record(
                    spec.key, "dropped", error=DROPPED_BY_HAND
                )  # an interrupted `drop` wrote the flag only
            self._withdraw(spec.key)
        elif kind == "failed":
            self.progress.finish(spec.key, failed=True)
            self.board.ended(spec.key, failed=True)
        elif kind == "result":
            self.running.discard(spec.key)
            self._do(partial(self._complete, spec, content, now()), then=partial(self._completed, spec.key))
        else:
            epochs = content["epoch"] + 1
            self.reached[spec.key] = {"epochs": epochs, "epoch_seconds": content["seconds"]}
            pause = max(PROGRESS_SECONDS, len(self.running))
            is_due = self.queue.clock() - self.progress_at.get(spec.key, 0.0) >= pause
            if is_due and (self.work is None or self.work.is_idle):
                self.progress_at[spec.key] = self.queue.clock()
                self._do(partial(self._record, spec, "progress", **self.reached[spec.key]))
            if self.writer:
                row = RETRAIN_EPOCHS.row(content, job_id=spec.key, study=self.queue.study.name)
                self.writer.add(RETRAIN_EPOCHS, spec.key, row)
            self.progress.advance(spec.key, epochs, content["valid_accuracy"])
            self.board.reported(spec.key, epochs, content["seconds"], report.get("node"))

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """Store a failed attempt, with its traceback in a file; returns whether to run the job again."""
        self.settle()
        if spec.key not in self.started_at:  # its process died before the attempt began
            self._begin(spec)
            self.settle()
        reached = self.reached.pop(spec.key, None)
        if reached and reached["epochs"] > self.queue.state(spec.key, look=False).epochs:
            self._record(spec, "progress", **reached)  # tries are counted from the last epoch that is known
        error = failure.message
        self.queue.store.write_text(f"error-{spec.key}.txt", failure.traceback_text)
        part = f"{spec.key}-attempt{self.attempts[spec.key]}"
        self._store(spec, part, now(), status="failed", error=error, result={})
        retry_at = self.queue.retry_time(spec.key, self.options)
        self._record(spec, "failed", error=error, retry_at=retry_at)
        del self.started_at[spec.key]
        self.running.discard(spec.key)
        if retry_at is None:
            self.failures.record("trial", spec.key, f"given up: {error}")
            self.progress.note(f"retraining {spec.key} failed: {error}")
            self.progress.finish(spec.key, failed=True)
            self.board.ended(spec.key, failed=True)
            return False
        self.board.waits_again(spec.key)
        seconds = max(0.0, retry_at - self.queue.clock())
        self.failures.record("trial", spec.key, f"to be retried: {error}")
        self.progress.note(f"retraining {spec.key} failed, retrying in {seconds:.0f} s: {error}")
        return True

    def _begin(self, spec: TrialSpec) -> None:
        """Mark a job as running.  An interrupted attempt that resumes keeps its number."""
        self.lease.check()
        self.started_at[spec.key] = now()
        self.running.add(spec.key)
        self.progress.start(spec.key)
        self.board.started(spec.key, _present_attempt(self.queue.state(spec.key, look=False)))
        self._do(partial(self._start, spec))

    def settle(self) -> None:
        """Wait until all that was reported is written: from then on the queue may be read and changed."""
        if self.work:
            self.work.finish()

    def _do(self, step: Callable[[], object], then: Callable[[], None] = lambda: None) -> None:
        """Do a step in the background, and what follows in this thread."""
        if self.work:
            self.work.add(step, then)
        else:
            step()
            then()

    def _start(self, spec: TrialSpec) -> None:
        self.attempts[spec.key] = self._record(spec, "started", attempt=_present_attempt).attempt

    def _complete(self, spec: TrialSpec, result: dict[str, Any], ended_at: str) -> None:
        self._store(spec, spec.key, ended_at, status="completed", error="", result=result)
        self._record(spec, "done")

    def _completed(self, key: str) -> None:
        self.progress.finish(key)
        self.board.ended(key)
        self._epochs_are_complete(key)

    def _epochs_are_complete(self, key: str) -> None:
        if self.writer:
            self.writer.finish(RETRAIN_EPOCHS, key)

    def _withdraw(self, key: str) -> None:
        self._epochs_are_complete(key)
        self.progress.forget(key)
        self.board.withdrawn(key)

    def tick(self) -> None:
        """Stop if lease or storage are lost; write what is due; record storage failures; redraw the progress."""
        self.lease.check()
        if self.work:
            self.work.tick()
        troubles = self.queue.store.troubles
        if self.writer:
            self.writer.tick()
            waiting, last = self.writer.waiting, self.writer.written_at
            self.board.stored(troubles=troubles, rows_waiting=waiting, last_write_at=last)
        else:
            self.board.stored(troubles=troubles)
        self.failures.flush()
        self.progress.show()

    def _record(self, spec: TrialSpec, kind: EventKind, **content: Any) -> Event:
        by = {"dispatcher": self.lease.id, "term": self.lease.term, "attempt": self.attempts.get(spec.key, 0)}
        return self.queue.record(spec.key, kind, **by | content)

    def _store(
        self, spec: TrialSpec, part: str, ended_at: str, *, status: str, error: str, result: dict[str, Any]
    ) -> None:
        """Write a row of `retrains`.  A completed job has one row, even if its result is delivered twice."""
        job = self.queue.requests.get(spec.key)
        row = RETRAINS.row(
            spec.config,
            result,
            provenance(self.started_at[spec.key], ended_at),
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


def _present_attempt(state: JobState) -> int:
    """The number of the attempt that begins or resumes now."""
    return state.attempts + (state.state != "running")
