"""A retraining job: the request, and its place in the queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from analysis.records import Candidate, JobIdentity, JobProgress, Stage
from analysis.tables import QUEUE
from orchestrator.queue.events import JobState
from pcdarts.config import NOT_IDENTITY, RetrainConfig, digest, outcome_fields
from pcdarts.genotype import Genotype


@dataclass(frozen=True, kw_only=True)
class RetrainJob:
    """A cell, how to train it, and why.  Written when the job is submitted, and never changed."""

    job_id: str
    """Name of the job, see `make_job_id`."""
    cell: Candidate
    """The cell, and why it deserves retraining."""
    recipe: Mapping[str, Any]
    """All fields of the RetrainConfig that determine the outcome.  Their values are checked when the job runs."""
    stage: Stage
    """Stage of the retraining."""
    rung: int | None = None
    """Rung of the race, counted from 1; None for other stages."""
    by_hand: bool = False
    """Whether the job was added by hand, not planned by the study."""
    submitted_at: str = ""
    """When, ISO 8601 in UTC; empty before."""

    @classmethod
    def of(
        cls, cell: Candidate, recipe: RetrainConfig, stage: Stage, *, rung: int | None = None, by_hand: bool = False
    ) -> "RetrainJob":
        """The job that trains a cell by a recipe."""
        job_id = make_job_id(cell.genotype, recipe)
        return cls(job_id=job_id, cell=cell, recipe=outcome_fields(recipe), stage=stage, rung=rung, by_hand=by_hand)

    def config(self, study: RetrainConfig) -> RetrainConfig:
        """The recipe; fields that do not determine the outcome, such as the data folder, are those of a study's recipe.

        A field that did not exist when the job was submitted has its default.  Raises ValueError for impossible values,
        and TypeError for fields that no longer exist.
        """
        given = {name: value for name, value in vars(study).items() if name in NOT_IDENTITY}
        if self.recipe["dataset"] == study.dataset:
            given["data_fingerprint"] = study.data_fingerprint
        return RetrainConfig(**given | dict(self.recipe))


def make_job_id(genotype: Genotype, recipe: RetrainConfig) -> str:
    """Name of the job that trains these cells, up to isomorphism, by a recipe: its data set and seed included."""
    return f"{genotype.digest}-{digest(recipe)}"


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A submitted job, its state and its rank: a row of the table `queue`."""

    job: RetrainJob
    """The job."""
    state: JobState
    """Its state."""
    rank: int
    """Rank among the jobs of its stage and rung, counted from 1."""

    def row(self, study: str) -> dict[str, Any]:
        """The row in the table of a study."""
        job, cell = self.job, self.job.cell
        identity = JobIdentity(
            job_id=job.job_id, study=study, stage=job.stage, rung=job.rung, genotype_digest=cell.genotype.digest
        )
        return QUEUE.row(identity, cell, self.progress())

    def progress(self) -> JobProgress:
        """The columns of the row that change while the job runs."""
        state, planned = self.state, self.job.recipe["epochs"]
        done = planned if state.state == "done" else min(state.epochs, planned)
        running = state.state == "running" and state.epoch_seconds
        return JobProgress(
            submitted_at=self.job.submitted_at,
            rank=self.rank,
            state=state.state,
            attempts=state.attempts,
            error=state.error,
            epochs_done=done,
            epochs_planned=planned,
            seconds_left=(planned - done) * state.epoch_seconds if running else None,
            retry_at=iso_time(state.retry_at) if state.retry_at else None,
        )


def iso_time(seconds: float) -> str:
    """A time in seconds since 1970 in the format of the tables."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
