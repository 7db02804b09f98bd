"""A study from start to end.  Every step can be interrupted and run again.

    configuration -> searches -> tables -> selection -> queue -> retraining -> report

Progress is read from the tables, so a second run does only what is missing.
"""

import dataclasses
from collections.abc import Callable

from analysis.report.build import write_report
from analysis.storage.storage_retry import patiently
from analysis.storage.study_files import StudyFiles, join
from analysis.store import ResultStore
from analysis.tables import EPOCHS, SEARCHES, SETTINGS
from cluster.wording import counted
from orchestrator.config import StudyConfig
from orchestrator.live_driver import ALL_KINDS, STUDY_KINDS, LiveDriver
from orchestrator.more_seeds import added_searches, further_searches, setting_rows, with_added_seeds
from orchestrator.options import RunOptions
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.failure_log import FailureLog, record_last_driver
from orchestrator.storage.lease import Lease, LeaseHeldError, open_lease
from orchestrator.storage.steering_log import SteeringLog
from orchestrator.storage.study_folder import check_storage, create_or_open, store_descriptions, validate_storage
from orchestrator.trials.image_descriptions import describe_images, with_absolute_paths
from orchestrator.trials.placement import resource_use
from orchestrator.trials.retrain_trials import work_queue
from orchestrator.trials.search_trials import run_searches
from orchestrator.trials.take_up import Requests
from pcdarts.config import SearchConfig
from pcdarts.search import notes


def run_study(
    study: StudyConfig,
    root: str,
    *,
    options: RunOptions,
    command: list[str],
    say: Callable[[str], None] = print,
) -> int:
    """Run what is missing of a study in the folder `root`; returns how many searches and retrainings failed.

    Raises ValueError, before anything runs, if the folder, the data or the cluster cannot be used.
    """
    stored = check_storage(root, options.storage_patience)
    study, descriptions = describe_images(with_absolute_paths(study), stored, options, say=say)
    steering = SteeringLog(StudyFiles(join(root, "steering"), options.storage_patience))
    study = with_added_seeds(study, steering.added_seeds())
    validate_storage(study, root, options.storage_patience)
    lease = open_lease(root, options, "study")
    if options.wait:
        lease.wait(say=say)

    def save(study: StudyConfig) -> ResultStore:
        patiently(lease.confirm, options.storage_patience)
        return create_or_open(study, root, command, patience=options.storage_patience, retrain=options.retrain)

    with lease:  # from here on no other process changes the study
        store = save(study)
        others = open_lease(root, options)
        live = LiveDriver(
            root,
            command,
            lease,
            kinds=lambda: STUDY_KINDS if others.held_elsewhere() else ALL_KINDS,
            patience=options.storage_patience,
            resources=resource_use,
        )
        with live, store.guarded(lease.confirm):
            store_descriptions(store, list(map(dataclasses.asdict, descriptions)))
            failures = FailureLog(study.name, store)
            record_last_driver(failures, lease)
            finish_interrupted_compaction(store)
            set_aside_broken_files(store, failures, say)

            requests = Requests(live, study, store, save)
            searched, retrained, queue = run_phases(requests, lease, options=options, say=say)

            live.board.begin("report")
            for table in (SEARCHES, EPOCHS):
                store.compact(table)
            set_aside_broken_files(store, failures, say)
            write_report(store.root)
            if not searched and not retrained:
                say(f"Study {study.name!r} is finished: {_counts(store)}. Nothing to do.")
            if problem := queue.race_problem():
                say(problem)
            failures.flush()
            return count_failed(queue)


def run_phases(
    requests: Requests, lease: Lease, *, options: RunOptions, say: Callable[[str], None]
) -> tuple[bool, bool, RetrainQueue]:
    """Run the missing searches and the queue, again if seeds were added meanwhile.

    Returns whether any search ran, whether any training was to run, and the queue.
    """
    searched = retrained = False
    while True:
        requests.take_up(look=True)
        searched |= run_missing_searches(requests, lease, options=options, say=say)
        study = requests.study
        store_settings(study, requests.store, say)
        queue = RetrainQueue(study, requests.store)
        queue.update()
        if options.retrain:
            retrained |= retrain_queued(queue, requests, options, say)
        requests.take_up(look=True)
        again = options.retrain and requests.changed_queue and queue.has_work(False)
        if requests.study == study and not again:
            return searched, retrained, queue
        requests.changed_queue = False
        options = dataclasses.replace(options, retry_failed=False)  # what failed in this run has had its tries


