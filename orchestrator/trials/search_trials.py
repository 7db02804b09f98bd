"""The searches of a study under Ray Tune: `run_searches` in the driver, `search_trial` on a worker."""

import dataclasses
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
from ray import tune

from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.options import RunOptions
from orchestrator.storage.lease import Lease
from orchestrator.storage.study_folder import absolute, checkpoint
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.placement import (
    memory_fraction,
    pack_searches,
    predicting,
    prepare_trials,
    sharing_note,
    with_fewer_neighbors,
    with_own_threads,
)
from orchestrator.trials.progress import Progress
from orchestrator.trials.search_listener import SearchListener
from orchestrator.trials.shared_images import SharedData, images_of, require_shared, share_data
from orchestrator.trials.tune_trials import TrialSpec, report, run_trials
from pcdarts.config import SearchConfig
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training.device import limit_gpu_memory


def run_searches(
    study: StudyConfig,
    store: ResultStore,
    lease: Lease,
    configs: list[SearchConfig],
    *,
    options: RunOptions,
    say: Callable[[str], None],
) -> None:
    """Run searches and store their results; a search that runs out of memory runs once more with fewer neighbors.

    Raises ValueError, before anything runs, if data, storage or cluster cannot be used.
    """
    with predicting(configs):
        resources = prepare_trials(configs, options)
        require_shared(store.root, resources)
        shared = share_data(configs, resources)
    resources, predicted = pack_searches(configs, resources, options)
    if note := sharing_note(resources):
        say(note)
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
    progress = Progress(
        "searches",
        {config.search_id: 0 if config.method == "random" else config.epochs for config in configs},
        done=int((before["status"] != "failed").sum()),
        failed=int((before["status"] == "failed").sum()),
        best=before["valid_accuracy"].dropna().max() if before["valid_accuracy"].notna().any() else None,
    )
    with progress, TableWriter(store, (EPOCHS, SEARCHES), check=lease.check) as writer:
        trial = tune.with_parameters(search_trial, shared=shared)
        listener = SearchListener(study, writer, lease, progress, max_failures=options.max_failures)
        run = partial(run_trials, trial, listener=listener)
        run(
            specs,
            resources=lambda spec: with_own_threads(resources, spec.config).bundle(),
            max_concurrent=options.max_concurrent,
        )
        if listener.out_of_memory:
            more, at_once = with_fewer_neighbors(resources, options, len(specs))
            for key, (_, failure) in listener.out_of_memory.items():
                say(f"search {key} ran out of memory, retrying with fewer neighbors: {failure.message}")
            fraction = memory_fraction(more)
            again = [dataclasses.replace(spec, memory_fraction=fraction) for spec, _ in listener.out_of_memory.values()]
            run(again, resources=lambda spec: with_own_threads(more, spec.config).bundle(), max_concurrent=at_once)


def _ended(store: ResultStore, again: set[str]) -> pd.DataFrame:
    """Rows of the searches that ended before and are not run again."""
    searches = store.read(SEARCHES)
    return searches[~searches["search_id"].isin(again)]


def search_trial(trial: dict[str, Any], shared: SharedData | None = None) -> None:
    """One search on a worker: report every epoch, then the result."""
    spec: TrialSpec = trial["spec"]
    limit_gpu_memory(spec.memory_fraction, spec.config.device)

    def on_epoch(record: EpochRecord) -> None:
        report("epoch", asdict(record))

    file, data = checkpoint(spec.root, spec.key, spec.patience), images_of(spec.config, shared or {})
    result = search(spec.config, checkpoint=file, data=data, on_epoch=on_epoch)
    report("result", asdict(result))
