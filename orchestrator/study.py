"""A study from start to end: search, select, queue, retrain, report.  Every step can be interrupted and run again.

    configuration -> searches under Ray Tune -> tables -> selection -> queue -> retraining under Ray Tune -> report

What is done is read off the tables, so a second run does what is missing, and nothing where nothing is.
"""

from collections.abc import Callable

from analysis.report.build import write_report
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES, SETTINGS
from cluster.connect import counted
from orchestrator.config import StudyConfig
from orchestrator.more_seeds import added_searches, further_searches, setting_rows
from orchestrator.options import RunOptions
from orchestrator.queue.dispatch import open_lease
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.failure_log import FailureLog, record_dead_driver
from orchestrator.storage.lease import Lease, LeaseHeldError
from orchestrator.storage.study_folder import create_or_open, require_place
from orchestrator.trials.retrain_trials import work_queue
from orchestrator.trials.search_trials import run_searches
from pcdarts.config import SearchConfig
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
    require_place(study, root, options.storage_patience)
    lease = open_lease(root, options, "study")
    if options.wait:
        lease.wait(say=say)
    with lease:  # from here on nobody else changes the study
        store = create_or_open(study, root, command, options.storage_patience)
        log = FailureLog(study.name, store)
        record_dead_driver(log, lease)
        failed = _run_missing(study, store, lease, options=options, retrain=retrain, say=say)
        log.flush()
    return failed


def _run_missing(
    study: StudyConfig,
    store: ResultStore,
    lease: Lease,
    *,
    options: RunOptions,
    retrain: bool,
    say: Callable[[str], None],
) -> int:
    for table in (SEARCHES, EPOCHS):
        store.compact(table, ())  # finishes a move that an earlier run died in
    store.read(SEARCHES)  # shows what is broken
    _set_aside(study, store, say)
    queue = RetrainQueue(study, store)
    missing = missing_searches(study, store, retry_failed=options.retry_failed)
    if missing:
        say(f"Study {study.name!r}: {len(missing)} of {len(study.searches())} searches to run, in {store.root}")
        for note in dict.fromkeys(note for config in missing for note in notes(config)):
            say(note)
        run_searches(study, store, lease, missing, options=options, say=say)
    while added := further_searches(study, store.read(SEARCHES)):
        missing += added
        say(f"{counted(len(added), 'more search')}, as means are not yet known to +- {study.seeds.target_halfwidth:g}")
        run_searches(study, store, lease, added, options=options, say=say)
    if decisions := setting_rows(study, store.read(SEARCHES)):
        store.append(SETTINGS, decisions, "settings")
        for row in decisions:
            say(f"{row['setting']}: {row['reason']}")
    queue.update()
    retrained = retrain and _retrain(queue, options, say)
    for table in (SEARCHES, EPOCHS):
        store.compact(table)
    _set_aside(study, store, say)
    write_report(store.root)
    if not missing and not retrained:
        say(f"Study {study.name!r} is finished: {_counts(study, store)}. Nothing to do.")
    return count_failed(store, queue)


def _retrain(queue: RetrainQueue, options: RunOptions, say: Callable[[str], None]) -> bool:
    """Retrain the pending jobs, unless another process does; whether there were any."""
    try:
        return work_queue(queue, options=options, say=say)
    except LeaseHeldError as error:
        say(f"Retraining skipped: {error}")
        return True


def _set_aside(study: StudyConfig, store: ResultStore, say: Callable[[str], None]) -> None:
    """Take broken files out of every reader's way, and record them.  Epochs are many, and not read for this alone."""
    for table in (SEARCHES, EPOCHS):
        for name, reason in store.set_aside(table).items():
            say(f"A broken file of the tables was set aside as {name}: {reason}")
            FailureLog(study.name, store).record("storage", name, f"broken, set aside under this name: {reason}")


def missing_searches(study: StudyConfig, store: ResultStore, *, retry_failed: bool = False) -> list[SearchConfig]:
    """The searches of a study that have not ended yet, or, if asked for, that failed."""
    searches = store.read(SEARCHES)
    ended = searches if not retry_failed else searches[searches["status"] != "failed"]
    done = set(ended["search_id"])
    wanted = [*study.searches(), *added_searches(study, searches)]
    return [config for config in wanted if config.search_id not in done]


def count_failed(store: ResultStore, queue: RetrainQueue) -> int:
    """Searches and retraining jobs that ended with an error."""
    searches = store.read(SEARCHES)
    return int((searches["status"] == "failed").sum()) + sum(job.state.state == "failed" for job in queue.jobs())


def _counts(study: StudyConfig, store: ResultStore) -> str:
    searches = store.read(SEARCHES)
    failed = int((searches["status"] == "failed").sum())
    text = f"{len(searches) - failed} searches completed"
    return f"{text}, {failed} failed (--retry-failed runs them again)" if failed else text
