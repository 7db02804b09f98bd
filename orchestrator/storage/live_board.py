"""What a driver knows of its trials while they run, and what of it goes into `live.json`.

The thread that writes the file takes a snapshot while the driver goes on; everything else is called by the driver.
"""

import math
import os
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Literal

from orchestrator.storage.live_status import (
    DriverStatus,
    LiveStatus,
    Phase,
    ResourceUse,
    RunningTrial,
    StorageStatus,
)

PACE_EPOCHS = 5
"""Number of last epochs that a trial's pace comes from."""
LAST_TROUBLES = 10
"""Storage errors that are kept."""


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A search or a retraining that waits or runs."""

    key: str
    """Id of the search, or name of the retraining job."""
    kind: Literal["search", "retrain"]
    """What it is."""
    setting: str | None = None
    """Search: label of its setting."""
    cell: str | None = None
    """Retraining: digest of its cell."""
    seed: int
    """Its seed."""
    epochs: int
    """Epochs planned."""
    group: str = ""
    """Trials of one group take about the same time an epoch."""


@dataclass
class _Running:
    trial: PlannedTrial
    started_at: float
    attempt: int
    epoch: int = 0
    reported_at: float | None = None
    node: str | None = None
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=PACE_EPOCHS))


class LiveBoard:
    """The trials of a driver: which wait, which run and how far they are."""

    def __init__(self, command: str = "", clock: Callable[[], float] = time.time) -> None:
        self.command, self.clock = command, clock
        self.phase: Phase = "searches"
        self.message = "starting"
        self.storage = StorageStatus(troubles=(), rows_waiting=0, last_write_at=None)
        self._lock = threading.Lock()
        self._clear()

    def begin(self, phase: Phase, message: str = "", *, done: int = 0, failed: int = 0) -> None:
        """Begin or end a phase; the trials of the one before are forgotten."""
        with self._lock:
            self.phase, self.message = phase, message
            self._clear()
            self._done, self._failed = done, failed
            self.storage = replace(self.storage, rows_waiting=0)  # every phase ends with writing what is left

    def expect(self, trials: Iterable[PlannedTrial]) -> None:
        """Trials of this phase that wait for a place."""
        with self._lock:
            self._waiting |= {trial.key: trial for trial in trials if trial.key not in self._running}

    def started(self, key: str, attempt: int | None = None) -> None:
        """A trial starts, or starts again."""
        with self._lock:
            trial = self._waiting.pop(key, None)
            if trial is not None:
                self._attempts[key] = attempt or self._attempts[key] + 1
                self._running[key] = _Running(trial, self.clock(), self._attempts[key])

    def reported(self, key: str, epochs: int, seconds: float, node: str | None = None) -> None:
        """A trial has trained `epochs` epochs, the last one in `seconds`."""
        with self._lock:
            if (running := self._running.get(key)) is not None:
                running.epoch, running.reported_at, running.node = epochs, self.clock(), node or running.node
                running.seconds.append(seconds)

    def waits_again(self, key: str) -> None:
        """A trial failed and will run again."""
        with self._lock:
            if (running := self._running.pop(key, None)) is not None:
                self._waiting[key] = running.trial

    def ended(self, key: str, *, failed: bool = False) -> None:
        """A trial ended."""
        with self._lock:
            self._forget(key)
            self._failed += failed
            self._done += not failed

    def withdrawn(self, key: str) -> None:
        """A trial will not run, or not to its end."""
        with self._lock:
            self._forget(key)

    def stored(self, *, troubles: Iterable[str] = (), rows_waiting: int = 0, last_write_at: str | None = None) -> None:
        """How writing goes; adds new `troubles` to the earlier ones."""
        kept = (*self.storage.troubles, *troubles)[-LAST_TROUBLES:]
        last = last_write_at or self.storage.last_write_at
        self.storage = StorageStatus(troubles=kept, rows_waiting=rows_waiting, last_write_at=last)

    def snapshot(self, resources: ResourceUse | None = None) -> LiveStatus:
        """The content of `live.json` now."""
        with self._lock:
            now = self.clock()
            running = sorted(self._running.values(), key=lambda each: (each.started_at, each.trial.key))
            return LiveStatus(
                written_at=_iso(now),
                driver=DriverStatus(
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    command=self.command,
                    phase=self.phase,
                    message=self.message,
                ),
                running=tuple(self._row(each, now) for each in running),
                waiting=len(self._waiting),
                done=self._done,
                failed=self._failed,
                resources=resources,
                storage=self.storage,
                seconds_left=self._seconds_left(now),
            )

    def _clear(self) -> None:
        self._waiting: dict[str, PlannedTrial] = {}
        self._running: dict[str, _Running] = {}
        self._attempts: defaultdict[str, int] = defaultdict(int)
        self._paces: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=100))
        """Seconds an epoch of trials that ended, by group."""
        self._most_at_once = 1
        self._done = self._failed = 0

    def _forget(self, key: str) -> None:
        self._waiting.pop(key, None)
        self._most_at_once = max(self._most_at_once, len(self._running))
        running = self._running.pop(key, None)
        if running is not None and running.seconds:
            self._paces[running.trial.group].append(fmean(running.seconds))

    def _row(self, running: _Running, now: float) -> RunningTrial:
        trial = running.trial
        return RunningTrial(
            key=trial.key,
            kind=trial.kind,
            setting=trial.setting,
            cell=trial.cell,
            seed=trial.seed,
            epoch=running.epoch,
            epochs=trial.epochs,
            started_at=_iso(running.started_at),
            reported_at=None if running.reported_at is None else _iso(running.reported_at),
            seconds_left=self._left(running, now),
            attempt=running.attempt,
            node=running.node,
        )

    def _left(self, running: _Running, now: float) -> float | None:
        pace = fmean(running.seconds) if running.seconds else self._pace(running.trial)
        if pace is None:
            return None
        since = now - (running.started_at if running.reported_at is None else running.reported_at)
        return max(0.0, (running.trial.epochs - running.epoch) * pace - min(max(0.0, since), pace))

    def _pace(self, trial: PlannedTrial) -> float | None:
        """Seconds an epoch of trials like this one: those that ended, else those that run; None if none reported."""
        ended = self._paces.get(trial.group)
        found = list(ended or ()) or [
            fmean(each.seconds) for each in self._running.values() if each.seconds and each.trial.group == trial.group
        ]
        return median(found) if found else None

    def _seconds_left(self, now: float) -> float | None:
        """Time until all have ended, if as many run at once as did before; None if a pace is missing."""
        lefts = [self._left(each, now) for each in self._running.values()]
        paces: dict[str, float | None] = {}
        for trial in self._waiting.values():
            if trial.group not in paces:
                paces[trial.group] = self._pace(trial)
            pace = paces[trial.group]
            lefts.append(None if pace is None else pace * trial.epochs)
        known = [left for left in lefts if left is not None]
        if not lefts or len(known) < len(lefts):
            return None
        at_once = max(self._most_at_once, len(self._running))
        return max(math.fsum(known) / at_once, *known)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
