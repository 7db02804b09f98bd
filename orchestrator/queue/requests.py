"""The submitted jobs of a study: small JSON files in its folder `queue-requests`, created once and never changed."""

import json
from dataclasses import asdict

from analysis.records import Candidate
from analysis.storage.study_files import StudyFiles
from analysis.tables import QUEUE
from orchestrator.queue.events import JobState
from orchestrator.queue.jobs import QueuedJob, RetrainJob
from pcdarts.genotype import Genotype


class RequestLog:
    """The submitted jobs of a study.  Files are read once: they never change."""

    def __init__(self, folder: StudyFiles) -> None:
        self.folder = folder
        self._known: dict[str, RetrainJob] = {}

    def read(self) -> dict[str, RetrainJob]:
        """All jobs by name, sorted, including new ones.  Raises ValueError for a broken file."""
        for name in self.folder.names():
            job_id = name.removesuffix(".json")
            if job_id not in self._known:
                try:
                    job = _parse(self.folder.read_text(name) or "")
                    if job.job_id != job_id:
                        raise ValueError(f"it is of job {job.job_id}")
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise ValueError(f"request {self.folder.root}/{name} is broken; remove the file") from None
                self._known[job_id] = job
        return dict(sorted(self._known.items()))

    def get(self, job_id: str) -> RetrainJob:
        """A job, even if another process has submitted it."""
        return self._known.get(job_id) or self.read()[job_id]

    def add(self, job: RetrainJob) -> None:
        """Write a job, unless another process has submitted it meanwhile."""
        plain = asdict(job) | {"cell": asdict(job.cell) | {"genotype": str(job.cell.genotype)}}
        if self.folder.create_text(f"{job.job_id}.json", json.dumps(plain)):
            self._known[job.job_id] = job


def _parse(text: str) -> RetrainJob:
    """A job as `add` wrote it.  Raises an error for values that the table `queue` cannot hold."""
    plain = json.loads(text)
    json.dumps(plain, ensure_ascii=False).encode()  # raises ValueError for text that is not Unicode, such as "\\ud800"
    cell = plain["cell"]
    if type(plain["by_hand"]) is not bool or not isinstance(cell["origins"], list):  # which the table would accept
        raise ValueError("by_hand must be true or false, and origins a list")
    typed = {"genotype": Genotype.parse(cell["genotype"]), "origins": tuple(cell["origins"])}
    job = RetrainJob(**plain | {"cell": Candidate(**cell | typed)})
    QUEUE.to_arrow([QueuedJob(job=job, state=JobState(), rank=1).row("")])
    return job
