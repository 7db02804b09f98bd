"""The retraining queue of a study: which jobs there are, one a distinct cell and recipe, and what becomes of them.

With a proxy stage the best cells of the searches are first trained briefly, one job a cell and seed.  Once all of
these have ended, those that come out best get a final job.

What lasts are three kinds of files in the study's storage, on a local disk or an object store:

    queue-requests/   the jobs: cells and how to retrain them, see `orchestrator.queue.requests`
    queue-events/     what happened to the jobs, see `orchestrator.queue.events`
    retrains/         results, by the job's name

The table `queue` is a view of these for people; `update` makes it anew where it is lost.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from analysis.records import RetrainJob
from analysis.store import ResultStore
from analysis.tables import QUEUE, RETRAINS, SEARCHES
from orchestrator.config import Stage, StudyConfig
from orchestrator.options import RunOptions
from orchestrator.queue.events import EventLog, JobState, Kind, State, backoff, state_of
from orchestrator.queue.requests import Description, Request, RequestLog
from orchestrator.queue.selection import Candidate, rerank, select
from pcdarts.complexity import network_complexity
from pcdarts.config import RetrainConfig, digest, identity
from pcdarts.genotype import PUBLISHED, Genotype, read_genotype

NOT_SELECTED = "no longer among the best cells"
"""Why `update` drops a job; one that was dropped for this is queued again when it is among the best once more."""
BY_HAND = "dropped by hand"
"""Why `drop` drops a job; it stays dropped."""


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """A job that the searches and proxies ask for."""

    candidate: Candidate
    stage: Stage
    recipe: RetrainConfig

    def description(self) -> Description:
        """What the table `queue` says of it; the candidate's sizes are those of the final network."""
        cells, proxy = self.candidate, self.stage == "proxy"
        return Description(
            genotype_digest=cells.genotype_digest,
            origins=cells.origins,
            valid_accuracy=cells.valid_accuracy,
            reason=f"proxy with seed {self.recipe.seed}: {cells.reason}" if proxy else cells.reason,
            network_parameters=None if proxy else cells.network_parameters,
            network_macs=None if proxy else cells.network_macs,
        )


def find_job(name: str, job_ids: Iterable[str]) -> str:
    """The job that a name, or an unambiguous prefix of it, stands for; raises ValueError for anything else."""
    matches = {job_id for job_id in job_ids if job_id.startswith(name)}
    if name in matches:
        return name
    if len(matches) != 1:
        found = "several jobs" if matches else "no job"
        raise ValueError(
            f"{name!r} names {found} of this queue; `pcdarts queue` lists them, and any unambiguous prefix will do"
        )
    return matches.pop()


