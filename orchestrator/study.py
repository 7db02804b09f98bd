"""A study from start to end: search, select, queue, retrain, report.  Every step can be interrupted and run again.

    configuration -> searches under Ray Tune -> tables -> selection -> queue -> retraining under Ray Tune -> report

What is done is read off the tables, so a second run does what is missing, and nothing where nothing is.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch

from analysis.report import write_report
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES, SETTINGS
from cluster.connect import TrialResources, connect, has_gpus, require_fit, run_on_worker
from orchestrator.config import StudyConfig
from orchestrator.dispatch import dispatch, open_lease
from orchestrator.failures import FailureLog, noticed
from orchestrator.options import RunOptions
from orchestrator.progress import Progress
from orchestrator.queue import RetrainQueue
from orchestrator.retraining import RetrainListener, retrain_trial
from orchestrator.searching import SearchListener, search_trial
from orchestrator.sequential import added_searches, further_searches, setting_rows
from orchestrator.storage import create_or_open
from orchestrator.trials import TrialListener, TrialSpec, run_trials
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data import retrain_batches, search_batches
from pcdarts.search import notes


def run_study(
    study: StudyConfig,
    root: str,
    *,
    options: RunOptions,
    retrain: bool,
    command: list[str],
    say: Callable[[str], None] = print,
) -> int:
    """Run what is missing of a study in the folder `root`; the number of searches and retrainings that failed.

    Raises ValueError where the folder, the data or the cluster cannot serve, before anything is run.
    """
    store = create_or_open(study, root, command)
    store.patience = options.storage_patience
    with noticed(FailureLog(study.name, store)):
        return _run_missing(study, store, root, options=options, retrain=retrain, say=say)


def _run_missing(
    study: StudyConfig, store: ResultStore, root: str, *, options: RunOptions, retrain: bool, say: Callable[[str], None]
) -> int:
    for table in (SEARCHES, EPOCHS):
        store.compact(table, ())  # finishes a move that an earlier run died in
    queue = RetrainQueue(study, store)
    missing = missing_searches(study, store, retry_failed=options.retry_failed)
    if missing:
        say(f"Study {study.name!r}: {len(missing)} of {len(study.searches())} searches to run, in {root}")
        for note in dict.fromkeys(note for config in missing for note in notes(config)):
            say(note)
        _search(study, store, root, missing, options)
    while added := further_searches(study, store.read(SEARCHES)):
        missing += added
        say(f"{len(added)} more searches, as means are not yet known to +- {study.seeds.target_halfwidth:g}")
        _search(study, store, root, added, options)
    if decisions := setting_rows(study, store.read(SEARCHES)):
        store.append(SETTINGS, decisions, "settings")
        for row in decisions:
            say(f"{row['setting']}: {row['reason']}")
    queue.update()
    to_retrain = retrain and _work_left(queue, options.retry_failed)
    if to_retrain:
        work_queue(study, store, root, options=options, say=say)
    for table in (SEARCHES, EPOCHS):
        store.compact(table)
    write_report(root)
    if not missing and not to_retrain:
        say(f"Study {study.name!r} is finished: {_counts(study, store)}. Nothing to do.")
    return failures(store, queue)


def work_queue(
    study: StudyConfig, store: ResultStore, root: str, *, options: RunOptions, say: Callable[[str], None] = print
) -> None:
    """Retrain the jobs that wait in the queue of a study."""
    queue = RetrainQueue(study, store)
    if options.retry_failed:
        for job in queue.jobs():
            if job["state"] == "failed":
                queue.retry(job["job_id"])
    if not queue.waiting():
        return
    lease = open_lease(root, options)
    if options.wait:
        lease.wait(say=say)
    with lease:
        jobs = queue.waiting()  # another dispatcher may have done them meanwhile
        if not jobs:
            return
        say(f"Retraining {len(jobs)} cells on {study.retrain.dataset}")
        resources = prepare_trials(study.retrain, options)
        run_on_worker(_probe_data, study.retrain, resources)

        def run(due: Sequence[dict[str, Any]]) -> None:
            specs = [
                TrialSpec(
                    key=job["job_id"],
                    root=root,
                    config=queue.recipe(job["job_id"]),
                    genotype=job["genotype"],
                    memory_fraction=_memory_fraction(resources),
                )
                for job in due
            ]
            epochs = {spec.key: spec.config.epochs for spec in specs}
            with Progress("retraining", epochs) as progress:
                listener = RetrainListener(queue, lease, progress, options)
                once = dataclasses.replace(options, max_failures=0)  # the queue repeats what fails, later
                _run(retrain_trial, specs, listener, resources, once)

        dispatch(queue, lease, run, say=say)


def missing_searches(study: StudyConfig, store: ResultStore, *, retry_failed: bool = False) -> list[SearchConfig]:
    """The searches of a study that have not ended yet, or, if asked for, that failed."""
    searches = store.read(SEARCHES)
    ended = searches if not retry_failed else searches[searches["status"] != "failed"]
    done = set(ended["search_id"])
    wanted = [*study.searches(), *added_searches(study, searches)]
    return [config for config in wanted if config.search_id not in done]


def failures(store: ResultStore, queue: RetrainQueue) -> int:
    """Searches and retraining jobs that ended with an error."""
    searches = store.read(SEARCHES)
    return int((searches["status"] == "failed").sum()) + sum(job["state"] == "failed" for job in queue.jobs())


def _search(
    study: StudyConfig, store: ResultStore, root: str, configs: list[SearchConfig], options: RunOptions
) -> None:
    resources = prepare_trials(study.search, options)
    run_on_worker(_probe_data, study.search, resources)
    fraction = _memory_fraction(resources)
    patience = options.storage_patience
    specs = [
        TrialSpec(key=c.search_id, root=root, config=c, memory_fraction=fraction, patience=patience) for c in configs
    ]
    before = _ended(store, {config.search_id for config in configs})
    with Progress(
        "searches",
        {config.search_id: 0 if config.method == "random" else config.epochs for config in configs},
        done=int((before["status"] != "failed").sum()),
        failed=int((before["status"] == "failed").sum()),
        best=before["valid_accuracy"].dropna().max() if before["valid_accuracy"].notna().any() else None,
    ) as progress:
        _run(search_trial, specs, SearchListener(study, store, progress), resources, options)


def _ended(store: ResultStore, again: set[str]) -> pd.DataFrame:
    """Rows of the searches that ended before and are not run again."""
    searches = store.read(SEARCHES)
    return searches[~searches["search_id"].isin(again)]


def prepare_trials(config: SearchConfig | RetrainConfig, options: RunOptions) -> TrialResources:
    """Connect, and find out before the first trial whether trials fit."""
    gpus = 0.0 if config.device == "cpu" else options.gpus_per_trial
    if gpus < 0 and options.autoscaling:
        raise ValueError("with --autoscaling true give --gpus-per-trial: nodes that are not there yet cannot tell")
    connect(options.address)
    if gpus < 0:
        gpus = 1.0 if has_gpus() else 0.0
    resources = TrialResources(cpus=config.threads, gpus=gpus)
    require_fit(resources, autoscaling=options.autoscaling)
    return resources


def _probe_data(config: SearchConfig | RetrainConfig) -> None:
    """Load the data once where trials will run: a missing file stops the study here, not every trial."""
    if isinstance(config, SearchConfig):
        search_batches(config, torch.device("cpu"))
    else:
        retrain_batches(config, torch.device("cpu"))


def _memory_fraction(resources: TrialResources) -> float:
    return resources.gpus if 0 < resources.gpus < 1 else 1.0


def _run(
    trainable: Callable[..., None],
    specs: list[TrialSpec],
    listener: TrialListener,
    resources: TrialResources,
    options: RunOptions,
) -> None:
    run_trials(
        trainable,
        specs,
        listener,
        resources=resources,
        max_failures=options.max_failures,
        max_concurrent=options.max_concurrent,
    )


def _work_left(queue: RetrainQueue, retry_failed: bool) -> bool:
    return bool(queue.waiting()) or (retry_failed and any(job["state"] == "failed" for job in queue.jobs()))


def _counts(study: StudyConfig, store: ResultStore) -> str:
    ended = _ended(store, set())
    failed = int((ended["status"] == "failed").sum())
    text = f"{len(ended) - failed} searches completed"
    return f"{text}, {failed} failed (--retry-failed runs them again)" if failed else text
