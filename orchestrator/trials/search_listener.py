"""Writes the tables `searches` and `epochs` while searches run, and decides about retries."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.storage.failure_log import FailureLog
from orchestrator.storage.lease import Lease
from orchestrator.storage.live_board import LiveBoard, PlannedTrial
from orchestrator.storage.provenance import now, provenance
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.failures import TrialFailure
from orchestrator.trials.progress import Progress
from orchestrator.trials.tune_trials import TrialSpec
from pcdarts.complexity import network_complexity
from pcdarts.config import SearchConfig
from pcdarts.genotype import Genotype

NEVER_RAN = "stopped by hand before its first epoch"
"""The error of a search that is `canceled`."""


class SearchListener:
    """Writes the tables `searches` and `epochs`.

    A search that fails runs again at most `max_failures` times without a new epoch.  One that runs out of memory does
    not: it is added to `out_of_memory`, for a second run with more memory.  Rows are written in the background; a
    search counts as done once its row is stored.
    """

    def __init__(
        self,
        study: StudyConfig,
        writer: TableWriter,
        lease: Lease,
        progress: Progress,
        *,
        max_failures: int = 0,
        board: LiveBoard | None = None,
    ) -> None:
        self.study, self.writer, self.lease, self.progress = study, writer, lease, progress
        self.max_failures, self.board = max_failures, board or LiveBoard()
        self.specs: dict[str, TrialSpec] = {}
        """The searches of this run that were expected, by id."""
        self.running: set[str] = set()
        self.ended: set[str] = set()
        self.epochs: defaultdict[str, set[int]] = defaultdict(set)
        """Epochs that running searches have reported."""
        self.started_at: dict[str, str] = {}
        self.out_of_memory: dict[str, tuple[TrialSpec, TrialFailure]] = {}
        """Searches that ran out of memory once."""
        self.failures = FailureLog(study.name, writer.store)
        self._failed_tries: Counter[str] = Counter()
        """Failures of each search since its last new epoch."""

    def expect(self, specs: Iterable[TrialSpec]) -> None:
        """Searches that wait for a place."""
        specs = list(specs)
        self.specs |= {spec.key: spec for spec in specs}
        for spec in specs:
            self.progress.expect(spec.key, epochs_of(spec.config))
        self.board.expect(
            PlannedTrial(
                key=spec.key,
                kind="search",
                setting=self.study.setting(spec.config),
                seed=spec.config.seed,
                epochs=epochs_of(spec.config),
                group=self.study.setting(spec.config),
            )
            for spec in specs
        )

    def cancel(self, key: str) -> None:
        """Give up a search that has not trained an epoch; it gets a row without a result."""
        if key not in self.ended:
            self.started_at.setdefault(key, now())
            self.out_of_memory.pop(key, None)
            self._end(self.specs[key], status="canceled", error=NEVER_RAN, result={})

    def started(self, spec: TrialSpec) -> None:
        """Note the time of the first start."""
        if spec.key in self.ended:  # canceled when Ray had it already
            return
        self.started_at.setdefault(spec.key, now())
        self.specs.setdefault(spec.key, spec)
        self.running.add(spec.key)
        self.progress.start(spec.key)
        self.board.started(spec.key)

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """Add an epoch or the result to the tables.  An epoch that a resumed search repeats replaces its row."""
        content = report["content"]
        if report["kind"] == "canceled":
            self.cancel(spec.key)
            return
        if report["kind"] == "result":
            status = "stopped" if content["stop_reason"] else "completed"
            _, before = self.out_of_memory.get(spec.key, (spec, None))
            error = f"{before.message} (completed with fewer neighbors)" if before else ""
            self._end(spec, status=status, error=error, result=content)
            return
        epochs = self.epochs[spec.key]
        if content["epoch"] not in epochs:
            del self._failed_tries[spec.key]
        epochs.add(content["epoch"])
        self.writer.add(EPOCHS, spec.key, EPOCHS.row(content, search_id=spec.key, study=self.study.name))
        self.progress.advance(spec.key, len(epochs), content["valid_accuracy"])
        self.board.reported(spec.key, len(epochs), content["seconds"], report.get("node"))

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """Record a failure; returns whether to run the search again unchanged.

        The epochs of a search that has failed are kept; its traceback is a file in the study's folder.
        """
        key, error = spec.key, failure.message
        if key in self.ended:  # canceled when Ray had it already
            return False
        if key not in self.started_at:  # its process died before it started
            self.started(spec)
        self.running.discard(key)
        self.writer.store.write_text(f"error-{key}.txt", failure.traceback_text)
        if failure.out_of_memory and key not in self.out_of_memory:
            self.out_of_memory[key] = (spec, failure)
            self.board.waits_again(key)
            self.failures.record("trial", key, f"to be retried with fewer neighbors: {error}")
            return False
        self._failed_tries[key] += 1
        if not failure.out_of_memory and self._failed_tries[key] <= self.max_failures:
            self.board.waits_again(key)
            self.failures.record("trial", key, f"retried: {error}")
            self.progress.note(f"search {key} failed, retrying: {error}")
            return True
        self.failures.record("trial", key, f"given up: {error}")
        self.progress.note(f"search {key} failed: {error}")
        self._end(spec, status="failed", error=error, result={})
        return False

    def tick(self) -> None:
        """Stop if the study's lease or storage is lost; write what is due; redraw the progress."""
        self.lease.check()
        self.writer.tick()
        self.board.stored(
            troubles=self.writer.store.troubles,
            rows_waiting=self.writer.waiting,
            last_write_at=self.writer.written_at,
        )
        self.failures.flush()
        self.progress.show()

    def _end(self, spec: TrialSpec, *, status: str, error: str, result: dict[str, Any]) -> None:
        """Add the row of a search that ended; the search is done once the row is stored."""
        self.writer.finish(EPOCHS, spec.key)
        self.writer.add(SEARCHES, spec.key, self._row(spec, status=status, error=error, result=result))
        self.writer.finish(SEARCHES, spec.key, then=partial(self._stored, spec.key, status))
        self.epochs.pop(spec.key, None)
        self.running.discard(spec.key)
        self.ended.add(spec.key)

    def _stored(self, key: str, status: str) -> None:
        if status == "canceled":
            self.progress.forget(key)
            self.board.withdrawn(key)
        else:
            self.progress.finish(key, failed=status == "failed")
            self.board.ended(key, failed=status == "failed")

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


def epochs_of(config: SearchConfig) -> int:
    """Epochs that a search trains."""
    return 0 if config.method == "random" else config.epochs
