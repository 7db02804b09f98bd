"""MLflow: a parent run for the study, below it a run for each search and each retraining.

Runs are found by the tags `pcdarts.study` and `pcdarts.run`.  Timestamps of metrics depend on the tables and the start
of the run alone, so that MLflow recognizes those that it holds; how many epochs it holds is a tag, written with them.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.tracking.tracker import EpochMetrics, Outcome, RunIdentity, TrackerError, Value

STUDY, RUN, EPOCHS, OUTCOME = "pcdarts.study", "pcdarts.run", "pcdarts.epochs", "pcdarts.outcome"
"""Tags of a run."""
BATCH = 900
"""Metrics in one request; MLflow accepts 1,000."""
PARAMS = 100
"""Parameters in one request."""
PARAM_LENGTH, TAG_LENGTH = 500, 5000
"""Longest values that all stores accept."""
FINAL = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "canceled": "KILLED"}
"""MLflow's names of how a run ended."""


class MlflowTracker:
    """An MLflow server, or a store such as sqlite:///mlflow.db, and an experiment of it."""

    def __init__(self, uri: str, experiment: str = "pcdarts") -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # The mirror itself tries again; the client's own retries would be silent for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise ValueError("this needs mlflow; pip install 'pcdarts-orchestrator[mlflow]'") from None
        self.uri, self._experiment_name = uri, experiment
        self.client = self.call(MlflowClient, tracking_uri=uri)
        self._experiment = ""
        self._parents: dict[str, str] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def run(self, identity: RunIdentity) -> "MlflowRun":
        """The run of this key, created below the run of its study if there is none."""
        if not self._experiment:
            self._experiment = self._find_experiment()
        study = identity.study
        if study not in self._found:
            self._found[study] = self._search(study)
        if study not in self._parents:
            parent = self._found[study].get("") or self._create(study, "", study, None)
            self._parents[study] = parent.info.run_id
            self.call(self.client.update_run, parent.info.run_id, "RUNNING")
        key = f"{identity.kind}/{identity.key}"
        found = self._found[study].get(key)
        return MlflowRun(self, found or self._create(study, key, identity.key, identity.started))

    def close(self) -> None:
        """End the runs of the studies; a later mirror continues them."""
        for run_id in self._parents.values():
            self.call(self.client.set_terminated, run_id)

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the client; raises TrackerError if the server does not answer or refuses."""
        from mlflow.exceptions import MlflowException

        try:
            return function(*args, **kwargs)
        except (MlflowException, OSError) as error:
            reason = " ".join(str(error).split())
            if "Max retries exceeded" in reason or "timed out" in reason:
                raise TrackerError(f"MLflow at {self.uri} does not answer; check the URI and the server") from None
            raise TrackerError(f"MLflow at {self.uri} failed ({reason[:200]}); check the server's log") from None

    def _find_experiment(self) -> str:
        found = self.call(self.client.get_experiment_by_name, self._experiment_name)
        if found is None:
            return str(self.call(self.client.create_experiment, self._experiment_name))
        if found.lifecycle_stage != "active":
            raise ValueError(
                f"the experiment {self._experiment_name!r} was deleted at {self.uri}; restore it, or give --experiment "
                "another name"
            )
        return str(found.experiment_id)

    def _search(self, study: str) -> dict[str, Any]:
        """All runs of a study by their tag RUN; the oldest of a key, should two mirrors have created it at once."""
        found: dict[str, Any] = {}
        token = None
        quoted = study.replace("'", "''")
        while True:
            page = self.call(
                self.client.search_runs,
                [self._experiment],
                f"tags.`{STUDY}` = '{quoted}'",
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                found.setdefault(run.data.tags.get(RUN, ""), run)
            token = page.token
            if not token:
                return found

    def _create(self, study: str, key: str, name: str, started: float | None) -> Any:
        tags = {STUDY: study, RUN: key}
        if key:
            tags["mlflow.parentRunId"] = self._parents[study]
        start = int(1000 * (started or time.time()))
        return self.call(self.client.create_run, self._experiment, start_time=start, tags=tags, run_name=name)


class MlflowRun:
    """A run in MLflow."""

    def __init__(self, tracker: MlflowTracker, run: Any) -> None:
        self._tracker, self._id = tracker, run.info.run_id
        self._start: int = run.info.start_time
        self._has_params = bool(run.data.params)
        self.epochs = int(run.data.tags.get(EPOCHS, 0))
        self.outcome = str(run.data.tags.get(OUTCOME, ""))

    def params(self, values: Mapping[str, Value]) -> None:
        """Log the parameters once: MLflow refuses to change one."""
        if self._has_params:
            return
        from mlflow.entities import Param

        params = [Param(name, str(value)[:PARAM_LENGTH]) for name, value in values.items()]
        for start in range(0, len(params), PARAMS):
            self._log(params=params[start : start + PARAMS])
        self._has_params = bool(params)

    def metrics(self, epochs: Sequence[EpochMetrics]) -> None:
        """Log epochs as steps, in few requests."""
        from mlflow.entities import Metric, RunTag

        batch: list[Any] = []
        for i, epoch in enumerate(epochs):
            time_stamp = self._start + int(1000 * epoch.seconds)
            batch += [Metric(name, value, time_stamp, epoch.epoch) for name, value in epoch.metrics.items()]
            following = len(epochs[i + 1].metrics) if i + 1 < len(epochs) else BATCH
            if len(batch) + following > BATCH:
                self._log(metrics=batch, tags=[RunTag(EPOCHS, str(epoch.epoch + 1))])
                self.epochs, batch = epoch.epoch + 1, []

    def finish(self, outcome: Outcome) -> None:
        """Log results and texts, and end the run."""
        from mlflow.entities import Metric, RunTag

        end, step = self._start + int(1000 * outcome.seconds), max(0, self.epochs - 1)
        notes = {name: value[:TAG_LENGTH] for name, value in outcome.notes.items()}
        self._log(
            metrics=[Metric(name, value, end, step) for name, value in outcome.metrics.items()],
            tags=[RunTag(name, value) for name, value in notes.items()],
        )
        self._tracker.call(self._tracker.client.set_terminated, self._id, FINAL[outcome.status], end)
        self._log(tags=[RunTag(OUTCOME, outcome.name)])
        self.outcome = outcome.name

    def _log(self, **values: Any) -> None:
        self._tracker.call(self._tracker.client.log_batch, self._id, **values)
