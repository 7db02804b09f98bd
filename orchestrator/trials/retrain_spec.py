"""What the trial of a retraining job gets."""

from dataclasses import dataclass

from orchestrator.queue.jobs import RetrainJob
from orchestrator.trials.tune_trials import TrialSpec


@dataclass(frozen=True, kw_only=True)
class RetrainSpec(TrialSpec):
    """A trial that retrains a cell."""

    job: RetrainJob
    """What to retrain; `config` is its recipe with this study's data folder."""