class RetrainQueue:
    """The jobs of a study, and what can be done with them."""

    def __init__(self, study: StudyConfig, store: ResultStore, clock: Callable[[], float] = time.time) -> None:
        self.study, self.store, self.clock = study, store, clock
        self.requests = RequestLog(store.below("queue-requests"))
        self.events = EventLog(store.below("queue-events"), clock)
        self._accuracies: dict[str, float] = {}

    def jobs(self) -> list[RetrainJob]:
        """Rows of the table `queue`, from what lasts, by stage and rank, dropped ones last.  Nothing is written."""
        requests, events = self.requests.read(), self.events.read()
        selected = self._selected()
        by_hand = [job_id for job_id, request in requests.items() if request.by_hand]
        order = dict.fromkeys([*sorted(by_hand, key=lambda j: (requests[j].submitted_at, j)), *selected, *requests])
        jobs = []
        ranks = {"proxy": itertools.count(1), "final": itertools.count(1)}
        for job_id in (job_id for job_id in order if job_id in requests):
            request = requests[job_id]
            described = selected[job_id].description() if job_id in selected else request.description
            if request.by_hand:
                described = dataclasses.replace(described, reason=request.description.reason)
            job = RetrainJob(
                job_id=job_id,
                study=self.study.name,
                rank=next(ranks[request.stage]),
                genotype=request.genotype,
                submitted_at=request.submitted_at,
                stage=request.stage,
                **asdict(described),
                **_progress(request, state_of(events.get(job_id, ()))),
            )
            jobs.append(job)
        return sorted(jobs, key=lambda job: (job.state == "dropped", job.stage == "final", job.rank, job.job_id))

    def update(self) -> list[RetrainJob]:
        """Queue the cells that the study's searches and proxies select now, and make the table `queue` anew.

        Jobs that were queued before keep their state; those that are selected no more and have not begun are dropped.
        Jobs with other recipes than this configuration's are left alone.
        """
        requests, events, asked_for = self.requests.read(), self.events.read(), self._asked_for()
        selected = self._selected()
        for job_id, wish in selected.items():
            if job_id not in requests:
                cells, described = wish.candidate.genotype, wish.description()
                self._request(job_id, cells, described, stage=wish.stage, recipe=wish.recipe)
            elif self._taken_off(job_id):
                self.events.append(job_id, "queued")
        for job_id, request in requests.items():
            waits = state_of(events.get(job_id, ())).state == "queued"
            if waits and job_id not in selected and job_id in asked_for and not request.by_hand:
                self.events.append(job_id, "dropped", error=NOT_SELECTED)
        return self._show()

    def has_work(self, retry_failed: bool) -> bool:
        """Whether jobs wait, or would be queued; nothing is written."""
        wanted = ("queued", "running", "failed") if retry_failed else ("queued", "running")
        asked_for = self._asked_for()
        return any(job.state in wanted for job in self.jobs() if job.job_id in asked_for) or bool(self.unqueued())

    def unqueued(self) -> list[str]:
        """Ids of the jobs that `update` would queue for the first time.  Nothing is written."""
        requests, _ = self.requests.read(), self.events.read()
        return [job_id for job_id in self._selected() if job_id not in requests]

    def waiting(self) -> list[RetrainJob]:
        """Jobs to work off, by this configuration's recipes or added by hand.

        One that is `running` while nobody works on the queue was interrupted: it goes on.  If it was interrupted
        between its result and its event, the event is made up for.
        """
        for job_id in self.requests.read():
            state, result = self.state(job_id, look=False), self.result(job_id)
            if result and state.state != "done":
                self.record(job_id, "done", attempt=result["attempt"])
        jobs, asked_for = self.update(), self._asked_for()
        return [job for job in jobs if job.state in ("queued", "running") and job.job_id in asked_for]

    def state(self, job_id: str, look: bool = True) -> JobState:
        """The state of a job, after a look for new events unless told otherwise."""
        if look:
            self.events.read()
        return state_of(self.events.known(job_id))

    def result(self, job_id: str) -> dict[str, Any] | None:
        """The completed row of a job in the table `retrains`, if there is one."""
        rows = self.store.read_part(RETRAINS, job_id)
        return rows[0] if rows else None

    def record(self, job_id: str, kind: Kind, **content: Any) -> None:
        """Add an event, and show it in the table."""
        self.events.append(job_id, kind, **content)
        rows = self.store.read_part(QUEUE, job_id)
        if rows:
            progress = _progress(self.requests.get(job_id), self.state(job_id, look=False))
            self._write(dataclasses.replace(RetrainJob(**rows[0]), **progress))
        else:
            self._show()

    def add(self, text: str) -> str:
        """Queue a cell by hand: a published name, a genotype, or a file that holds one; the job's id.

        Raises ValueError for anything else, and for cells that are queued already or that no network can be built from.
        """
        genotype = read_genotype(text)
        job_id = self.job_id(genotype.digest)
        reason = f"added by hand ({text})" if text in PUBLISHED else "added by hand"
        if job_id in self.requests.read():
            state = self.state(job_id).state
            if state != "dropped":
                raise ValueError(f"these cells are job {job_id} already, which is {state}")
            self.record(job_id, "queued")
            return job_id
        try:
            size = network_complexity(genotype, self.study.retrain)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"no network can be built from these cells: {_line(error)}") from None
        description = Description(
            genotype_digest=genotype.digest,
            origins=(),
            valid_accuracy=None,
            reason=reason,
            network_parameters=size.parameters,
            network_macs=size.macs,
        )
        self._request(job_id, str(genotype), description, by_hand=True)
        self._show()
        return job_id

    def drop(self, name: str) -> str:
        """Take a job off the queue by hand; its id.  Raises ValueError where it is done or running."""
        return self._by_hand(name, "dropped", ("queued", "failed"), error=BY_HAND)

    def retry(self, name: str) -> str:
        """Queue a failed or dropped job again, with all its attempts; its id.  Raises ValueError for others."""
        return self._by_hand(name, "retried", ("failed", "dropped"))

    def job_id(self, genotype_digest: str, recipe: RetrainConfig | None = None) -> str:
        """Name of a job: the cells up to isomorphism, and a hash of recipe (or the final one), data set and seed."""
        return f"{genotype_digest}-{digest(recipe or self.study.retrain)}"

    def problem(self, job: RetrainJob) -> str:
        """Why a job cannot be run at all; empty if it can."""
        try:
            network_complexity(Genotype.parse(job.genotype), self.recipe(job.job_id))
        except Exception as error:  # whatever it is, the other jobs must go on
            return f"{type(error).__name__}: {_line(error)}"
        return ""

    def recipe(self, job_id: str) -> RetrainConfig:
        """How a job is retrained: as it was requested, on this study's data folder and devices."""
        request = self.requests.get(job_id)
        return dataclasses.replace(self.study.recipe(request.stage), **request.recipe)

    def stage(self, job_id: str) -> Stage:
        """The stage of a job that was requested."""
        return self.requests.get(job_id).stage

    def retry_time(self, job_id: str, options: RunOptions) -> float | None:
        """When an attempt that fails now is repeated, seconds since 1970; None if the job has had its attempts."""
        tries = max(1, self.state(job_id, look=False).tries)
        if tries > options.max_failures:
            return None
        return self.clock() + backoff(tries, options.retry_delay, options.retry_delay_max)

    def _by_hand(self, name: str, kind: Kind, allowed: tuple[State, ...], **content: Any) -> str:
        job_id = find_job(name, self.requests.read())
        state = self.state(job_id).state
        if state not in allowed:
            raise ValueError(f"job {job_id} is {state}, but must be {' or '.join(allowed)} for this")
        self.record(job_id, kind, **content)
        return job_id

    def _asked_for(self) -> set[str]:
        """The jobs by this configuration's recipes, or added by hand, of all that were requested."""
        recipes = [self.study.retrain, *(self.study.proxy.recipes() if self.study.proxy.top else ())]
        digests = {digest(recipe) for recipe in recipes}
        requests = self.requests.read()
        return {j for j, request in requests.items() if request.by_hand or j.rpartition("-")[2] in digests}

    def _taken_off(self, job_id: str) -> bool:
        """Whether a job was dropped because it was not among the best, not by hand."""
        state = self.state(job_id, look=False)
        return state.state == "dropped" and state.error == NOT_SELECTED

    def _selected(self) -> "dict[str, _Wish]":
        """The jobs that are wanted now, by name, those of a stage in their order.  Events have to be read before."""
        searches = self.store.rows(SEARCHES)
        selection, proxy = self.study.selection, self.study.proxy
        if not proxy.top or not selection.top:
            return self._wishes(select(searches, selection), "final", [self.study.retrain])
        candidates = select(searches, dataclasses.replace(selection, top=max(proxy.top, selection.top)))
        proxies = self._wishes(candidates, "proxy", proxy.recipes())
        states = {job_id: self.state(job_id, look=False).state for job_id in proxies}
        if any(state in ("queued", "running") or self._taken_off(job_id) for job_id, state in states.items()):
            return proxies
        accuracies: dict[str, list[float]] = {}
        for job_id, wish in proxies.items():
            if states[job_id] == "done" and (accuracy := self._proxy_accuracy(job_id)) is not None:
                accuracies.setdefault(wish.candidate.genotype_digest, []).append(accuracy)
        best = rerank(candidates, accuracies, seeds=proxy.seeds, top=selection.top)
        return proxies | self._wishes(best, "final", [self.study.retrain])

    def _wishes(
        self, candidates: Iterable[Candidate], stage: Stage, recipes: Iterable[RetrainConfig]
    ) -> "dict[str, _Wish]":
        return {
            self.job_id(candidate.genotype_digest, recipe): _Wish(candidate=candidate, stage=stage, recipe=recipe)
            for candidate, recipe in itertools.product(candidates, recipes)
        }

    def _proxy_accuracy(self, job_id: str) -> float | None:
        """Validation accuracy of a proxy job that is done, percent; None where its row was lost."""
        if job_id not in self._accuracies and (result := self.result(job_id)):  # never changes: is read once
            self._accuracies[job_id] = result["valid_accuracy"]
        return self._accuracies.get(job_id)

    def _request(
        self,
        job_id: str,
        genotype: str,
        description: Description,
        *,
        by_hand: bool = False,
        stage: Stage = "final",
        recipe: RetrainConfig | None = None,
    ) -> None:
        request = Request(
            job_id=job_id,
            genotype=genotype,
            stage=stage,
            recipe=identity(recipe or self.study.retrain),
            by_hand=by_hand,
            submitted_at=_iso(self.clock()),
            description=description,
        )
        self.requests.add(request)
        self.events.append(job_id, "queued")

    def _show(self) -> list[RetrainJob]:
        jobs = self.jobs()
        for job in jobs:
            self._write(job)
        return jobs

    def _write(self, job: RetrainJob) -> None:
        """Store a job in the table, unless it is stored like this."""
        row = QUEUE.row(job)
        if self.store.read_part(QUEUE, job.job_id) != QUEUE.to_arrow([row]).to_pylist():
            self.store.append(QUEUE, [row], job.job_id)


def _progress(request: Request, state: JobState) -> dict[str, Any]:
    """The columns of a job that change while it is worked off."""
    epochs = request.recipe["epochs"]
    done = epochs if state.state == "done" else min(state.epochs, epochs)
    running = state.state == "running" and state.epoch_seconds
    return {
        "state": state.state,
        "attempts": state.attempts,
        "error": state.error,
        "epochs_done": done,
        "epochs_planned": epochs,
        "seconds_left": (epochs - done) * state.epoch_seconds if running else None,
        "retry_at": _iso(state.retry_at) if state.retry_at else None,
    }


def _iso(seconds: float) -> str:
    """A time as the tables have it, of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
