"""Options for running a study; no result depends on them."""

from dataclasses import dataclass

from pcdarts.config.fields import at_least, check_types


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options for running a study.  They change no result beyond rounding and may differ from run to run."""

    address: str = ""
    """Ray cluster: host:port, auto, or local; empty: RAY_ADDRESS, a running cluster on this machine, or a local one."""
    gpus_per_trial: float = -1.0
    """GPUs of a search or retraining; fractions share one. -1: one for a retraining, and for a search the share that
    its predicted memory needs; none if the cluster has no GPUs."""
    memory_per_trial: float = -1.0
    """Memory that a search reserves on a CPU node, GB; -1: the prediction; 0: none."""
    max_concurrent: int = 0
    """Maximum number of trials at once; 0: as many as fit."""
    retrain: bool = False
    """Retrain the best cells right after the searches; false: leave that to `pcdarts retrain`."""
    max_failures: int = 2
    """How often a failing trial is retried from its checkpoint before it is recorded as failed; a new epoch resets the
    count."""
    retry_failed: bool = False
    """Rerun searches and retrainings that an earlier run recorded as failed."""
    storage_patience: float = 60.0
    """Seconds for which trials and driver retry failing storage operations before the study stops."""
    autoscaling: bool = False
    """The cluster starts nodes on demand: accept trials that no present node can hold."""
    retry_delay: float = 10.0
    """Retraining: seconds before a failed job is retried; doubled after every further failure."""
    retry_delay_max: float = 600.0
    """Retraining: maximum of these delays, seconds."""
    lease_timeout: float = 120.0
    """Seconds after which another driver or dispatcher may take over from one that died or lost the storage; at least
    twice storage_patience."""
    workers: int = 1
    """Retraining: processes that train one network together, each with retrain.threads CPUs and its own GPU. They share
    every batch, whose size does not change: the number of workers affects only rounding."""
    min_workers: int = 0
    """Retraining: minimum number of workers if the cluster has no room for all, as after the loss of a node; 0: all or
    none."""
    wait: bool = False
    """Wait until no other process works on the same study or queue, instead of refusing."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, max_failures=0, retry_delay=0, retry_delay_max=0, lease_timeout=1)
        at_least(self, max_concurrent=0, storage_patience=0, workers=1, min_workers=0)
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}, but must be at most workers ({self.workers})")
