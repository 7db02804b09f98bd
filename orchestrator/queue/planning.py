"""The jobs that a study needs: the race over the selected cells, then the full training of those that win it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from analysis.records import Candidate
from orchestrator.config import StudyConfig, TrainingStage
from orchestrator.queue.events import JobState
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.promotion import promote
from orchestrator.queue.selection import select, settings_of_cells
from pcdarts.complexity import network_complexity
from pcdarts.genotype import PUBLISHED

Result = Mapping[str, Any]
"""Completed row of a job in the table `retrains`."""


def planned_jobs(
    study: StudyConfig,
    searches: Iterable[Mapping[str, Any]],
    state: Callable[[str], JobState],
    result: Callable[[str], Result | None],
) -> list[RetrainJob]:
    """The jobs that a study needs now, in the order of their ranks.

    All selected cells run the first rung of the race.  Once all jobs of a rung have ended, the best cells go on to the
    next, and from the last one to the full training; other recipes train the same cells.  Once the full training has
    ended, its best cells are trained as published.  Every decision follows from the stored rows alone: `searches` holds
    rows of the table; `state` and `result` give a job's state and its result (None if it has none) by its name.
    """
    rows, rungs = list(searches), study.race.rungs
    cells = select(rows, study.selection)
    jobs: list[RetrainJob] = []
    for stage in study.stages():
        if stage.stage == "rung" and stage.rung is not None:
            of_stage = _jobs(cells, stage)
            jobs += of_stage
            if not _ended(of_stage, state):
                return jobs
            results, keep = _results(of_stage, state, result), rungs[stage.rung - 1].keep
            settings = settings_of_cells(rows) if stage.rung < len(rungs) else None
            cells = promote(cells, results, stage=stage.name, keep=keep, settings=settings)
        elif stage.stage == "published":
            final = [job for job in jobs if job.stage == "final"]
            if _ended(final, state):
                results = _results(final, state, result)
                best = promote(cells, results, stage="final", keep=study.final.published)
                jobs += _jobs(best, stage)
        else:
            cells = cells if stage.stage == "recipe" else _with_published(cells, study)
            jobs += _jobs(cells, stage)
    return jobs


def _with_published(cells: Sequence[Candidate], study: StudyConfig) -> list[Candidate]:
    """The cells, and the published ones that the study names; a cell that a search found again counts once."""
    by_digest = {cell.genotype.digest: cell for cell in cells}
    for name in study.final.cells:
        genotype = PUBLISHED[name]
        size = network_complexity(genotype, study.retrain)
        published = Candidate(
            genotype=genotype,
            origins=(),
            valid_accuracy=None,
            reason=f"published as {name}",
            network_parameters=size.parameters,
            network_macs=size.macs,
        )
        by_digest.setdefault(genotype.digest, published)
    return list(by_digest.values())


def _jobs(cells: Iterable[Candidate], stage: TrainingStage) -> list[RetrainJob]:
    """One job per cell and seed."""
    jobs = []
    for cell, recipe in product(cells, stage.recipes()):
        words = [stage.name] if stage.stage == "recipe" else []
        words += [f"seed {recipe.seed}"] if stage.seeds > 1 else []
        reason = f"{', '.join(words)}; {cell.reason}" if words else cell.reason
        jobs.append(RetrainJob.of(replace(cell, reason=reason), recipe, stage.stage, rung=stage.rung))
    return jobs


def _ended(jobs: Sequence[RetrainJob], state: Callable[[str], JobState]) -> bool:
    """Whether all jobs are done, failed for good, or dropped by hand."""
    states = [state(job.job_id) for job in jobs]
    return not any(each.pending or each.superseded for each in states)


def _results(
    jobs: Sequence[RetrainJob], state: Callable[[str], JobState], result: Callable[[str], Result | None]
) -> dict[str, list[Result]]:
    """The results of the jobs that are done, by the digest of their cell."""
    results: defaultdict[str, list[Result]] = defaultdict(list)
    for job in jobs:
        if state(job.job_id).state == "done" and (row := result(job.job_id)) is not None:
            results[job.cell.genotype.digest].append(row)
    return results
