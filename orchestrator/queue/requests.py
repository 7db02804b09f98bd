"""Requests for retraining: what is asked for with every job of the queue, written once and never changed.

A request is one small JSON file in the study's folder `queue-requests`, named by its job.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from analysis.storage.study_files import StudyFiles
from orchestrator.config import Stage


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the table `queue` says of a job's cells, as known when it was requested.

    Raises ValueError for what that table cannot hold.
    """

    genotype_digest: str
    """Equal for isomorphic cells."""
    origins: tuple[str, ...]
    """Searches that found the cells, the best first."""
    valid_accuracy: float | None
    """Best validation accuracy of these searches, percent; None for cells that were drawn or added by hand."""
    reason: str
    """Why the job has its rank."""
    network_parameters: int | None
    """Weights of the network; None for proxies."""
    network_macs: int | None
    """Multiply-adds of an image; None for proxies."""

    def __post_init__(self) -> None:
        sizes = [size for size in (self.network_parameters, self.network_macs) if size is not None]
        if not (
            isinstance(self.origins, list | tuple)
            and all(type(text) is str for text in (self.genotype_digest, self.reason, *self.origins))
            and (self.valid_accuracy is None or type(self.valid_accuracy) is float)
            and all(_is_count(size) for size in sizes)
        ):
            raise ValueError(f"the description of a job has a value of the wrong type: {self}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A job as it was asked for.  Raises ValueError for values of a wrong type; the recipe may be one that fails."""

    job_id: str
    """The job."""
    genotype: str
    """Cells to retrain, in the official notation."""
    stage: Stage
    """Whether the training ranks the cells or is the final one."""
    recipe: Mapping[str, Any]
    """Fields of the RetrainConfig that decide the outcome, `epochs` among them."""
    by_hand: bool
    """Whether a person asked for it; else the searches or proxies did."""
    submitted_at: str
    """When, ISO 8601 in UTC."""
    description: Description
    """What is said of the cells."""

    def __post_init__(self) -> None:
        if not (
            all(type(text) is str for text in (self.job_id, self.genotype, self.submitted_at))
            and self.stage in get_args(Stage)
            and type(self.by_hand) is bool
            and isinstance(self.recipe, Mapping)
            and _is_count(self.recipe.get("epochs"))
        ):
            raise ValueError(f"the request of a job has a value of the wrong type: {self}")


class RequestLog:
    """The requests of a study.  Files are read once: they never change."""

    def __init__(self, folder: StudyFiles) -> None:
        self.folder = folder
        self._known: dict[str, Request] = {}

    def read(self) -> dict[str, Request]:
        """All requests by job, sorted, after a look for new ones.  Raises ValueError where one is broken."""
        for name in self.folder.names():
            job_id = name.removesuffix(".json")
            if job_id not in self._known:
                try:
                    request = _parse(self.folder.read_text(name) or "")
                    if request.job_id != job_id:
                        raise ValueError(f"it is of job {request.job_id}")
                except (ValueError, KeyError, TypeError):
                    raise ValueError(f"request {self.folder.root}/{name} is broken; remove the file") from None
                self._known[job_id] = request
        return dict(sorted(self._known.items()))

    def get(self, job_id: str) -> Request:
        """The request of a job that is known, or was added by another process."""
        return self._known.get(job_id) or self.read()[job_id]

    def add(self, request: Request) -> None:
        """Write a request."""
        self.folder.write_text(f"{request.job_id}.json", json.dumps(asdict(request)))
        self._known[request.job_id] = request


def _parse(text: str) -> Request:
    plain = json.loads(text)
    json.dumps(plain, ensure_ascii=False).encode()  # raises ValueError for what is no Unicode, as "\\ud800"
    description = Description(**plain["description"])
    return Request(**plain | {"description": replace(description, origins=tuple(description.origins))})


def _is_count(value: Any) -> bool:
    """Whether a value is an integer that a table can hold."""
    return type(value) is int and abs(value) < 2**63
