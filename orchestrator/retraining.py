"""Retraining under Ray Tune: the trial on the worker, and the listener that tells the queue and fills `retrains`."""

from dataclasses import asdict
from typing import Any

from analysis.tables import RETRAINS
from orchestrator.events import Kind
from orchestrator.lease import Lease
from orchestrator.options import RunOptions
from orchestrator.progress import Progress
from orchestrator.provenance import now, provenance
from orchestrator.queue import RetrainQueue
from orchestrator.sharing import SharedData, images_of
from orchestrator.storage import checkpoint
from orchestrator.training import Team, train_team
from orchestrator.trials import TrialSpec, error_line, report
from pcdarts.genotype import Genotype
from pcdarts.results import RetrainEpoch
from pcdarts.retrain import retrain
from pcdarts.training import limit_gpu_memory

PROGRESS_SECONDS = 30.0
"""Least time between two events that tell a job's progress."""


def retrain_trial(trial: dict[str, Any], team: Team | None = None, shared: SharedData | None = None) -> None:
    """One retraining, in this process or by a team that it coordinates: report every epoch, then the result."""
    spec: TrialSpec = trial["spec"]
    genotype = Genotype.parse(spec.genotype)
    if team is not None:
        train_team(genotype, spec.config, root=spec.root, key=spec.key, team=team)
        return
    limit_gpu_memory(spec.memory_fraction)

    def on_epoch(record: RetrainEpoch) -> None:
        report("epoch", asdict(record))

    file, data = checkpoint(spec.root, spec.key), images_of(spec.config, shared or {})
    result = retrain(genotype, spec.config, checkpoint=file, data=data, on_epoch=on_epoch)
    report("result", asdict(result))


class RetrainListener:
    """Tells the queue what becomes of the jobs, and writes the table `retrains`."""

    def __init__(self, queue: RetrainQueue, lease: Lease, progress: Progress, options: RunOptions) -> None:
        self.queue, self.lease, self.progress, self.options = queue, lease, progress, options
        self.started_at: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.told_at: dict[str, float] = {}

    def started(self, spec: TrialSpec) -> None:
        """Mark a job as running.  An attempt that was interrupted and goes on keeps its number."""
        self.lease.check()
        self.started_at[spec.key] = now()
        state = self.queue.state(spec.key, look=False)
        self.attempts[spec.key] = state.attempts + (state.state != "running")
        self._record(spec, "started")
        self.progress.start(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Show an epoch, or store the result."""
        content = report["content"]
        if report["kind"] == "result":
            self._store(spec, spec.key, status="completed", error="", result=content)
            self._record(spec, "done")
            self.progress.finish(spec.key)
            return
        epochs = content["epoch"] + 1
        if self.queue.clock() - self.told_at.get(spec.key, 0.0) >= PROGRESS_SECONDS:
            self.told_at[spec.key] = self.queue.clock()
            self._record(spec, "progress", epochs=epochs, epoch_seconds=content["seconds"])
        self.progress.advance(spec.key, epochs, content["valid_accuracy"])

    def retried(self, spec: TrialSpec, traceback: str) -> None:
        """Never called: the queue repeats what fails, not Tune."""

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """Store an attempt that failed; its traceback lies in a file beside the tables."""
        self.queue.store.write_text(f"error-{spec.key}.txt", traceback)
        error = error_line(traceback)
        self._store(spec, f"{spec.key}-attempt{self.attempts[spec.key]}", status="failed", error=error, result={})
        self._record(spec, "failed", error=error, retry_at=self.queue.retry_time(spec.key, self.options))
        self.progress.finish(spec.key, failed=True)

    def tick(self) -> None:
        """Stop if the lease is lost; redraw the progress."""
        self.lease.check()
        self.progress.show()

    def _record(self, spec: TrialSpec, kind: Kind, **content: Any) -> None:
        dispatcher, attempt = self.lease.id, self.attempts[spec.key]
        self.queue.record(spec.key, kind, attempt=attempt, dispatcher=dispatcher, term=self.lease.term, **content)

    def _store(self, spec: TrialSpec, part: str, *, status: str, error: str, result: dict[str, Any]) -> None:
        """Write a row of `retrains`.  A completed one bears the job's name alone: delivered twice, it is there once."""
        row = RETRAINS.row(
            spec.config,
            result,
            provenance(self.started_at[spec.key], now()),
            job_id=spec.key,
            study=self.queue.study.name,
            attempt=self.attempts[spec.key],
            status=status,
            error=error,
            genotype=spec.genotype,
            genotype_digest=Genotype.parse(spec.genotype).digest,
            stage=self.queue.stage(spec.key),
        )
        if status == "failed" or self.queue.result(spec.key) is None:
            self.queue.store.append(RETRAINS, [row], part)
