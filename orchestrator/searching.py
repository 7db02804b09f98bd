"""The searches of a study under Ray Tune: the trial on the worker, and the listener that fills the tables."""

from dataclasses import asdict
from typing import Any

from analysis import packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.failures import FailureLog
from orchestrator.progress import Progress
from orchestrator.provenance import now, provenance
from orchestrator.storage import checkpoint
from orchestrator.trials import TrialSpec, error_line, report
from pcdarts.complexity import network_complexity
from pcdarts.genotype import Genotype
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training import limit_gpu_memory


def search_trial(trial: dict[str, Any]) -> None:
    """One search on a worker: report every epoch, then the result."""
    spec: TrialSpec = trial["spec"]
    limit_gpu_memory(spec.memory_fraction)

    def on_epoch(record: EpochRecord) -> None:
        report("epoch", asdict(record))

    result = search(spec.config, checkpoint=checkpoint(spec.root, spec.key, spec.patience), on_epoch=on_epoch)
    report("result", asdict(result))


class SearchListener:
    """Writes the tables `searches` and `epochs` while the searches run."""

    def __init__(self, study: StudyConfig, store: ResultStore, progress: Progress) -> None:
        self.study, self.store, self.progress = study, store, progress
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.started_at: dict[str, str] = {}
        self.ended: list[str] = []
        self.failures = FailureLog(study.name, store)

    def started(self, spec: TrialSpec) -> None:
        """Note the time of the first start."""
        self.started_at.setdefault(spec.key, now())
        self.progress.start(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store an epoch, or the result.  A search's epochs are one part, written anew with each epoch."""
        content = report["content"]
        if report["kind"] == "result":
            status = "stopped" if content["stop_reason"] else "completed"
            self.store.append(SEARCHES, [self._row(spec, status=status, error="", result=content)], spec.key)
            self._end(spec.key)
            self.progress.finish(spec.key)
            return
        epochs = self.epochs.setdefault(spec.key, {})
        epochs[content["epoch"]] = EPOCHS.row(content, search_id=spec.key, study=self.study.name)
        self.store.append(EPOCHS, epochs.values(), spec.key)
        self.progress.advance(spec.key, len(epochs), content["valid_accuracy"])

    def retried(self, spec: TrialSpec, traceback: str) -> None:
        """Record a failure that is mended by another try."""
        self.failures.record("trial", spec.key, f"tried again: {error_line(traceback)}")
        self.progress.note(f"search {spec.key} failed and is tried again: {error_line(traceback)}")

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """Store a search that failed for good; its epochs so far stay, and its traceback lies in a file beside."""
        self.store.write_text(f"error-{spec.key}.txt", traceback)
        error = error_line(traceback)
        self.store.append(SEARCHES, [self._row(spec, status="failed", error=error, result={})], spec.key)
        self.failures.record("trial", spec.key, f"given up: {error}")
        self.progress.note(f"search {spec.key} failed for good: {error}")
        self._end(spec.key)
        self.progress.finish(spec.key, failed=True)

    def tick(self) -> None:
        """Record what the storage met with; redraw the progress."""
        self.failures.flush()
        self.progress.show()

    def _end(self, key: str) -> None:
        """Forget a search that ended.  Once many have, their parts move into one file a table."""
        self.epochs.pop(key, None)
        self.ended.append(key)
        if len(self.ended) == packs.SIZE:
            for table in (SEARCHES, EPOCHS):
                self.store.compact(table, self.ended)
            self.ended = []

    def _row(self, spec: TrialSpec, *, status: str, error: str, result: dict[str, Any]) -> dict[str, Any]:
        size: dict[str, int] = {}
        if result:
            complexity = network_complexity(Genotype.parse(result["genotype"]), self.study.retrain)
            size = {"network_parameters": complexity.parameters, "network_macs": complexity.macs}
        return SEARCHES.row(
            spec.config,
            result,
            size,
            provenance(self.started_at[spec.key], now()),
            search_id=spec.key,
            study=self.study.name,
            status=status,
            error=error,
            setting=self.study.setting(spec.config),
            sampling_rate=None if spec.config.method == "random" else 1 / spec.config.k,
        )
