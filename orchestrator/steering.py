"""Steer a study from outside its driver: stop a search, add seeds, move a job up.

Each function checks what is asked for, writes it into the study's folder, and returns the request.  A running driver
takes it up and answers within seconds (`orchestrator.storage.steering_log`); without one it waits for the next run.
`RetrainQueue.add`, `drop` and `retry` are steered in the same way.
"""

from collections.abc import Sequence

from analysis.store import ResultStore
from analysis.tables import SEARCHES
from orchestrator.config import StudyConfig
from orchestrator.more_seeds import with_added_seeds
from orchestrator.queue.retrain_queue import RetrainQueue
from orchestrator.storage.live_status import ENDED, read_live_status
from orchestrator.storage.steering_log import Request, SteeringLog, StopFlags


def steering_log(store: ResultStore) -> SteeringLog:
    """The requests of a study and their answers."""
    return SteeringLog(store.below("steering"))


def stop_search(study: StudyConfig, store: ResultStore, name: str) -> Request:
    """Ask for the end of a search after its present epoch; `name` is its id, or an unambiguous prefix.

    One that waits does not run, and a search that was stopped is not run again.  Raises ValueError for searches that
    have ended or were stopped before.
    """
    searches = store.read(SEARCHES, ["search_id", "status"])
    statuses = dict(zip(searches["search_id"], searches["status"], strict=True))
    present = with_added_seeds(study, steering_log(store).added_seeds())
    known = statuses.keys() | {config.search_id for config in present.searches()}
    live = read_live_status(store)
    known |= {trial.key for trial in live.running if trial.kind == "search"} if live else set()
    matches = [key for key in known if key == name] or [key for key in known if name and key.startswith(name)]
    if len(matches) != 1:
        found = "several searches" if matches else "no search"
        raise ValueError(f"{name!r} names {found} of this study; give an id of its table or page, or a longer prefix")
    (key,) = matches
    runs_again = live is not None and key in {trial.key for trial in live.running}
    if key in statuses and not (statuses[key] == "failed" and runs_again):
        raise ValueError(f"search {key} has ended already, it is {statuses[key]}; only others can be stopped")
    flags = StopFlags(store.below("stops"))
    if key in flags.names():
        raise ValueError(f"search {key} was asked to stop before; it ends after its present epoch")
    flags.raise_flag(key)
    return steering_log(store).ask("stop", key)


def add_seeds(study: StudyConfig, store: ResultStore, seeds: Sequence[int]) -> Request:
    """Ask for searches with more seeds, of every setting, as if they had been given to `pcdarts run`.

    Raises ValueError for seeds that are no integers from 0, that the study has already, or that come twice.
    """
    log = steering_log(store)
    present = with_added_seeds(study, log.added_seeds())
    known = set(present.sweep.get("seed", (present.search.seed,)))
    if not seeds:
        raise ValueError("no seeds are given, but at least one is needed, as in `pcdarts steer STUDY seeds 7 8`")
    for seed in seeds:
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed is {seed!r}, but must be an integer from 0")
        if seed in known:
            raise ValueError(f"seed {seed} is in the study already, or given twice; give others")
        known.add(seed)
    with_added_seeds(present, seeds)  # raises ValueError for a search that is not valid
    return log.ask("seeds", seeds=tuple(seeds))


def move_up(study: StudyConfig, store: ResultStore, job: str) -> Request:
    """Let a queued job run before the others of its stage and rung; `job` is its name, or an unambiguous prefix.

    Raises ValueError for jobs that are not queued.
    """
    queue = RetrainQueue(study, store)
    name = queue.move_up(job)
    return next(request for request, _ in reversed(queue.steering.read()) if request.target == name)


def driver_runs(store: ResultStore) -> bool:
    """Whether a driver has shown itself in the last seconds."""
    status = read_live_status(store)
    return status is not None and status.driver.phase not in ENDED and not status.stale()
