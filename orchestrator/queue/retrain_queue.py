"""The retraining queue of a study: its jobs, one per distinct cell and recipe, and their states.

Three kinds of files in the study's storage, on a local disk or an object store, hold its state:

    queue-requests/   the jobs, see `orchestrator.queue.requests`
    queue-events/     what happened to the jobs, see `orchestrator.queue.events`
    retrains/         results, by the job's name

The table `queue` is a readable view of these; `update` rewrites it if it is lost.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from analysis.records import Candidate, Stage, State
from analysis.storage.storage_retry import first_line
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from cluster.wording import counted
from orchestrator.config import StudyConfig
from orchestrator.options import RunOptions
from orchestrator.queue.events import (
    DROPPED_BY_HAND,
    SUPERSEDED,
    Event,
    EventKind,
    EventLog,
    JobState,
    backoff,
    state_of,
)
from orchestrator.queue.jobs import QueuedJob, RetrainJob, iso_time, make_job_id
from orchestrator.queue.planning import planned_jobs
from orchestrator.queue.requests import RequestLog
from orchestrator.queue.selection import select
from orchestrator.storage.steering_log import RequestKind, SteeringLog, StopFlags
from pcdarts.complexity import network_complexity
from pcdarts.config import RetrainConfig, digest
from pcdarts.genotype import PUBLISHED, read_genotype


class RetrainQueue:
    """The jobs of a study, and the operations on them."""

    def __init__(self, study: StudyConfig, store: ResultStore, clock: Callable[[], float] = time.time) -> None:
        self.study, self.store, self.clock = study, store, clock
        self.requests = RequestLog(store.below("queue-requests"))
        self.events = EventLog(store.below("queue-events"), clock)
        self.steering = SteeringLog(store.below("steering"), clock)
        self.stops = StopFlags(store.below("stops"))
        self._results: dict[str, dict[str, Any]] = {}
        self._recipes = {digest(recipe) for stage in study.stages() for recipe in stage.recipes()}

    def jobs(self) -> list[QueuedJob]:
        """All submitted jobs by stage, rung and rank, dropped ones last.  Writes nothing."""
        requests, _ = self.requests.read(), self.events.read()
        planned = {job.job_id: job for job in self._planned()}
        by_hand = sorted((job.submitted_at, name) for name, job in requests.items() if job.by_hand)
        order = list(dict.fromkeys([*(name for _, name in by_hand), *planned, *requests]))
        order.sort(key=lambda name: -self.state(name, look=False).moved_up)  # stable: the others keep their order
        ranks: defaultdict[tuple[Stage, int | None], Iterator[int]] = defaultdict(lambda: itertools.count(1))
        jobs = []
        for name in (name for name in order if name in requests):
            job = _with_present_reason(requests[name], planned.get(name))
            rank = next(ranks[job.stage, job.rung])
            jobs.append(QueuedJob(job=job, state=self.state(name, look=False), rank=rank))
        return sorted(jobs, key=_place)

    def rows(self) -> list[dict[str, Any]]:
        """`jobs` as rows of the table `queue`."""
        return [job.row(self.study.name) for job in self.jobs()]

    def update(self) -> list[QueuedJob]:
        """Queue the jobs that the study requires now, and write the table `queue`; returns all jobs.

        Jobs that were queued before keep their state; those that are no longer required and have not started are
        dropped.  Jobs with recipes other than this configuration's are left alone.
        """
        requests, _ = self.requests.read(), self.events.read()
        planned = {job.job_id: job for job in self._planned()}
        for name, job in planned.items():
            if name not in requests:
                self._submit(job)
            elif self.state(name, look=False).superseded:
                self.events.append(name, "queued")
        for name, job in requests.items():
            unwanted = name not in planned and not job.by_hand and self._is_current(job)
            if unwanted and self.state(name, look=False).state == "queued":
                self.events.append(name, "dropped", error=SUPERSEDED)
        return self.refresh()

    def refresh(self) -> list[QueuedJob]:
        """Write the table `queue`; returns all jobs."""
        jobs = self.jobs()
        for queued in jobs:
            self._write(queued.row(self.study.name), self.store.read_part(QUEUE, queued.job.job_id))
        return jobs

    def selected(self) -> list[Candidate]:
        """The cells that the searches select."""
        return select(self.store.rows(SEARCHES), self.study.selection)

    def results(self) -> list[dict[str, Any]]:
        """The results of the jobs that the study needs now."""
        self.events.read()
        found = (self._result(job.job_id) for job in self._planned())
        return [result for result in found if result is not None]

    def race_problem(self) -> str:
        """Why the race cannot go on: no training of its present rung has a result; empty if it can.  Writes nothing."""
        self.events.read()
        trainings = [job for job in self._planned() if job.stage == "rung"]
        rung = max((job.rung or 0 for job in trainings), default=0)
        states = [self.state(job.job_id, look=False) for job in trainings if job.rung == rung]
        if not states or any(state.pending or state.superseded or state.state == "done" for state in states):
            return ""
        failed = sum(state.state == "failed" for state in states)
        ends = {"failed": failed, "dropped by hand": len(states) - failed}
        text = " and ".join(f"{number} {end}" for end, number in ends.items() if number)
        return (
            f"The race ended at rung {rung} without a result: of {counted(len(states), 'training')} {text}. No cell of "
            "the searches is trained in full. See why with `pcdarts queue`; after mending the cause, `pcdarts queue "
            "STUDY retry JOB` queues a job again, and --set run.retry_failed=true all that failed"
        )

    def has_work(self, retry_failed: bool) -> bool:
        """Whether jobs are pending or would be queued.  Writes nothing."""
        if self.unqueued():
            return True
        current = [queued.state for queued in self.jobs() if self._is_current(queued.job)]
        return any(state.pending or (retry_failed and state.state == "failed") for state in current)

    def unqueued(self) -> list[str]:
        """Names of the jobs that `update` would queue, for the first time or again.  Writes nothing."""
        requests, _ = self.requests.read(), self.events.read()
        names = [job.job_id for job in self._planned()]
        return [name for name in names if name not in requests or self.state(name, look=False).superseded]

    def pending(self) -> list[QueuedJob]:
        """The jobs to run, by this configuration's recipes or added by hand, after an `update`.

        A job that is `running` without a dispatcher was interrupted, and resumes.  If that happened between its result
        and its event, this adds the event.
        """
        for name in self.requests.read():
            state, result = self.state(name, look=False), self.result(name)
            if result and state.state != "done":
                self.record(name, "done", attempt=result["attempt"])
        return [queued for queued in self.update() if queued.state.pending and self._is_current(queued.job)]

    def state(self, job_id: str, look: bool = True) -> JobState:
        """The state of a job, by default after reading new events."""
        if look:
            self.events.read()
        return state_of(self.events.known(job_id))

    def result(self, job_id: str) -> dict[str, Any] | None:
        """The completed row of a job in the table `retrains`, if there is one."""
        rows = self.store.read_part(RETRAINS, job_id)
        return rows[0] if rows else None

    def record(self, job_id: str, kind: EventKind, **content: Any) -> Event:
        """Add an event, as `EventLog.append` does, and update the table."""
        event = self.events.append(job_id, kind, **content)
        rows = self.store.read_part(QUEUE, job_id)
        if rows:
            job, state = self.requests.get(job_id), self.state(job_id, look=False)
            self._write(QUEUE.row(rows[0], QueuedJob(job=job, state=state, rank=rows[0]["rank"]).progress()), rows)
        else:
            self.refresh()
        return event

    def add(self, text: str) -> str:
        """Queue a cell for full training by hand: a published name, a genotype, or a file with one.

        Returns the name of its job, of the first one with several seeds.  Raises ValueError for other texts, and for
        cells that are queued already or do not form a network.
        """
        genotype = read_genotype(text)
        (final,) = (stage for stage in self.study.stages() if stage.stage == "final")
        recipes = {make_job_id(genotype, recipe): recipe for recipe in final.recipes()}
        name = next(iter(recipes))
        if (known := [each for each in recipes if each in self.requests.read()]) == list(recipes):
            dropped = [each for each in known if self.state(each).state == "dropped"]
            if not dropped:
                raise ValueError(f"these cells are job {name} already, which is {self.state(name).state}")
            for each in dropped:
                self._refuse_superseded(each)
            for each in dropped:
                self.stops.take_down(each)
                self.record(each, "queued")
                self.steering.ask("add", each)
            return name
        try:
            size = network_complexity(genotype, self.study.retrain)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"no network can be built from these cells: {first_line(error)}") from None
        cell = Candidate(
            genotype=genotype,
            origins=(),
            valid_accuracy=None,
            reason=f"added by hand ({text})" if text in PUBLISHED else "added by hand",
            network_parameters=size.parameters,
            network_macs=size.macs,
        )
        for each, recipe in recipes.items():
            if each not in known:
                self._submit(RetrainJob.of(cell, recipe, "final", by_hand=True))
                self.steering.ask("add", each)
        self.refresh()
        return name

    def drop(self, name: str) -> str:
        """Drop a job by hand, one that runs after its present epoch; returns its name.

        Raises ValueError if it is done or dropped already.
        """
        name = self._named(name, ("queued", "running", "failed"))
        self.stops.raise_flag(name)  # whatever its state: one that was retried while it ended may run as queued
        return self._by_hand(name, "drop", "dropped", error=DROPPED_BY_HAND)

    def retry(self, name: str) -> str:
        """Queue a failed or dropped job again, with all retries; returns its name.  Raises ValueError for others."""
        name = self._named(name, ("failed", "dropped"))
        self.stops.take_down(name)
        return self._by_hand(name, "retry", "retried")

    def move_up(self, name: str) -> str:
        """Let a queued job run before the others of its stage and rung; returns its name.

        Raises ValueError for others.
        """
        name = self._named(name, ("queued",))
        self._by_hand(name, "up", "up")
        self.refresh()  # the ranks of others change too
        return name

    def problem(self, job: RetrainJob) -> str:
        """Why a job cannot run; empty if it can."""
        try:
            network_complexity(job.cell.genotype, self.recipe(job))
        except Exception as error:  # whatever it is, the other jobs must run
            return f"{type(error).__name__}: {first_line(error)}"
        return ""

    def recipe(self, job: RetrainJob) -> RetrainConfig:
        """The recipe of a job as it was submitted, with this study's data folder."""
        return job.config(self.study.recipe(job.stage))

    def retry_time(self, job_id: str, options: RunOptions) -> float | None:
        """When an attempt that fails now is retried, seconds since 1970; None if no retries are left."""
        tries = max(1, self.state(job_id, look=False).tries)
        if tries > options.max_failures:
            return None
        return self.clock() + backoff(tries, options.retry_delay, options.retry_delay_max)

    def _planned(self) -> list[RetrainJob]:
        """The jobs that the study needs now.  Events must have been read."""
        state = partial(self.state, look=False)
        return planned_jobs(self.study, self.store.rows(SEARCHES), state=state, result=self._result)

    def _result(self, job_id: str) -> dict[str, Any] | None:
        """The result of a job; None if its row was lost."""
        if job_id not in self._results and (result := self.result(job_id)):  # never changes, so read once
            self._results[job_id] = result
        return self._results.get(job_id)

    def _is_current(self, job: RetrainJob) -> bool:
        """Whether a job is trained by one of this configuration's recipes, or was added by hand."""
        return job.by_hand or job.job_id.removeprefix(f"{job.cell.genotype.digest}-") in self._recipes

    def _submit(self, job: RetrainJob) -> None:
        self.requests.add(replace(job, submitted_at=iso_time(self.clock())))
        self.events.append(job.job_id, "queued")

    def _named(self, name: str, allowed: tuple[State, ...]) -> str:
        """The job with a name or a prefix of it; raises ValueError for jobs in other states than these."""
        name = find_job(name, self.requests.read())
        self._refuse_superseded(name)
        state = self.state(name).state
        if state not in allowed:
            raise ValueError(f"job {name} is {state}, but must be {' or '.join(allowed)} for this")
        return name

    def _by_hand(self, name: str, asked: RequestKind, kind: EventKind, **content: Any) -> str:
        """Add an event, and have the driver look at the queue."""
        self.record(name, kind, **content)
        self.steering.ask(asked, name)
        return name

    def _refuse_superseded(self, name: str) -> None:
        """Raise ValueError for a job that the study itself has dropped: queued by hand, it would be dropped again."""
        if self.state(name).superseded:
            raise ValueError(
                f"job {name} was dropped because its cell is {SUPERSEDED}; it is queued again by itself once it is. To "
                "train more cells, give another study a higher selection.top or race.rungs that keep more"
            )

    def _write(self, row: dict[str, Any], stored: list[dict[str, Any]] | None) -> None:
        """Store a row of the table unless it is stored already."""
        if stored != QUEUE.to_arrow([row]).to_pylist():
            self.store.append(QUEUE, [row], row["job_id"])


def _place(queued: QueuedJob) -> tuple[bool, int, int, int, str]:
    """Sort key: stages in their order, dropped jobs last."""
    job = queued.job
    return (queued.state.state == "dropped", get_args(Stage).index(job.stage), job.rung or 0, queued.rank, job.job_id)


def find_job(name: str, job_ids: Iterable[str]) -> str:
    """The job with a name or an unambiguous prefix of it; raises ValueError if there is not exactly one."""
    matches = {job_id for job_id in job_ids if job_id.startswith(name)}
    if name in matches:
        return name
    if len(matches) != 1:
        found = "several jobs" if matches else "no job"
        raise ValueError(
            f"{name!r} names {found} of this queue; `pcdarts queue` lists them; any unambiguous prefix works"
        )
    return matches.pop()


def _with_present_reason(job: RetrainJob, planned: RetrainJob | None) -> RetrainJob:
    """A submitted job with the facts about its cell from the present searches."""
    if planned is None:
        return job
    reason = job.cell.reason if job.by_hand else planned.cell.reason
    return replace(job, cell=replace(planned.cell, genotype=job.cell.genotype, reason=reason))