def run_missing_searches(requests: Requests, lease: Lease, *, options: RunOptions, say: Callable[[str], None]) -> bool:
    """Run the missing searches, then more seeds until the means are precise enough; returns whether any search ran."""
    store, retry_failed, searched = requests.store, options.retry_failed, False
    while missing := missing_searches(requests.study, store, retry_failed=retry_failed):
        study, searched, retry_failed = requests.study, True, False
        say(f"Study {study.name!r}: {len(missing)} of {len(study.searches())} searches to run, in {store.root}")
        for note in dict.fromkeys(note for config in missing for note in notes(config)):
            say(note)
        run_searches(requests, lease, missing, options=options, say=say)
        if requests.study == study:
            break
    while added := further_searches(requests.study, store.read(SEARCHES)):
        study, searched, target = requests.study, True, requests.study.seeds.target_halfwidth
        say(f"{counted(len(added), 'more search')}: a confidence interval is still wider than +-{target:g}")
        run_searches(requests, lease, added, options=options, say=say)
        if requests.study != study:  # seeds were added by hand meanwhile
            later = dataclasses.replace(options, retry_failed=False)
            return run_missing_searches(requests, lease, options=later, say=say) or searched
    return searched


def missing_searches(study: StudyConfig, store: ResultStore, *, retry_failed: bool = False) -> list[SearchConfig]:
    """The searches of a study that have not ended; with `retry_failed` also those that failed."""
    searches = store.read(SEARCHES)
    ended = searches if not retry_failed else searches[searches["status"] != "failed"]
    done = set(ended["search_id"])
    wanted = [*study.searches(), *added_searches(study, searches)]
    return [config for config in wanted if config.search_id not in done]


def store_settings(study: StudyConfig, store: ResultStore, say: Callable[[str], None]) -> None:
    """Store the precision of the mean of every setting, in a study that adds seeds."""
    if rows := setting_rows(study, store.read(SEARCHES)):
        store.append(SETTINGS, rows, "settings")
        for row in rows:
            say(f"{row['setting']}: {row['reason']}")


def retrain_queued(queue: RetrainQueue, requests: Requests, options: RunOptions, say: Callable[[str], None]) -> bool:
    """Retrain the pending jobs unless another process does; returns whether any were pending."""
    try:
        return work_queue(queue, options=options, requests=requests, say=say)
    except LeaseHeldError as error:
        say(f"Retraining skipped: {error}")
        return True


def count_failed(queue: RetrainQueue) -> int:
    """Searches and retraining jobs of a study that ended with an error."""
    searches = queue.store.read(SEARCHES)
    return int((searches["status"] == "failed").sum()) + sum(job.state.state == "failed" for job in queue.jobs())


def finish_interrupted_compaction(store: ResultStore) -> None:
    """Finish moving rows between files if an earlier run died during the move."""
    for table in (SEARCHES, EPOCHS):
        store.compact(table, ())


def set_aside_broken_files(store: ResultStore, failures: FailureLog, say: Callable[[str], None]) -> None:
    """Move broken files out of the tables, and record them.

    This reads the table `searches`.  `epochs` is too large for that, so only files already found broken are moved.
    """
    store.read(SEARCHES)
    for table in (SEARCHES, EPOCHS):
        for name, reason in store.set_aside(table).items():
            say(f"A broken file of the tables was set aside as {name}: {reason}")
            failures.record("storage", name, f"broken, set aside under this name: {reason}")


def _counts(store: ResultStore) -> str:
    searches = store.read(SEARCHES)
    failed, canceled = (int((searches["status"] == status).sum()) for status in ("failed", "canceled"))
    text = f"{len(searches) - failed - canceled} searches completed"
    text += f", {canceled} stopped by hand before their first epoch" if canceled else ""
    return f"{text}, {failed} failed (--set run.retry_failed=true runs them again)" if failed else text
