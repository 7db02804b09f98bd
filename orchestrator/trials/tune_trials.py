"""Run many trials under Ray Tune, which places them.  Their listener gets the results and decides about retries.

A trial resumes from its own checkpoint in the study's storage.  Tune's checkpoints and its experiment folder, which
cannot be moved or extended, are not needed, so the folder is temporary.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from cluster.code import Code, imported_code
from orchestrator.trials.failures import TrialFailure, classify

T = TypeVar("T")
Bundle = dict[str, float]
"""Amounts of what a trial reserves, by Ray's names: CPU, GPU, memory."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One trial: what to run, and where its state is stored."""

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
    """Seconds for which the trial retries what the storage refuses.  Then the trial fails, and as the driver cannot
    store that either, the study stops and no search counts as failed."""
    code: Code = field(default_factory=imported_code)
    """The code of the driver."""


class TrialListener(Protocol):
    """Follows trials from the driver; all calls come from one thread."""

    def started(self, spec: TrialSpec) -> None:
        """A trial starts, or starts again."""

    def reported(self, spec: TrialSpec, report: dict[str, Any]) -> None:
        """A trial reported something: its `kind`, its `content`, and the `node` that it runs on, if known."""

    def failed(self, spec: TrialSpec, failure: TrialFailure) -> bool:
        """A trial failed; whether to run it again."""

    def tick(self) -> None:
        """Time passed."""


def message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """What a trial, or a worker that it coordinates, reports to the listener."""
    # In a list, where Tune does not look for numbers: it would keep statistics of each of them.
    return {"kind": kind, "content": [content]}


def report(kind: str, content: dict[str, Any]) -> None:
    """Send something to the listener, from inside a trial."""
    tune.report(message(kind, content))


def require_drivers_code(spec: TrialSpec) -> None:
    """Raise OtherCodeError if this process, that of a trial, imports other code than the driver; the study stops."""
    spec.code.require(imported_code())


class TrialLine:
    """The trials that wait for a place, in their order.  It may change while they run.

    `ahead`: whether many trials are handed to Ray before there is a place for them, which is faster, but what was
    handed over is in the line no more.
    """

    def __init__(self, specs: Iterable[TrialSpec], *, ahead: bool = True) -> None:
        self.specs, self.ahead = deque(specs), ahead
        self.handed: dict[str, str] = {}
        """Keys of the trials that Ray has, whether or not they have started, by Tune's names."""

    def add(self, specs: Iterable[TrialSpec]) -> None:
        """Put trials at the end."""
        self.specs.extend(specs)

    def withdraw(self, key: str) -> bool:
        """Take a trial out; whether it was in the line."""
        kept = [spec for spec in self.specs if spec.key != key]
        found = len(kept) < len(self.specs)
        self.specs = deque(kept)
        return found

    def replace(self, specs: Iterable[TrialSpec]) -> None:
        """Let these trials wait instead."""
        self.specs = deque(specs)


def run_trials(
    trainable: Callable[[dict[str, Any]], None],
    specs: Sequence[TrialSpec] | TrialLine,
    listener: TrialListener,
    *,
    resources: Callable[[TrialSpec], Bundle],
    max_concurrent: int = 0,
    at_step: Callable[[], None] = lambda: None,
) -> None:
    """Run every trial, and those that fail again for as long as the listener says so.

    `trainable` is called with `{"spec": spec}`, and `at_step` several times a second.  A KeyboardInterrupt and the
    listener's own errors pass through; trials have their checkpoints.  Raises ValueError if a trial would run other
    code than this process.  Trials that are added to a line after its last one has ended do not run.
    """
    waiting = _Waiting(specs if isinstance(specs, TrialLine) else TrialLine(specs), max_concurrent)
    callback = _ListenerCallback(listener, waiting, at_step)

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([resources(config["spec"])])

    with temporary_folder() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, request),
            tune_config=tune.TuneConfig(
                search_alg=waiting,
                num_samples=-1,  # until `waiting` is finished
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(name="trials", storage_path=folder, verbose=0, callbacks=[callback]),
        )
        try:
            tuner.fit()
        except tune.TuneError:  # Tune wraps what a callback raises, as text
            if callback.error:
                raise callback.error from None
            raise


def temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder that is removed when its context ends; raises OSError, with the remedy, if none can be created."""
    try:
        return tempfile.TemporaryDirectory(prefix="pcdarts-")
    except OSError as error:
        raise OSError(
            f"no temporary folder can be created ({error}); set TMPDIR to a folder with free space and write permission"
        ) from None


class _Waiting(Searcher):
    """Gives Tune the trials that wait.

    Tune itself retries none: it reports some failures twice and never retries a trial that fails before it runs, as on
    a process that died after another trial.  For Tune, every try is a new trial.
    """

    def __init__(self, line: TrialLine, max_concurrent: int) -> None:
        super().__init__()
        self.line, self.max_concurrent = line, max_concurrent
        self.started: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        line, handed = self.line, self.line.handed
        if not line.specs:
            return None if handed else Searcher.FINISHED  # a running one may fail and have to wait again
        if self.max_concurrent and len(handed) >= self.max_concurrent:
            return None
        if not line.ahead and len(handed) >= 2 * max(1, len(self.started)):
            return None
        spec = line.specs.popleft()
        handed[trial_id] = spec.key
        return {"spec": spec}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.line.handed.pop(trial_id, None)
        self.started.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        pass  # nothing restores Tune's state

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _ListenerCallback(tune.Callback):
    """Hands Tune's events on.  Tune pickles its callbacks: the copy needs no listener."""

    def __init__(self, listener: TrialListener, waiting: _Waiting, at_step: Callable[[], None]) -> None:
        self.listener, self.waiting, self.at_step = listener, waiting, at_step
        self.error: Exception | None = None

    def _call(self, method: Callable[..., T], *arguments: Any) -> T:
        try:
            return method(*arguments)
        except Exception as error:
            self.error = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.waiting.started.add(trial.trial_id)
        self._call(self.listener.started, trial.config["spec"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "kind" in result:
            # Taken out of the list, as Tune keeps the last result of every trial.
            report = {"kind": result["kind"], "content": result["content"].pop(), "node": result.get("hostname")}
            self._call(self.listener.reported, trial.config["spec"], report)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        spec: TrialSpec = trial.config["spec"]
        # Tune's accessors look into its storage, where the file arrives later than this call.
        text = Path(trial.error_file).read_text() if trial.error_file else ""
        failure = classify(text)
        self._call(_refuse_other_code, failure)
        if self._call(self.listener.failed, spec, failure):
            self.waiting.line.specs.appendleft(spec)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._call(self.listener.tick)
        self._call(self.at_step)


def _refuse_other_code(failure: TrialFailure) -> None:
    """Raise ValueError if a trial failed because it would have run other code: all others would too."""
    if failure.kind == "other code":
        raise ValueError(failure.message.partition(": ")[2])
