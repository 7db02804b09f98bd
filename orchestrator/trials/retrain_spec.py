"""What the trial of a retraining job gets, and how it ends if the job is dropped."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.queue.jobs import RetrainJob
from orchestrator.storage.steering_log import StopFlags
from orchestrator.trials.tune_trials import TrialSpec

LEAST_SECONDS = 1.0
"""Least time between two looks at the flag of a job: a training that resumes reports all its epochs at once."""


@dataclass(frozen=True, kw_only=True)
class RetrainSpec(TrialSpec):
    """A trial that retrains a cell."""

    job: RetrainJob
    """What to retrain; `config` is its recipe with this study's data folder."""


class DroppedError(RuntimeError):
    """The job was dropped while it ran."""


def dropped_check(spec: RetrainSpec) -> Callable[[], None]:
    """A function to call after every epoch, which raises DroppedError once the job was dropped by hand."""
    flags, looked_at = StopFlags.of(spec.root), float("-inf")

    def check() -> None:
        nonlocal looked_at
        if (now := time.monotonic()) - looked_at >= LEAST_SECONDS:
            looked_at = now
            if flags.is_set(spec.key):
                raise DroppedError(f"job {spec.key} was dropped")

    return check
