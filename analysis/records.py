"""Records whose fields are columns of the tables, in addition to those of `pcdarts.config` and `pcdarts.results`."""

from dataclasses import dataclass
from typing import Literal

from pcdarts.genotype import Genotype

Stage = Literal["rung", "final", "published", "recipe"]
"""rung: a training of the race, which decides which cells go on; final: the full training; published: the final recipe
on all training images, last epoch; recipe: a cell of the final stage by another recipe."""
State = Literal["queued", "running", "done", "failed", "dropped"]
"""State of a retraining job."""


@dataclass(frozen=True, kw_only=True)
class SearchIdentity:
    """Identity and status of a search."""

    search_id: str
    """Id of the search, unique to everything that determines its outcome."""
    study: str
    """Name of the study."""
    status: Literal["completed", "failed", "stopped", "canceled"]
    """completed: all epochs trained; failed: ended with an error; stopped: ended by a collapse rule or by hand (see
    stop_reason), with a result that counts like a completed one; canceled: stopped by hand before its first epoch,
    without a result."""
    error: str
    """Error message, or why there is no result; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class SearchSetting:
    """The setting of a search: what the searches that differ only in their seed have in common."""

    setting: str
    """Label of the setting: its swept fields without the seed, such as k=4. The fields themselves are columns too."""
    sampling_rate: float | None
    """Share of the channels that enter the mixed operation, 1 / k; missing for random cells."""


@dataclass(frozen=True, kw_only=True)
class SettingSeeds:
    """A setting in a study that adds seeds until the interval of the mean is narrow enough."""

    setting: str
    """Label of the setting, as in `searches`."""
    study: str
    """Name of the study."""
    target_halfwidth: float
    """Target for the half-width of the interval; percentage points."""
    max_seeds: int
    """Maximum number of seeds, including failed ones."""
    corrected_interval: bool
    """Whether the intervals of all looks together have 95 % confidence; if not, the last one is optimistic, as seeds
    stop as soon as it is narrow."""
    seeds_run: int
    """Finished seeds, including failed ones."""
    seeds_with_result: int
    """Seeds with a result, which the mean is over."""
    mean: float | None
    """Mean of valid_accuracy over these seeds; percent."""
    halfwidth: float | None
    """Half-width of the interval of the mean (Student's t) that is compared with the target; percentage points."""
    reason: str
    """Why no more seeds were added."""


@dataclass(frozen=True, kw_only=True)
class SearchMemory:
    """Memory of a search as predicted before its start."""

    predicted_memory_bytes: int | None = None
    """Peak memory predicted from the configuration: activations and temporaries of the largest step, weights,
    optimizers, on a GPU the data, and a constant for the process; bytes. Not the same as peak_memory_bytes, which on a
    CPU also contains about 300 MB of shared libraries, and on a GPU does not contain the predicted 0.5 GB of the CUDA
    context."""


@dataclass(frozen=True, kw_only=True)
class DerivedNetwork:
    """Size of the network built from the cells that were found, at retraining size."""

    network_parameters: int | None = None
    """Parameters of the derived network at retraining size, without the auxiliary head."""
    network_macs: int | None = None
    """Multiply-adds of one image in convolutions and linear layers of the derived network at retraining size."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure during a study."""

    failure_id: str
    """Unique id of the failure."""
    study: str
    """Name of the study."""
    happened_at: str
    """Time of the record, ISO 8601 in UTC. Storage failures are recorded when they are over, the death of a driver at
    the next start."""
    kind: Literal["trial", "storage", "driver"]
    """trial: a search failed, for good or to be retried; storage: storage failed temporarily, or a file is damaged;
    driver: a driver died."""
    subject: str
    """The search, the storage or the new name of its damaged file, or the driver's process."""
    error: str
    """Error message, one line."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Code, versions and times behind a row."""

    git_revision: str | None = None
    """Git revision of the code, with + for uncommitted changes; missing outside a git checkout."""
    python_version: str | None = None
    """Version of Python."""
    torch_version: str | None = None
    """Version of PyTorch."""
    ray_version: str | None = None
    """Version of Ray; missing if it was not used."""
    started_at: str | None = None
    """Start time, ISO 8601 in UTC."""
    finished_at: str | None = None
    """End time, ISO 8601 in UTC."""


@dataclass(frozen=True, kw_only=True)
class EpochIdentity:
    """The search of an epoch."""

    search_id: str
    """Id of the search."""
    study: str
    """Name of the study."""


@dataclass(frozen=True, kw_only=True)
class RetrainEpochIdentity:
    """The retraining job of an epoch."""

    job_id: str
    """Name of the job, as in `queue` and `retrains`."""
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
    """rung: a training of the race, which decides which cells go on; final: the full training; published: the final
    recipe on all training images, last epoch, as papers report it; recipe: a cell of the final stage by another
    recipe."""
    genotype_digest: str
    """16 hex digits, equal for isomorphic cells."""
    rung: int | None = None
    """Rung of the race, counted from 1; missing for other stages."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A distinct cell, and why it deserves retraining."""

    genotype: Genotype
    """Cells to retrain, in the official notation."""
    origins: tuple[str, ...]
    """The searches that found these cells, the best first, isomorphic cells included; empty for cells of other
    origin, published or added by hand."""
    valid_accuracy: float | None
    """Best accuracy over the origins on the validation half, percent; missing for random cells and those of other
    origin. Shared weights: not the accuracy of the retrained network."""
    reason: str
    """Why the cell is trained in this stage."""
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
    """Rank among the jobs of its stage and rung, counted from 1."""
    state: State
    """State of the job. queued: waiting; failed: given up after an error; dropped: removed from the queue."""
    attempts: int
    """Number of attempts that were started."""
    error: str
    """Error of the last attempt, or why the job was dropped; empty otherwise."""
    epochs_done: int | None = None
    """Epochs trained so far; updated at most twice a minute."""
    epochs_planned: int | None = None
    """Epochs of the recipe."""
    seconds_left: float | None = None
    """Running jobs: remaining epochs x time of the last one; seconds."""
    retry_at: str | None = None
    """When a failed attempt is retried, ISO 8601 in UTC; missing if it is not."""


@dataclass(frozen=True, kw_only=True)
class RetrainIdentity(JobIdentity):
    """Which attempt of which job a row is about, and how it ended."""

    attempt: int
    """Number of the attempt, counted from 1."""
    status: Literal["completed", "failed"]
    """How the attempt ended."""
    error: str
    """Error message; empty if there was none."""
    genotype: Genotype
    """The retrained cells, in the official notation."""
