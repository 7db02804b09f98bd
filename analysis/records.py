"""Records whose fields become columns of the tables, beside those of `pcdarts.config` and `pcdarts.results`."""

from dataclasses import dataclass
from typing import Literal

from pcdarts.genotype import Genotype

Stage = Literal["proxy", "final"]
"""A short proxy training that ranks cells, or the final training."""
State = Literal["queued", "running", "done", "failed", "dropped"]
"""State of a retraining job."""


@dataclass(frozen=True, kw_only=True)
class SearchIdentity:
    """Which search a row is about, and how it ended."""

    search_id: str
    """Name of the search, unique to everything that decides its outcome."""
    study: str
    """Name of the study."""
    status: Literal["completed", "failed", "stopped"]
    """How the search ended: all epochs trained, an error, or stopped by a collapse rule (see stop_reason). A stopped
    search has a result, and counts as a completed one does."""
    error: str
    """What went wrong; empty if nothing did."""


@dataclass(frozen=True, kw_only=True)
class SearchSetting:
    """What the seeds of one setting have in common."""

    setting: str
    """The swept fields without the seed, such as k=4: equal for all seeds of a setting."""
    sampling_rate: float | None
    """Share of the channels that enter the mixed operation, 1 / k; missing for random cells."""


@dataclass(frozen=True, kw_only=True)
class SettingSeeds:
    """How well the mean of a setting is known in a study that adds seeds until it is, and why it got no more."""

    setting: str
    """The swept fields without the seed, as in `searches`."""
    study: str
    """Name of the study."""
    target_halfwidth: float
    """Half-width of the interval that was asked for; percentage points."""
    max_seeds: int
    """Most seeds that were allowed, failed ones included."""
    corrected_interval: bool
    """Whether all intervals looked at hold together with 95 %; else the last one is optimistic, as seeds stopped where
    it happened to be narrow."""
    seeds_run: int
    """Seeds that ended, failed ones included."""
    seeds_with_result: int
    """Seeds that the mean is over."""
    mean: float | None
    """Mean of valid_accuracy over these seeds; percent."""
    halfwidth: float | None
    """Half the width of the interval of the mean (Student's t) that was judged by; percentage points."""
    reason: str
    """Why no more seeds were added."""


@dataclass(frozen=True, kw_only=True)
class SearchMemory:
    """What was known of a search's memory before it began."""

    predicted_memory_bytes: int | None = None
    """Peak memory as predicted from the configuration: what the largest step keeps for its backward pass and hands from
    kernel to kernel, weights, optimizers, on a GPU the data, and a constant for the process; bytes. Not what
    peak_memory_bytes measures: on a CPU that also holds about 300 MB of shared libraries, on a GPU it lacks the 0.5 GB
    that are predicted for the CUDA context."""


@dataclass(frozen=True, kw_only=True)
class DerivedNetwork:
    """Size of the network that is built from the found cells, at the size at which it would be retrained."""

    network_parameters: int | None = None
    """Weights of the derived network at retraining size, without the auxiliary head."""
    network_macs: int | None = None
    """Multiply-adds of one image in convolutions and linear layers of the derived network at retraining size."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Something that went wrong while a study ran."""

    failure_id: str
    """Unique."""
    study: str
    """Name of the study."""
    happened_at: str
    """When it was recorded, ISO 8601 in UTC: a trouble of the storage once it was over, a driver's death at the next
    start."""
    kind: Literal["trial", "storage", "driver"]
    """A search failed, for good or to be tried again; storage failed for a while, or a file in it is broken; a driver
    died."""
    subject: str
    """The search, the storage or the new name of its broken file, or the driver's process."""
    error: str
    """What happened, one line."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Which code made a row, and when."""

    git_revision: str | None = None
    """Git revision of the code; missing outside of a git checkout."""
    python_version: str | None = None
    """Version of Python."""
    torch_version: str | None = None
    """Version of PyTorch."""
    ray_version: str | None = None
    """Version of Ray; missing where it was not used."""
    started_at: str | None = None
    """Start, ISO 8601 in UTC."""
    finished_at: str | None = None
    """End, ISO 8601 in UTC."""


@dataclass(frozen=True, kw_only=True)
class EpochIdentity:
    """Which search an epoch belongs to."""

    search_id: str
    """Name of the search."""
    study: str
    """Name of the study."""


@dataclass(frozen=True, kw_only=True)
class JobIdentity:
    """Which retraining job a row is about."""

    job_id: str
    """Name of the job, unique to the cell and to how it is retrained."""
    study: str
    """Name of the study."""
    stage: Stage
    """proxy: a short retraining that ranks the cells; final: the full training."""
    genotype_digest: str
    """16 hex digits, equal for isomorphic cells."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A distinct cell, and why it deserves retraining."""

    genotype: Genotype
    """Cells to retrain, in the official notation."""
    origins: tuple[str, ...]
    """The searches that found these cells, the best first, isomorphic cells included; empty for cells added by hand."""
    valid_accuracy: float | None
    """Best accuracy over the origins on the validation half, percent; missing for random cells and those added by hand.
    Shared weights: not the accuracy of the retrained network."""
    reason: str
    """Why the cell has its rank."""
    network_parameters: int
    """Weights of the network at the size of the full retraining, without the auxiliary head."""
    network_macs: int
    """Multiply-adds of one image in convolutions and linear layers at the size of the full retraining, without the
    auxiliary head."""


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """Where a retraining job stands in the queue."""

    submitted_at: str
    """When the job was queued, ISO 8601 in UTC."""
    rank: int
    """Place among the jobs of its stage, 1 first."""
    state: State
    """Waiting, being retrained, retrained, given up after an error, or taken off the queue."""
    attempts: int
    """Retrainings that were started."""
    error: str
    """What the last attempt failed with, or why the job was dropped; empty otherwise."""
    epochs_done: int | None = None
    """Epochs that are trained, as reported at most twice a minute."""
    epochs_planned: int | None = None
    """Epochs of the recipe."""
    seconds_left: float | None = None
    """Running jobs: epochs that are left x time of the last one; seconds."""
    retry_at: str | None = None
    """When a failed attempt is repeated, ISO 8601 in UTC; missing if it is not."""


@dataclass(frozen=True, kw_only=True)
class RetrainIdentity(JobIdentity):
    """Which attempt of which job a row is about, and how it ended."""

    attempt: int
    """Number of the attempt, 1 first."""
    status: Literal["completed", "failed"]
    """How the attempt ended."""
    error: str
    """What went wrong; empty if nothing did."""
    genotype: Genotype
    """The retrained cells, in the official notation."""
