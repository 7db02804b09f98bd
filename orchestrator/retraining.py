"""The retraining queue of a study: one job a distinct cell, stored in the table `queue`, worked off under Ray Tune."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.progress import Progress
from orchestrator.provenance import now, provenance
from orchestrator.selection import select
from orchestrator.storage import checkpoint
from orchestrator.trials import TrialSpec, error_line, report
from pcdarts.config import digest
from pcdarts.genotype import Genotype
from pcdarts.results import RetrainEpoch
from pcdarts.retrain import retrain
from pcdarts.training import limit_gpu_memory


def retrain_trial(trial: dict[str, Any]) -> None:
    """One retraining on a worker: report every epoch, then the result."""
    spec: TrialSpec = trial["spec"]
    limit_gpu_memory(spec.memory_fraction)

    def on_epoch(record: RetrainEpoch) -> None:
        report("epoch", asdict(record))

    genotype = Genotype.parse(spec.genotype)
    result = retrain(genotype, spec.config, checkpoint=checkpoint(spec.root, spec.key), on_epoch=on_epoch)
    report("result", asdict(result))


class RetrainQueue:
    """The jobs of a study.  Every job is a part of its own, so a change of state replaces one small file."""

    def __init__(self, study: StudyConfig, store: ResultStore) -> None:
        self.study, self.store = study, store

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs by rank, dropped ones last."""
        parts = (self.store.read_part(QUEUE, part) for part in self.store.parts(QUEUE))
        rows = [row for part in parts if part for row in part]
        return sorted(rows, key=lambda row: (row["state"] == "dropped", row["rank"], row["job_id"]))

    def waiting(self) -> list[dict[str, Any]]:
        """Jobs to work off.  One that is `running` while nobody works on the queue was interrupted: it goes on.

        If it was interrupted between its result and its state, the state is set right.
        """
        for job in self.jobs():
            ended = self.store.read_part(RETRAINS, f"{job['job_id']}-attempt{job['attempts']}")
            if job["state"] == "running" and ended:
                state = "done" if ended[0]["status"] == "completed" else "failed"
                self.change(job["job_id"], state=state, error=ended[0]["error"])
        return [job for job in self.jobs() if job["state"] in ("queued", "running")]

    def update(self) -> list[dict[str, Any]]:
        """Queue the cells that the study's searches select now.

        Jobs that were queued before keep their state; those that are selected no more and have not begun are dropped.
        """
        before = {job["job_id"]: job for job in self.jobs()}
        searches = [row for part in self.store.parts(SEARCHES) for row in self.store.read_part(SEARCHES, part) or []]
        selected = set()
        for rank, candidate in enumerate(select(searches, self.study.selection), start=1):
            job_id = f"{candidate.genotype_digest}-{digest(self.study.retrain)}"
            selected.add(job_id)
            fresh = {"state": "queued", "attempts": 0, "error": "", "submitted_at": now()}
            old = before.get(job_id, fresh)
            kept = {name: old[name] for name in fresh} if old.get("state") != "dropped" else fresh
            genotype = {"genotype": old["genotype"]} if "genotype" in old else {}
            self._write(QUEUE.row(candidate, kept, genotype, job_id=job_id, study=self.study.name, rank=rank))
        for job_id, job in before.items():
            if job_id not in selected and job["state"] == "queued":
                self._write(job | {"state": "dropped", "reason": "no longer among the best cells"})
        return self.jobs()

    def change(self, job_id: str, **values: Any) -> None:
        """Change columns of a job; raises ValueError where it is missing or its part is broken."""
        rows = self.store.read_part(QUEUE, job_id)
        if not rows:
            raise ValueError(
                f"job {job_id} of the queue cannot be read; `pcdarts run` of the same study queues it anew"
            )
        self._write(rows[0] | values)

    def attempts_ended(self, job_id: str) -> int:
        """Attempts of a job that ended."""
        return sum(part.startswith(f"{job_id}-attempt") for part in self.store.parts(RETRAINS))

    def _write(self, job: Mapping[str, Any]) -> None:
        """Store a job, unless it is stored like this."""
        if self.store.read_part(QUEUE, job["job_id"]) != QUEUE.to_arrow([job]).to_pylist():
            self.store.append(QUEUE, [job], job["job_id"])


class RetrainListener:
    """Keeps the state of the jobs, and writes the table `retrains`."""

    def __init__(self, queue: RetrainQueue, progress: Progress) -> None:
        self.queue, self.progress = queue, progress
        self.started_at: dict[str, str] = {}

    def started(self, spec: TrialSpec) -> None:
        """Mark a job as running.  An attempt that was interrupted and goes on keeps its number."""
        self.started_at.setdefault(spec.key, now())
        self.queue.change(spec.key, state="running", attempts=self.queue.attempts_ended(spec.key) + 1)
        self.progress.start(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Show an epoch, or store the result."""
        content = report["content"]
        if report["kind"] == "result":
            self._end(spec, status="completed", error="", result=content)
        else:
            self.progress.advance(spec.key, content["epoch"] + 1, content["valid_accuracy"])

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """Store a retraining that failed for good; its traceback lies in a file beside the tables."""
        self.queue.store.write_text(f"error-{spec.key}.txt", traceback)
        self._end(spec, status="failed", error=error_line(traceback), result={})

    def tick(self) -> None:
        """Redraw the progress."""
        self.progress.show()

    def _end(self, spec: TrialSpec, *, status: str, error: str, result: dict[str, Any]) -> None:
        attempt = self.queue.attempts_ended(spec.key) + 1
        row = RETRAINS.row(
            spec.config,
            result,
            provenance(self.started_at[spec.key], now()),
            job_id=spec.key,
            study=self.queue.study.name,
            attempt=attempt,
            status=status,
            error=error,
            genotype=spec.genotype,
            genotype_digest=Genotype.parse(spec.genotype).digest,
        )
        self.queue.store.append(RETRAINS, [row], f"{spec.key}-attempt{attempt}")
        self.queue.change(spec.key, state="done" if status == "completed" else "failed", attempts=attempt, error=error)
        self.progress.finish(spec.key, failed=status == "failed")
