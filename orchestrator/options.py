"""How a study is run, whatever it searches for."""

from dataclasses import dataclass

from pcdarts.config.fields import at_least, check_types


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a study is run.  Nothing here changes a result by more than rounding: all may differ from run to run."""

    address: str = ""
    """Ray cluster: host:port, auto, or local; empty: RAY_ADDRESS, a cluster that runs here, or a local one."""
    gpus_per_trial: float = -1.0
    """GPUs of a search or retraining, fractions share one; -1: on GPUs, one for a retraining, and for a search the part
    that its predicted memory needs; none where the cluster has no GPUs."""
    memory_per_trial: float = -1.0
    """Memory of a CPU node that a search reserves, GB; -1: as predicted; 0: none."""
    max_concurrent: int = 0
    """Trials at once; 0: as many as fit."""
    retrain: bool = False
    """Retrain the best cells right after the searches; false: `pcdarts retrain` does it."""
    max_failures: int = 2
    """How often a trial that fails, and gets no further, is tried again from its checkpoint, before it is recorded as
    failed."""
    retry_failed: bool = False
    """Run searches and retrainings again that an earlier run recorded as failed."""
    storage_patience: float = 60.0
    """Seconds for which trials and driver try again what the storage refuses, before the study stops."""
    autoscaling: bool = False
    """The cluster starts nodes on demand: do not refuse trials that no present node can hold."""
    retry_delay: float = 10.0
    """Retraining: seconds before a failed job is tried again; twice as long after every further failure."""
    retry_delay_max: float = 600.0
    """Retraining: longest of these delays, seconds."""
    lease_timeout: float = 120.0
    """Seconds after which another driver or dispatcher may take over from one that died or lost the storage; at least
    twice storage_patience."""
    workers: int = 1
    """Retraining: processes that train one network together, each with retrain.threads CPUs and its own GPU. They share
    every batch, whose size stays the same: another number of them means other rounding, and nothing else."""
    min_workers: int = 0
    """Retraining: fewest workers that train a network if the cluster has no room for all, as after the loss of a node;
    0: all or none."""
    wait: bool = False
    """Wait for another process that works on the same study or queue to end, instead of refusing."""

    def __post_init__(self) -> None:
        check_types(self)
        at_least(self, max_failures=0, retry_delay=0, retry_delay_max=0, lease_timeout=1)
        at_least(self, max_concurrent=0, storage_patience=0, workers=1, min_workers=0)
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers is {self.min_workers}, but must be at most workers ({self.workers})")
