"""The file `live.json` of a study: what its driver does at the moment, for the live page.

The driver rewrites it every few seconds.  One that dies leaves its last file, so readers look at the age of
`written_at`; see `LiveStatus.stale`.
"""

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from analysis.storage.study_files import StudyFiles

LIVE_FILE = "live.json"
VERSION = 1
STALE_SECONDS = 30.0
"""Age of the file from which its driver may be dead or without storage."""

Phase = Literal["searches", "race", "retraining", "report", "finished", "interrupted", "failed"]
"""What the driver works on, or how it ended."""
ENDED = ("finished", "interrupted", "failed")
"""Phases of a driver that has ended."""


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """The driver and what it works on."""

    host: str
    """Name of its machine."""
    pid: int
    """Its process id."""
    command: str
    """The command that started it."""
    phase: Phase
    """What it works on, or how it ended."""
    message: str
    """More about the phase, one line; the error of one that failed."""


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A search or a retraining that runs."""

    key: str
    """Id of the search, or name of the retraining job."""
    kind: Literal["search", "retrain"]
    """What it is."""
    setting: str | None
    """Search: label of its setting."""
    cell: str | None
    """Retraining: digest of its cell."""
    seed: int
    """Its seed."""
    epoch: int
    """Epochs trained."""
    epochs: int
    """Epochs planned."""
    started_at: str
    """Start of this attempt, ISO 8601 in UTC."""
    reported_at: str | None
    """Time of the last epoch's report, ISO 8601 in UTC; None before the first."""
    seconds_left: float | None
    """Expected time to its end, from the pace of its last epochs, or of similar trials before its first one; seconds,
    never negative; None if no pace is known."""
    attempt: int
    """Number of this attempt, counted from 1."""
    node: str | None
    """Host that it runs on; None before its first report."""


@dataclass(frozen=True, kw_only=True)
class ResourceUse:
    """Resources of the Ray cluster."""

    cpus: float
    """CPUs of all nodes."""
    cpus_used: float
    """CPUs that are reserved."""
    gpus: float
    """GPUs of all nodes."""
    gpus_used: float
    """GPUs that are reserved."""
    nodes: int
    """Nodes that are up."""


@dataclass(frozen=True, kw_only=True)
class StorageStatus:
    """How writing to the study's storage goes."""

    troubles: tuple[str, ...]
    """The last errors that a retry survived, the latest last."""
    rows_waiting: int
    """Rows that are not written yet."""
    last_write_at: str | None
    """When rows were last written, ISO 8601 in UTC; None if none were."""


@dataclass(frozen=True, kw_only=True)
class LiveStatus:
    """The content of `live.json`."""

    written_at: str
    """When it was written, ISO 8601 in UTC."""
    driver: DriverStatus
    """The driver and what it works on."""
    running: tuple[RunningTrial, ...]
    """What runs now, the earliest start first."""
    waiting: int
    """Trials of the present phase that wait for a place."""
    done: int
    """Trials of the present phase that ended with a result, those of earlier runs included for searches."""
    failed: int
    """Trials of the present phase that failed, counted as `done` is."""
    resources: ResourceUse | None
    """Resources of the cluster; None before the driver has connected to it."""
    storage: StorageStatus
    """How writing goes."""
    seconds_left: float | None
    """Expected time to the end of the present phase; seconds; None if no pace is known."""
    version: int = VERSION
    """Version of this format."""

    def age(self, now: datetime | None = None) -> float:
        """Seconds since it was written; clocks of different machines may differ."""
        return ((now or datetime.now(UTC)) - datetime.fromisoformat(self.written_at)).total_seconds()

    def stale(self, now: datetime | None = None) -> bool:
        """Whether its driver has not ended but stopped writing: it died, or has lost the storage."""
        return self.driver.phase not in ENDED and self.age(now) > STALE_SECONDS


def write_live_status(files: StudyFiles, status: LiveStatus) -> None:
    """Write the file."""
    files.write_text(LIVE_FILE, json.dumps(dataclasses.asdict(status)) + "\n")


def read_live_status(files: StudyFiles) -> LiveStatus | None:
    """Read the file; None if there is none, or none that can be read, as one of a later version."""
    text = files.read_text(LIVE_FILE)
    try:
        return None if text is None else _parse(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _parse(plain: dict[str, Any]) -> LiveStatus:
    storage, resources = plain["storage"], plain["resources"]
    typed = {
        "driver": DriverStatus(**plain["driver"]),
        "running": tuple(RunningTrial(**trial) for trial in plain["running"]),
        "resources": None if resources is None else ResourceUse(**resources),
        "storage": StorageStatus(**storage | {"troubles": tuple(storage["troubles"])}),
    }
    status = LiveStatus(**plain | typed)
    status.age()  # raises ValueError for a broken time
    return status
