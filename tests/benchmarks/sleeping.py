"""A trial that sleeps instead of computing.  Imports little: dozens of such workers fit on one machine."""

import time
from typing import Any

from orchestrator.trials.tune_trials import report


def sleeping_trial(trial: dict[str, Any]) -> None:
    """Sleep for the seconds that the specification's `genotype` says, in epochs; report when it began and ended."""
    epochs, seconds = trial["spec"].config.epochs, float(trial["spec"].genotype)
    began = time.time()
    for epoch in range(epochs):
        time.sleep(max(0.0, began + seconds * (epoch + 1) / epochs - time.time()))
        report("epoch", {"epoch": epoch})
    report("result", {"began": began, "ended": time.time()})
