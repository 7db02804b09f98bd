"""The searches of a study under Ray Tune: the trial on the worker, and the listener that fills the tables."""

import traceback
from dataclasses import asdict
from typing import Any

from analysis import packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.progress import Progress
from orchestrator.provenance import now, provenance
from orchestrator.sharing import SharedData, images_of
from orchestrator.storage import checkpoint
from orchestrator.trials import TrialSpec, error_line, report
from pcdarts.complexity import network_complexity
from pcdarts.genotype import Genotype
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training import limit_gpu_memory

KILLED = "running low on memory"
"""How Ray explains that it ended a process for its node's sake."""


def search_trial(trial: dict[str, Any], shared: SharedData | None = None) -> None:
    """One search on a worker: report every epoch, then the result, or that memory did not suffice."""
    spec: TrialSpec = trial["spec"]
    limit_gpu_memory(spec.memory_fraction)

    def on_epoch(record: EpochRecord) -> None:
        report("epoch", asdict(record))

    file, data = checkpoint(spec.root, spec.key), images_of(spec.config, shared or {})
    try:
        result = search(spec.config, checkpoint=file, data=data, on_epoch=on_epoch)
    except (MemoryError, RuntimeError):  # PyTorch's errors are of the second kind
        said = traceback.format_exc()
        if not out_of_memory(said):
            raise
        report("out of memory", {"traceback": said})  # no error to Tune, which would repeat it as it was
        return
    report("result", asdict(result))


def out_of_memory(said: str) -> bool:
    """Whether a traceback, or Ray's word on a process that it killed, ends in a lack of memory of a GPU or a node."""
    texts = ("MemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED")
    return _killed(said) or any(text in error_line(said) for text in texts)


def _killed(said: str) -> bool:
    """Whether Ray ended the process for its node's sake, in the last of the failures that Tune has written down."""
    return KILLED in said.rpartition("Failure # ")[2]


class SearchListener:
    """Writes the tables `searches` and `epochs` while the searches run."""

    def __init__(self, study: StudyConfig, store: ResultStore, progress: Progress) -> None:
        self.study, self.store, self.progress = study, store, progress
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.started_at: dict[str, str] = {}
        self.starved: dict[str, tuple[TrialSpec, str]] = {}
        """Searches that ran out of memory for the first time, with the error: to be run again, with more of it."""
        self.ended: list[str] = []

    def started(self, spec: TrialSpec) -> None:
        """Note the time of the first start."""
        self.started_at.setdefault(spec.key, now())
        self.progress.start(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Store an epoch, or the result.  A search's epochs are one part, written anew with each epoch."""
        content = report["content"]
        if report["kind"] == "out of memory":
            self.failed(spec, content["traceback"])
            return
        if report["kind"] == "result":
            status = "stopped" if content["stop_reason"] else "completed"
            _, before = self.starved.get(spec.key, (spec, ""))
            error = before and f"{before} (with fewer neighbours it went on)"
            self.store.append(SEARCHES, [self._row(spec, status=status, error=error, result=content)], spec.key)
            self._end(spec.key)
            self.progress.finish(spec.key)
            return
        epochs = self.epochs.setdefault(spec.key, {})
        epochs[content["epoch"]] = EPOCHS.row(content, search_id=spec.key, study=self.study.name)
        self.store.append(EPOCHS, epochs.values(), spec.key)
        self.progress.advance(spec.key, len(epochs), content["valid_accuracy"])

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """Store a search that failed for good; its epochs so far stay, and its traceback lies in a file beside.

        One that ran out of memory for the first time has not: it is put among the `starved`.
        """
        self.store.write_text(f"error-{spec.key}.txt", traceback)
        killed = "OutOfMemoryError: Ray ended the process, as its node was running low on memory"
        error = killed if _killed(traceback) else error_line(traceback)
        if out_of_memory(traceback) and spec.key not in self.starved:
            self.starved[spec.key] = (spec, error)
            return
        self.store.append(SEARCHES, [self._row(spec, status="failed", error=error, result={})], spec.key)
        self._end(spec.key)
        self.progress.finish(spec.key, failed=True)

    def tick(self) -> None:
        """Redraw the progress."""
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
