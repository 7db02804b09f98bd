"""Weights & Biases: a run for each search and each retraining, in the group of their study.

The id of a run is made from study and key, so that a later mirror resumes it.  Epochs are logged under their own number
(`define_metric`); those that the service holds are counted in the run's summary.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.tracking.tracker import EpochMetrics, Outcome, RunIdentity, TrackerError, Value

EPOCHS, OUTCOME = "pcdarts/epochs", "pcdarts/outcome"
"""Names in the summary of a run."""


class WandbTracker:
    """A project of Weights & Biases; the account is that of `wandb login`."""

    def __init__(self, project: str) -> None:
        try:
            import wandb
        except ImportError:
            raise ValueError("this needs wandb; pip install 'pcdarts-orchestrator[wandb]'") from None
        self.wandb, self.project = wandb, project

    def run(self, identity: RunIdentity) -> "WandbRun":
        """The run of this key, resumed if the project has it."""
        return WandbRun(self, identity)

    def close(self) -> None:
        """Nothing to do: a run is open only while it is written to."""

    def open(self, identity: RunIdentity) -> Any:
        """Start or resume the run of this key; raises TrackerError if the service does not answer."""
        name = hashlib.sha256(f"{identity.study}/{identity.kind}/{identity.key}".encode()).hexdigest()[:16]
        try:
            run = self.wandb.init(
                project=self.project,
                id=name,
                name=identity.key,
                group=identity.study,
                job_type=identity.kind,
                resume="allow",
                reinit="create_new",
                settings=self.wandb.Settings(silent=True, console="off", init_timeout=30),
            )
        except (self.wandb.Error, OSError) as error:
            raise TrackerError(
                f"Weights & Biases failed ({' '.join(str(error).split())[:200]}); check the network"
            ) from None
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run


class WandbRun:
    """A run, opened again for each write: hundreds of open runs would each keep a thread and a file."""

    def __init__(self, tracker: WandbTracker, identity: RunIdentity) -> None:
        self._tracker, self._identity = tracker, identity
        run = tracker.open(identity)
        self.epochs, self.outcome = int(run.summary.get(EPOCHS) or 0), str(run.summary.get(OUTCOME) or "")
        self._has_params = bool(dict(run.config))
        run.finish()

    def params(self, values: Mapping[str, Value]) -> None:
        """Store the parameters as the configuration of the run."""
        if not self._has_params and values:
            run = self._tracker.open(self._identity)
            run.config.update(dict(values), allow_val_change=True)
            run.finish()
            self._has_params = True

    def metrics(self, epochs: Sequence[EpochMetrics]) -> None:
        """Log epochs; their number is the x axis."""
        run = self._tracker.open(self._identity)
        for epoch in epochs:  # with the count in the same row, from which the summary takes it
            run.log({"epoch": epoch.epoch, EPOCHS: epoch.epoch + 1, **epoch.metrics})
        self.epochs = run.summary[EPOCHS] = epochs[-1].epoch + 1
        run.finish()

    def finish(self, outcome: Outcome) -> None:
        """Store results and texts in the summary of the run."""
        run = self._tracker.open(self._identity)
        run.summary.update({**outcome.notes, **outcome.metrics, OUTCOME: outcome.name})
        run.finish(exit_code=1 if outcome.status == "failed" else 0)
        self.outcome = outcome.name
