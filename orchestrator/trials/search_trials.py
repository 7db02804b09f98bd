"""The searches of a study under Ray Tune: `run_searches`, the trial on a worker, the listener that fills the tables."""

import dataclasses
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
from ray import tune

from analysis.storage import compaction as packs
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.options import RunOptions
from orchestrator.storage.failure_log import FailureLog
from orchestrator.storage.lease import Lease
from orchestrator.storage.provenance import now, provenance
from orchestrator.storage.study_folder import absolute, checkpoint
from orchestrator.trials.placement import memory_fraction, pack_searches, prepare_trials, with_fewer_neighbours
from orchestrator.trials.progress import Progress
from orchestrator.trials.shared_images import SharedData, images_of, require_shared, share_data
from orchestrator.trials.tune_trials import TrialSpec, error_line, last_failure, report, run_trials
from pcdarts.complexity import network_complexity
from pcdarts.config import SearchConfig
from pcdarts.genotype import Genotype
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training.device import limit_gpu_memory

KILLED = "running low on memory"
"""How Ray explains that it ended a process for its node's sake."""


def run_searches(
    study: StudyConfig,
    store: ResultStore,
    lease: Lease,
    configs: list[SearchConfig],
    *,
    options: RunOptions,
    say: Callable[[str], None],
) -> None:
    """Run searches and store what they find; those that run out of memory once more, with fewer neighbours.

    Raises ValueError where data, storage or cluster cannot serve, before anything is run.
    """
    resources = prepare_trials(study.search, options)
    require_shared(store.root, resources)
    shared = share_data(configs, resources)
    resources, predicted = pack_searches(configs, resources, options)
    fraction = memory_fraction(resources)
    specs = [
        TrialSpec(
            key=config.search_id,
            root=absolute(store.root),
            config=config,
            memory_fraction=fraction,
            predicted_memory=predicted.get(config.search_id),
            patience=options.storage_patience,
        )
        for config in configs
    ]
    before = _ended(store, {config.search_id for config in configs})
    with Progress(
        "searches",
        {config.search_id: 0 if config.method == "random" else config.epochs for config in configs},
        done=int((before["status"] != "failed").sum()),
        failed=int((before["status"] == "failed").sum()),
        best=before["valid_accuracy"].dropna().max() if before["valid_accuracy"].notna().any() else None,
    ) as progress:
        trial = tune.with_parameters(search_trial, shared=shared)
        listener = SearchListener(study, store, lease, progress)
        run = partial(run_trials, trial, listener=listener, max_failures=options.max_failures)
        run(specs, resources=resources, max_concurrent=options.max_concurrent)
        if listener.starved:
            resources, at_once = with_fewer_neighbours(resources, options, len(specs))
            for key, (_, error) in listener.starved.items():
                say(f"{key} ran out of memory, and is tried again with fewer neighbours: {error}")
            fraction = memory_fraction(resources)
            again = [dataclasses.replace(spec, memory_fraction=fraction) for spec, _ in listener.starved.values()]
            run(again, resources=resources, max_concurrent=at_once)


def _ended(store: ResultStore, again: set[str]) -> pd.DataFrame:
    """Rows of the searches that ended before and are not run again."""
    searches = store.read(SEARCHES)
    return searches[~searches["search_id"].isin(again)]


def search_trial(trial: dict[str, Any], shared: SharedData | None = None) -> None:
    """One search on a worker: report every epoch, then the result, or that memory did not suffice."""
    spec: TrialSpec = trial["spec"]
    limit_gpu_memory(spec.memory_fraction)

    def on_epoch(record: EpochRecord) -> None:
        report("epoch", asdict(record))

    file, data = checkpoint(spec.root, spec.key, spec.patience), images_of(spec.config, shared or {})
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
    texts = ("MemoryError", "out of memory", "can't allocate memory", "ALLOC_FAILED", "unable to find an engine")
    return _killed(said) or any(text in error_line(said) for text in texts)


def _killed(said: str) -> bool:
    """Whether Ray ended the process for its node's sake, in the last of the failures that Tune has written down."""
    return KILLED in last_failure(said)


class SearchListener:
    """Writes the tables `searches` and `epochs` while the searches run."""

    def __init__(self, study: StudyConfig, store: ResultStore, lease: Lease, progress: Progress) -> None:
        self.study, self.store, self.lease, self.progress = study, store, lease, progress
        self.epochs: dict[str, dict[int, dict[str, Any]]] = {}
        self.started_at: dict[str, str] = {}
        self.starved: dict[str, tuple[TrialSpec, str]] = {}
        """Searches that ran out of memory for the first time, with the error: to be run again, with more of it."""
        self.ended: list[str] = []
        self.failures = FailureLog(study.name, store)

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

    def retried(self, spec: TrialSpec, traceback: str) -> None:
        """Record a failure that another try may get over."""
        self.failures.record("trial", spec.key, f"tried again: {error_line(traceback)}")
        self.progress.note(f"search {spec.key} failed and is tried again: {error_line(traceback)}")

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """Store a search that failed for good; its epochs so far stay, and its traceback lies in a file beside.

        One that ran out of memory for the first time has not: it is put among the `starved`.
        """
        if spec.key not in self.started_at:  # its process died before it began
            self.started(spec)
        self.store.write_text(f"error-{spec.key}.txt", traceback)
        killed = "OutOfMemoryError: Ray ended the process, as its node was running low on memory"
        error = killed if _killed(traceback) else error_line(traceback)
        if out_of_memory(traceback) and spec.key not in self.starved:
            self.starved[spec.key] = (spec, error)
            self.failures.record("trial", spec.key, f"tried again with fewer neighbours: {error}")
            return
        self.store.append(SEARCHES, [self._row(spec, status="failed", error=error, result={})], spec.key)
        self.failures.record("trial", spec.key, f"given up: {error}")
        self.progress.note(f"search {spec.key} failed for good: {error}")
        self._end(spec.key)
        self.progress.finish(spec.key, failed=True)

    def tick(self) -> None:
        """Stop if the study's lease is lost; record what the storage met with; redraw the progress."""
        self.lease.check()
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
