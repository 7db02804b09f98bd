"""Writes the tables `searches` and `epochs` while searches run, and decides about retries."""

from collections import Counter
from typing import Any

from analysis.storage import compaction as packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.storage.failure_log import FailureLog
from orchestrator.storage.lease import Lease
from orchestrator.storage.provenance import now, provenance
from orchestrator.trials.failures import TrialFailure
from orchestrator.trials.progress import Progress
from orchestrator.trials.tune_trials import TrialSpec
from pcdarts.complexity import network_complexity
from pcdarts.genotype import Genotype


class SearchListener:
    """Writes the tables `searches` and `epochs`.

    A search that fails runs again at most `max_failures` times without a new epoch.  One that runs out of memory does
    not: it is added to `out_of_memory`, for a second run with more memory.
    """

    def __init__(
        self, study: StudyConfig, store: ResultStore, lease: Lease, progress: Progress, *, max_failures: int = 0
    ) -> None:
        self.study, self.store, self.lease, self.progress = study, store, lease, progress
        self.max_failures = max_failures
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.started_at: dict[str, str] = {}
        self.out_of_memory: dict[str, tuple[TrialSpec, TrialFailure]] = {}
        """Searches that ran out of memory once."""
        self.ended: list[str] = []
        self.failures = FailureLog(study.name, store)
        self._failed_tries: Counter[str] = Counter()
        """Failures of each search since its last new epoch."""

    def started(self, spec: TrialSpec) -> None:
        """Note the time of the first start."""
        self.started_at.setdefault(spec.key, now())
        self.progress.start(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store an epoch or the result.  The epochs of a search are one part, rewritten with each epoch."""
        content = report["content"]
        if report["kind"] == "result":
            status = "stopped" if content["stop_reason"] else "completed"
            _, before = self.out_of_memory.get(spec.key, (spec, None))
            error = f"{before.message} (completed with fewer neighbors)" if before else ""
            self._end(spec, status=status, error=error, result=content)
            return
        epochs = self.epochs.setdefault(spec.key, {})
        if content["epoch"] not in epochs:
            del self._failed_tries[spec.key]
        epochs[content["epoch"]] = EPOCHS.row(content, search_id=spec.key, study=self.study.name)
        self.store.append(EPOCHS, epochs.values(), spec.key)
        self.progress.advance(spec.key, len(epochs), content["valid_accuracy"])

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """Record a failure; returns whether to run the search again unchanged.

        The epochs of a search that has failed are kept; its traceback is a file in the study's folder.
        """
        key, error = spec.key, failure.message
        if key not in self.started_at:  # its process died before it started
            self.started(spec)
        self.store.write_text(f"error-{key}.txt", failure.traceback_text)
        if failure.out_of_memory and key not in self.out_of_memory:
            self.out_of_memory[key] = (spec, failure)
            self.failures.record("trial", key, f"to be retried with fewer neighbors: {error}")
            return False
        self._failed_tries[key] += 1
        if not failure.out_of_memory and self._failed_tries[key] <= self.max_failures:
            self.failures.record("trial", key, f"retried: {error}")
            self.progress.note(f"search {key} failed, retrying: {error}")
            return True
        self.failures.record("trial", key, f"given up: {error}")
        self.progress.note(f"search {key} failed: {error}")
        self._end(spec, status="failed", error=error, result={})
        return False

    def tick(self) -> None:
        """Stop if the study's lease is lost; record storage failures; redraw the progress."""
        self.lease.check()
        self.failures.flush()
        self.progress.show()

    def _end(self, spec: TrialSpec, *, status: str, error: str, result: dict[str, Any]) -> None:
        """Store a search that ended.  Once many have ended, their parts move into one file per table."""
        row = self._row(spec, status=status, error=error, result=result)
        self.store.append(SEARCHES, [row], spec.key)
        self.epochs.pop(spec.key, None)
        self.ended.append(spec.key)
        if len(self.ended) == packs.SIZE:
            for table in (SEARCHES, EPOCHS):
                self.store.compact(table, self.ended)
            self.ended = []
        self.progress.finish(spec.key, failed=status == "failed")

    def _row(self, spec: TrialSpec, *, status: str, error: str, result: dict[str, Any]) -> dict[str, Any]:
        size: dict[str, int] = {}
        if result:
            complexity = network_complexity(Genotype.parse(result["genotype"]), self.study.retrain)
            size = {"network_parameters": complexity.parameters, "network_macs": complexity.macs}
        if result.get("gpu_days"):
            result = result | {"gpu_days": result["gpu_days"] * spec.memory_fraction}
        return SEARCHES.row(
            spec.config,
            result,
            size,
            provenance(self.started_at[spec.key], now()),
            search_id=spec.key,
            study=self.study.name,
            status=status,
            error=error,
            predicted_memory_bytes=spec.predicted_memory,
            setting=self.study.setting(spec.config),
            sampling_rate=spec.config.sampling_rate,
        )
