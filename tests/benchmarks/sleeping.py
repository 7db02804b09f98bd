"""A trial that sleeps instead of computing.  Imports little: a hundred such workers fit on one machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from analysis.storage.study_files import StudyFiles, join
from orchestrator.storage.background import BackgroundFile, BackgroundQuestion
from orchestrator.storage.steering_log import StopFlags
from orchestrator.trials.tune_trials import TrialSpec, report

T = TypeVar("T")
CHECKPOINT_BYTES = 4_000_000
"""About the size of a search's checkpoint on CIFAR-10."""


@dataclass(frozen=True, kw_only=True)
class SleepSpec(TrialSpec):
    """A trial that sleeps."""

    seconds: float
    """How long."""
    latency: float = 0.0
    """Seconds that every storage operation takes longer."""


class SlowFiles(StudyFiles):
    """Files whose operations take a while, as in an object store."""

    def __init__(self, root: str, latency: float) -> None:
        super().__init__(root)
        self.latency = latency

    def below(self, name: str) -> "SlowFiles":
        """The files of a subfolder, as slow."""
        files = SlowFiles(join(self.root, name), self.latency)
        files.troubles, files._guards = self.troubles, self._guards
        return files

    def _patiently(self, action: Callable[[], T]) -> T:
        time.sleep(getattr(self, "latency", 0.0))
        return super()._patiently(action)


def sleeping_trial(trial: dict[str, Any]) -> None:
    """Sleep in epochs, with the storage operations of a search; report when it began and ended, and its sleep."""
    spec: SleepSpec = trial["spec"]
    epochs, slept, began = spec.config.epochs, 0.0, time.time()
    flags = StopFlags(SlowFiles(join(spec.root, "stops"), spec.latency))
    with (
        BackgroundFile(SlowFiles(join(spec.root, "checkpoints"), spec.latency), f"{spec.key}.pt") as checkpoint,
        BackgroundQuestion(partial(flags.is_set, spec.key)) as should_stop,
    ):
        flags.is_set(spec.key)
        checkpoint.read()
        report("began", {})
        for epoch in range(epochs):
            if epoch:
                should_stop()
            start = time.time()
            time.sleep(spec.seconds / epochs)
            slept += time.time() - start
            checkpoint.write(bytes(CHECKPOINT_BYTES))
            report("epoch", {"epoch": epoch, "seconds": spec.seconds / epochs, "valid_accuracy": 50.0})
    report("result", {"began": began, "ended": time.time(), "slept": slept})
