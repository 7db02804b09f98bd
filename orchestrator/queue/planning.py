"""The jobs that a study needs: its best cells, ranked by proxies if it has a proxy stage."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from analysis.records import Candidate, Stage
from orchestrator.config import StudyConfig
from orchestrator.queue.events import JobState
from orchestrator.queue.jobs import RetrainJob
from orchestrator.queue.selection import rerank, select
from pcdarts.config import RetrainConfig


def planned_jobs(
    study: StudyConfig,
    searches: Iterable[Mapping[str, Any]],
    state: Callable[[str], JobState],
    accuracy: Callable[[str], float | None],
) -> list[RetrainJob]:
    """The jobs that a study needs now, in the order of their ranks.

    With a proxy stage these are the proxies, one per cell and seed, and, once all of them have ended, the final jobs of
    the best cells.  `searches` holds rows of the table; `state` and `accuracy` give a job's state and its validation
    accuracy (percent, None if its row is lost) by its name.
    """
    selection, proxy = study.selection, study.proxy
    if not proxy.top or not selection.top:
        return _jobs(select(searches, selection), "final", [study.retrain])
    candidates = select(searches, replace(selection, top=max(proxy.top, selection.top)))
    proxies = _jobs(candidates, "proxy", proxy.recipes())
    states = {job.job_id: state(job.job_id) for job in proxies}
    if any(each.pending or each.superseded for each in states.values()):
        return proxies
    accuracies: defaultdict[str, list[float]] = defaultdict(list)
    for job in proxies:
        if states[job.job_id].state == "done" and (found := accuracy(job.job_id)) is not None:
            accuracies[job.cell.genotype.digest].append(found)
    best = rerank(candidates, accuracies, seeds=proxy.seeds, top=selection.top)
    return proxies + _jobs(best, "final", [study.retrain])


def _jobs(cells: Iterable[Candidate], stage: Stage, recipes: Iterable[RetrainConfig]) -> list[RetrainJob]:
    """One job per cell and recipe."""
    jobs = []
    for cell, recipe in itertools.product(cells, recipes):
        reason = f"proxy with seed {recipe.seed}: {cell.reason}" if stage == "proxy" else cell.reason
        jobs.append(RetrainJob.of(replace(cell, reason=reason), recipe, stage))
    return jobs
