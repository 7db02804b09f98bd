"""What a tracker of experiments must do to mirror a study.

A tracker keeps a run for each search and each retraining, found again by its key, so that a mirror that is stopped or
started twice neither repeats nor loses anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Value = bool | int | float | str
Metrics = Mapping[str, float]
"""Finite numbers by name."""


class TrackerError(OSError):
    """A tracker cannot be reached or refuses what it is given; the study is not affected."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """A search or a retraining of a study."""

    study: str
    """Name of the study."""
    key: str
    """Id of the search or of the retraining job."""
    kind: str
    """search or retraining."""
    started: float | None = None
    """Start time, seconds since 1970; None if it is not known yet."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """The metrics of one epoch."""

    epoch: int
    """Epoch, counted from 0."""
    seconds: float
    """Time from the start of the run to the end of the epoch, seconds."""
    metrics: Metrics
    """Measures of the epoch."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    status: str
    """completed, stopped (early, with a result), failed or canceled (stopped before its first epoch)."""
    attempt: int
    """Attempt that ended so, counted from 1: a failed one may be followed by another."""
    seconds: float
    """Time from the start to the end of the run, seconds."""
    metrics: Metrics
    """Results; empty if it failed."""
    notes: Mapping[str, str]
    """Texts such as the cells, the device or the error."""

    @property
    def name(self) -> str:
        """Status and attempt as one word, by which a tracker recognizes an outcome that it holds."""
        return f"{self.status}-{self.attempt}"


class TrackedRun(Protocol):
    """A run as the tracker holds it."""

    @property
    def epochs(self) -> int:
        """Number of epochs that the tracker holds."""
        ...

    @property
    def outcome(self) -> str:
        """Name of the outcome that the tracker holds; empty while the run goes on."""
        ...

    def params(self, values: Mapping[str, Value]) -> None:
        """Store the parameters, unless the run has them already."""
        ...

    def metrics(self, epochs: Sequence[EpochMetrics]) -> None:
        """Store further epochs."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """Store how the run ended."""
        ...


class Tracker(Protocol):
    """A tracker of experiments.  All methods raise TrackerError if it cannot be reached."""

    def run(self, identity: RunIdentity) -> TrackedRun:
        """The run of this key, created if the tracker has none."""
        ...

    def close(self) -> None:
        """End the mirror; the runs stay."""
        ...
