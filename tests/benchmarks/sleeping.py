"""A trial that sleeps instead of computing.  Imports little: dozens of such workers fit on one machine."""

import time
from dataclasses import dataclass
from typing import Any

from orchestrator.trials.tune_trials import TrialSpec, report


@dataclass(frozen=True, kw_only=True)
class SleepSpec(TrialSpec):
    """A trial that sleeps."""

    seconds: float
    """How long."""


def sleeping_trial(trial: dict[str, Any]) -> None:
    """Sleep in epochs; report when it began and ended."""
    spec: SleepSpec = trial["spec"]
    epochs, seconds = spec.config.epochs, spec.seconds
    began = time.time()
    for epoch in range(epochs):
        time.sleep(max(0.0, began + seconds * (epoch + 1) / epochs - time.time()))
        report("epoch", {"epoch": epoch})
    report("result", {"began": began, "ended": time.time()})
