"""The searches of a study under Ray Tune: `run_searches` in the driver, `search_trial` on a worker."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd
from ray import tune

from analysis.statistics.summaries import WITH_RESULT
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES
from cluster.connect import require_connectable
from orchestrator.options import RunOptions
from orchestrator.storage.background import BackgroundQuestion
from orchestrator.storage.lease import Lease
from orchestrator.storage.steering_log import StopFlags
from orchestrator.storage.study_folder import absolute, background_checkpoint
from orchestrator.storage.table_writer import TableWriter
from orchestrator.trials.placement import (
    memory_fraction,
    pack_searches,
    predicted_bytes,
    predicting,
    prepare_trials,
    sharing_note,
    with_fewer_neighbors,
    with_own_threads,
)
from orchestrator.trials.progress import Progress
from orchestrator.trials.search_listener import SearchListener, epochs_of
from orchestrator.trials.shared_images import SharedData, images_of, require_shared, share_data
from orchestrator.trials.take_up import Requests, SearchRequests
from orchestrator.trials.tune_trials import TrialLine, TrialSpec, report, require_drivers_code, run_trials
from pcdarts.config import SearchConfig
from pcdarts.results import EpochRecord
from pcdarts.search import search
from pcdarts.training.device import limit_gpu_memory


def run_searches(
    requests: Requests,
    lease: Lease,
    configs: list[SearchConfig],
    *,
    options: RunOptions,
    say: Callable[[str], None],
) -> None:
    """Run searches and store their results; a search that runs out of memory runs once more with fewer neighbors.

    Raises ValueError, before anything runs, if data, storage or cluster cannot be used.
    """
    study, store, board = requests.study, requests.store, requests.live.board
    require_connectable(options.address)  # at once, not after the prediction
    with predicting(configs):
        resources = prepare_trials(configs, options)
        require_shared(store.root, resources)
        shared = share_data(configs, resources)
    resources, predicted = pack_searches(configs, resources, options)
    if note := sharing_note(resources):
        say(note)

    def plan(configs: Sequence[SearchConfig], predicted: Mapping[str, int]) -> list[TrialSpec]:
        return [
            TrialSpec(
                key=config.search_id,
                root=absolute(store.root),
                config=config,
                memory_fraction=memory_fraction(resources),
                predicted_memory=predicted.get(config.search_id),
                patience=options.storage_patience,
            )
            for config in configs
        ]

    def plan_more(configs: list[SearchConfig]) -> list[TrialSpec]:
        more = predicted_bytes(configs, gpu=resources.gpus > 0)
        larger = max(more.values(), default=0) > max(predicted.values(), default=0)
        return [] if larger or any(each.threads > resources.cpus for each in configs) else plan(configs, more)

    before = _ended(store, {config.search_id for config in configs})
    done, failed = (int((before["status"].isin(statuses)).sum()) for statuses in (WITH_RESULT, ("failed",)))
    best = before["valid_accuracy"].dropna().max() if before["valid_accuracy"].notna().any() else None
    board.begin("searches", done=done, failed=failed)
    specs = plan(configs, predicted)
    progress = Progress(
        "searches", {spec.key: epochs_of(spec.config) for spec in specs}, done=done, failed=failed, best=best
    )
    with progress, TableWriter(store, (EPOCHS, SEARCHES)) as writer:
        trial = tune.with_parameters(search_trial, shared=shared)
        listener = SearchListener(study, writer, lease, progress, max_failures=options.max_failures, board=board)
        listener.expect(specs)
        line = TrialLine(specs)
        during = SearchRequests(requests, listener, line, plan_more)
        during.cancel_stopped()
        run = partial(run_trials, trial, listener=listener, at_step=during.take_up)
        run(
            line,
            resources=lambda spec: with_own_threads(resources, spec.config).bundle(),
            max_concurrent=options.max_concurrent,
        )
        if listener.out_of_memory:
            more, at_once = with_fewer_neighbors(resources, options, len(listener.specs))
            for key, (_, failure) in listener.out_of_memory.items():
                say(f"search {key} ran out of memory, retrying with fewer neighbors: {failure.message}")
            fraction = memory_fraction(more)
            again = [dataclasses.replace(spec, memory_fraction=fraction) for spec, _ in listener.out_of_memory.values()]
            during.line = TrialLine(again)
            during.plan = lambda configs: []
            run(
                during.line,
                resources=lambda spec: with_own_threads(more, spec.config).bundle(),
                max_concurrent=at_once,
            )


def _ended(store: ResultStore, again: set[str]) -> pd.DataFrame:
    """Rows of the searches that ended before and are not run again."""
    searches = store.read(SEARCHES)
    return searches[~searches["search_id"].isin(again)]


def search_trial(trial: dict[str, Any], shared: SharedData | None = None) -> None:
    """One search on a worker: report every epoch, then the result."""
    spec: TrialSpec = trial["spec"]
    require_drivers_code(spec)
    limit_gpu_memory(spec.memory_fraction, spec.config.device)

    def on_epoch(record: EpochRecord) -> None:
        report("epoch", asdict(record))

    flags = StopFlags.of(spec.root)
    with background_checkpoint(spec.root, spec.key, spec.patience) as file:
        if flags.is_set(spec.key) and file.read_bytes() is None:
            report("canceled", {})
            return
        data = images_of(spec.config, shared or {})
        with BackgroundQuestion(partial(flags.is_set, spec.key)) as should_stop:
            result = search(spec.config, checkpoint=file, data=data, on_epoch=on_epoch, should_stop=should_stop)
    report("result", asdict(result))
