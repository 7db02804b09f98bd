"""The history of retraining jobs: append-only events, and the state of a job as a pure function of them.

An event is one small JSON file in the study's folder `queue-events`, named after its job and its number.  It is created
once: of two processes that know the same events of a job, one writes the next, and the other reads it before it writes
its own.  So the events of a job have one order, whatever clocks show, and the writer of each knew those before it.
Duplicates and the order of reading do not matter: events are sorted first.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from analysis.records import State
from analysis.storage.study_files import StudyFiles

EventKind = Literal["queued", "started", "progress", "done", "failed", "dropped", "retried", "up"]

SUPERSEDED = "no longer among the best cells"
"""Why `RetrainQueue.update` drops a job; the job is queued again once its cell is among the best again."""
DROPPED_BY_HAND = "dropped by hand"
"""Why `RetrainQueue.drop` drops a job; the job stays dropped."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job."""

    job_id: str
    """The job."""
    kind: EventKind
    """What happened."""
    order: int
    """One more than that of the last event of the job.  Earlier versions took the time in milliseconds since 1970."""
    id: str
    """Unique."""
    at: int = 0
    """When it was written, milliseconds since 1970; 0 in events of earlier versions."""
    attempt: int = 0
    """started, progress, done, failed: number of the attempt, counted from 1."""
    dispatcher: str = ""
    """started, progress, done, failed: the process that wrote the event."""
    term: int = 0
    """Term of the dispatcher's lease, see `orchestrator.storage.lease`; 0: no dispatcher wrote the event."""
    epochs: int = 0
    """progress: epochs trained."""
    epoch_seconds: float = 0.0
    """progress: time of the last epoch; seconds."""
    error: str = ""
    """failed: what went wrong; dropped: why."""
    retry_at: float | None = None
    """failed: when the job is retried, seconds since 1970; None: never."""

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.job_id}.{self.order:015d}.json"


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The state of a job, computed from its events."""

    state: State = "queued"
    """As in the table `queue`."""
    attempts: int = 0
    """Attempts that were started."""
    tries: int = 0
    """Attempts since the job was queued, was retried by hand, or got further than before; limited by max_failures."""
    error: str = ""
    """The error of the last attempt, or why the job was dropped."""
    epochs: int = 0
    """Epochs trained."""
    epoch_seconds: float = 0.0
    """Time of the last epoch; seconds."""
    retry_at: float | None = None
    """When a failed attempt is retried, seconds since 1970; None: at once."""
    moved_up: int = 0
    """When the job was last moved up, milliseconds since 1970; 0: never.  The latest one comes first."""

    @property
    def pending(self) -> bool:
        """Whether the job is still to be run: it is queued, or an attempt is running or was interrupted."""
        return self.state in ("queued", "running")

    @property
    def superseded(self) -> bool:
        """Whether the job was dropped because its cell was no longer among the best."""
        return self.state == "dropped" and self.error == SUPERSEDED


def state_of(events: Iterable[Event]) -> JobState:
    """The state of one job.

    - `done` is final, whoever wrote it and whenever: a result is a result.
    - Any other event of a dispatcher is ignored after an event of a later term, and so is any further event of an
      attempt that has failed.
    """
    now, failed_attempt, furthest, term, done = JobState(), 0, 0, 0, False
    for event in sorted(set(events), key=lambda e: (e.order, e.id)):
        if event.kind == "done":
            done, now = True, replace(now, attempts=max(now.attempts, event.attempt))
            continue
        if event.term:
            if event.term < term or event.attempt <= failed_attempt:
                continue
            term = event.term
        attempts = max(now.attempts, event.attempt)
        if event.kind == "up":
            now = replace(now, moved_up=event.at or event.order)
        elif event.kind == "dropped":
            now = replace(now, state="dropped", error=event.error, retry_at=None)
        elif (event.kind == "retried" and now.state != "running") or (
            event.kind == "queued" and now.state == "dropped"
        ):
            now = replace(now, state="queued", tries=0, error="", retry_at=None)
        elif event.kind == "started" and now.state != "dropped":
            tries = now.tries + (event.attempt > now.attempts or now.tries == 0)
            now = replace(now, state="running", tries=tries, attempts=attempts, retry_at=None)
        elif event.kind == "progress":
            further = now.state == "running" and event.epochs > furthest
            tries = 1 if further else now.tries
            furthest = max(furthest, event.epochs)
            now = replace(now, tries=tries, epochs=event.epochs, epoch_seconds=event.epoch_seconds)
        elif event.kind == "failed":
            failed_attempt, now = attempts, replace(now, attempts=attempts)
            if now.state != "dropped":
                state: State = "failed" if event.retry_at is None else "queued"
                now = replace(now, state=state, error=event.error, retry_at=event.retry_at)
    return replace(now, state="done", error="", retry_at=None) if done else now


def backoff(tries: int, base: float, most: float) -> float:
    """Seconds to wait after the given number of failed tries: base, 2 base, 4 base, ..., at most `most`."""
    return float(min(most, base * 2.0 ** min(tries - 1, 60)))


class EventLog:
    """The events of a study.  Files are read once: they never change."""

    def __init__(self, folder: StudyFiles, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.clock = folder, clock
        self.broken: list[str] = []
        self._known: dict[str, dict[str, Event]] = {}

    def read(self, only: str = "") -> dict[str, list[Event]]:
        """All events by job, after reading the new files, or only those of one job.

        A file that is not an event is left out and listed in `broken`.
        """
        self.broken = []
        for name in self.folder.names():
            job_id = name.split(".")[0]
            if only and job_id != only:
                continue
            if name in self._known.get(job_id, {}):
                continue
            text = self.folder.read_text(name)
            try:
                self._known.setdefault(job_id, {})[name] = Event(**json.loads(text or ""))
            except (ValueError, TypeError) as error:
                self.broken.append(f"{name}: {error}")
        return {job_id: list(events.values()) for job_id, events in self._known.items()}

    def last_term(self) -> int:
        """The highest term of the events read; 0: no dispatcher has written any."""
        return max((event.term for events in self._known.values() for event in events.values()), default=0)

    def known(self, job_id: str) -> list[Event]:
        """The events of a job that were read so far."""
        return list(self._known.get(job_id, {}).values())

    def append(self, job_id: str, kind: EventKind, **content: object) -> Event:
        """Write an event that follows all others of this job.

        A callable in `content` gets the state of the job and returns the value; it is called again if another process
        writes an event first.
        """
        taken = 0
        while True:
            known = self.known(job_id)
            order = max([taken, *(event.order for event in known)]) + 1
            state = state_of(known)
            values = {name: value(state) if callable(value) else value for name, value in content.items()}
            now = int(self.clock() * 1000)
            event = Event(job_id=job_id, kind=kind, order=order, id=uuid.uuid4().hex[:12], at=now, **values)  # type: ignore[arg-type]
            if self.folder.create_text(event.name, json.dumps(asdict(event))):
                self._known.setdefault(job_id, {})[event.name] = event
                return event
            is_listed = event.name in self.folder.names()
            self.read(job_id)
            if is_listed:  # read by now, or broken; else the event of this number must be read first
                taken = order
