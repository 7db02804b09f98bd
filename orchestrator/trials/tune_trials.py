"""Run many trials under Ray Tune.  Tune places, retries and counts; results leave through a listener, not through Tune.

A trial resumes from a checkpoint of its own in the study's storage, so Tune's checkpoints and its experiment folder,
which cannot be moved or extended, are not needed: its folder is temporary.
"""

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial

from cluster.resources import TrialResources
from orchestrator.queue.jobs import RetrainJob


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One trial: what to run, and where its state lies."""

    key: str
    """Id of the search or the retraining job."""
    root: str
    """Study folder, path or URI."""
    config: Any
    """A SearchConfig or a RetrainConfig."""
    memory_fraction: float = 1.0
    """Share of a GPU's memory that this process may allocate."""
    predicted_memory: int | None = None
    """Search: predicted peak memory, bytes; None: not predicted."""
    patience: float = 0.0
    """Seconds for which the trial tries again what the storage refuses.  Then the trial fails.  The driver cannot
    store that either while the storage is down, so the study stops, and no search is counted as failed."""


@dataclass(frozen=True, kw_only=True)
class RetrainSpec(TrialSpec):
    """A trial that retrains a cell."""

    job: RetrainJob
    """What to retrain; `config` is its recipe on this study's data folder."""


class TrialListener(Protocol):
    """What the driver is told while trials run; all calls come from one thread."""

    def started(self, spec: TrialSpec) -> None:
        """A trial begins, or begins again after an error."""

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """A trial reported something."""

    def retried(self, spec: TrialSpec, traceback: str) -> None:
        """A trial failed, and begins again."""

    def failed(self, spec: TrialSpec, traceback: str) -> None:
        """A trial failed for good."""

    def tick(self) -> None:
        """Time passed."""


def message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """What a trial, or a worker that it coordinates, reports for the listener."""
    # In a list, which Tune does not search for numbers: of each it would keep statistics for as long as it runs.
    return {"kind": kind, "content": [content]}


def report(kind: str, content: dict[str, Any]) -> None:
    """Send something to the listener, from inside a trial."""
    tune.report(message(kind, content))


def run_trials(
    trainable: Callable[[dict[str, Any]], None],
    specs: Sequence[TrialSpec],
    listener: TrialListener,
    *,
    resources: TrialResources | dict[str, float],
    max_failures: int,
    max_concurrent: int = 0,
) -> None:
    """Run every trial; an error is retried `max_failures` times and then told to the listener.

    These are counted anew whenever a trial reports an epoch for the first time.  Resources may be named as Ray names
    them.  KeyboardInterrupt passes through: trials have their checkpoints.  So does what the listener raises.
    """
    if isinstance(resources, TrialResources):
        resources = {"cpu": resources.cpus, "gpu": resources.gpus, "memory": resources.memory}
    callback = _ListenerCallback(listener, max_failures)
    waiting = list(specs)
    while waiting:
        _run_under_tune(trainable, waiting, callback, resources=resources, max_concurrent=max_concurrent)
        waiting, callback.dropped = callback.dropped, []


def _run_under_tune(
    trainable: Callable[[dict[str, Any]], None],
    specs: list[TrialSpec],
    callback: "_ListenerCallback",
    *,
    resources: dict[str, float],
    max_concurrent: int,
) -> None:
    with tempfile.TemporaryDirectory(prefix="pcdarts-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={"spec": tune.grid_search(specs)},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=max_concurrent or None,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=callback.max_failures),
                callbacks=[callback],
            ),
        )
        try:
            tuner.fit()
        except tune.TuneError:  # Tune wraps what a callback raises, as text
            if callback.error:
                raise callback.error from None
            raise


class _ListenerCallback(tune.Callback):
    """Hands Tune's events on.  Tune pickles its callbacks: the copy needs no listener.

    Tune gives up a trial that fails before it runs, however often it may fail: where the process that a trial inherits
    from another is dead, say, as its node went away.  Such trials are `dropped`, to be run again.
    """

    def __init__(self, listener: TrialListener, max_failures: int) -> None:
        self.listener, self.max_failures = listener, max_failures
        self.error: Exception | None = None
        self.failures: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """How often Tune told each failure of a trial: the death of a process that was inherited, it tells twice."""
        self.epochs: Counter[str] = Counter()
        """How far each trial got."""
        self.dropped: list[TrialSpec] = []

    def _tell(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:
            self.error = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._tell(self.listener.started, trial.config["spec"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "kind" in result:
            # Taken out of the list, as Tune keeps the last result of every trial.
            report = {"kind": result["kind"], "content": result["content"].pop()}
            self._count_anew(trial, report)
            self._tell(self.listener.reported, trial.config["spec"], report)

    def _count_anew(self, trial: Trial, report: dict[str, Any]) -> None:
        """Forget the failures of a trial that gets further: a long one loses many machines where they come and go."""
        key, epochs = trial.config["spec"].key, report["content"].get("epoch", -1) + 1
        if report["kind"] == "epoch" and epochs > self.epochs[key]:
            self.epochs[key] = epochs
            self.failures[key].clear()
            trial.max_failures = trial.run_metadata.num_failures + self.max_failures

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        spec, failure = trial.config["spec"], last_failure(_traceback(trial))
        self.failures[spec.key][failure] += 1
        if self.failures[spec.key][failure] == 1:
            self._tell(self.listener.retried, spec, failure)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        spec, traceback = trial.config["spec"], _traceback(trial)
        before = self.failures[spec.key]
        if len({*before, last_failure(traceback)}) > self.max_failures or before.total() >= 2 * self.max_failures:
            self._tell(self.listener.failed, spec, traceback)
        else:
            self.on_trial_recover(iteration, trials, trial)
            self.dropped.append(spec)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._tell(self.listener.tick)


def _traceback(trial: Trial) -> str:
    # Tune's accessors look into its storage, where the file arrives later than this call.
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def last_failure(traceback: str) -> str:
    """The last of the failures that Tune wrote down, without their number and time."""
    return traceback.rpartition("Failure # ")[2].partition("\n")[2]


def error_line(traceback: str) -> str:
    """The error that a traceback ends in, on one line of at most 500 characters: its type and message."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
    return (named or lines or ["unknown error"])[-1].removeprefix("ray.exceptions.")[:500]
