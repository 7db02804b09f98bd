"""How often the race finds the best of 20 cells, against training in full at the same cost.

    python -m tests.benchmarks.race [--studies 1000] [--rungs 25x1:10,100x2:3]

The jobs are those of `planned_jobs`; the accuracies are simulated (`tests.simulated`) with deviations as published for
CIFAR-10.  How alike short and full trainings order cells is not known: it is assumed, one column for each assumption.
Each entry has the share of the studies in which the cell ranked first after the full training is the truly best one of
the 20, and by how many percentage points it is worse than that one on average.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.config import FinalConfig, RaceConfig, Rung, SelectionConfig, StudyConfig
from orchestrator.queue.events import JobState
from orchestrator.queue.planning import planned_jobs
from orchestrator.queue.promotion import rank
from pcdarts.config import SearchConfig
from tests.simulated import FULL, Noise, Setting, SimulatedStudy, simulated_studies

CELLS = 20
RUNGS = "25x1:10,100x2:3"
CORRELATIONS = ((0.2, 0.3), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9))
"""Assumed correlations of the cells' true accuracies after 25 and after 100 epochs with those after the full 600."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One study."""

    epochs: int
    """Epochs that were trained."""
    loss: float
    """True accuracy of the best cell minus that of the chosen one; percentage points, 0 if the best was found."""


def plan(*, rungs: str = "", cells: int = CELLS, seeds: int) -> StudyConfig:
    """A study that retrains this number of cells: in a race, or without rungs all of them in full."""
    parsed = tuple(Rung.parse(text) for text in rungs.split(",") if text)
    return StudyConfig(
        name="race",
        search=SearchConfig(),
        retrain=FULL,
        selection=SelectionConfig(top=cells),
        race=RaceConfig(rungs=parsed, recipe=FULL),
        final=FinalConfig(seeds=seeds),
    )


def run(config: StudyConfig, study: SimulatedStudy) -> Outcome:
    """Train every job that the queue plans until it plans no other; the best by the final stage is chosen."""
    done: dict[str, dict[str, Any]] = {}
    while new := [job for job in _planned(config, study, done) if job.job_id not in done]:
        for job in new:
            recipe = job.config(FULL)
            true = study.training(job.cell.genotype.digest, recipe)
            accuracy, _ = study.measured(true, study.noise.validation_images)
            done[job.job_id] = {
                "stage": job.stage,
                "digest": job.cell.genotype.digest,
                "epochs": recipe.epochs,
                "valid_accuracy": accuracy,
                "chosen_weights": "raw",
                "validation_images": study.noise.validation_images,
            }
    final: dict[str, list[Mapping[str, Any]]] = {}
    for row in done.values():
        if row["stage"] == "final":
            final.setdefault(row["digest"], []).append(row)
    chosen = rank(final, final)[0].digest
    return Outcome(
        epochs=sum(row["epochs"] for row in done.values()), loss=max(study.truth.values()) - study.truth[chosen]
    )


def outcomes(config: StudyConfig, correlations: tuple[float, float], studies: int, **noise: Any) -> list[Outcome]:
    """The outcomes of a plan in simulated studies, the same ones for every plan; fields of `Noise` can be given."""
    deviations = Noise(short=tuple(zip((25, 100), correlations, strict=True)), test_images=0, **noise)
    simulated = simulated_studies(studies, [Setting(searches=CELLS)], seed=0, noise=deviations)
    return [run(config, study) for study in simulated]


def found(results: Sequence[Outcome]) -> float:
    """Share of the studies in which the best cell was found."""
    return float(np.mean([result.loss == 0 for result in results]))


def plans(rungs: str) -> dict[str, StudyConfig]:
    """The race, and trainings in full that cost as much or slightly more."""
    racing = plan(rungs=rungs, seeds=3)
    (study,) = simulated_studies(1, [Setting(searches=CELLS)], seed=0, noise=Noise(test_images=0))
    cost = run(racing, study).epochs / FULL.epochs
    named = {f"race {rungs}, then 3 seeds": racing}
    for seeds in (1, 2, 3):
        cells = min(CELLS, math.ceil(cost / seeds))
        named[f"{cells} cells in full, {seeds} seed{'s' * (seeds > 1)}"] = plan(cells=cells, seeds=seeds)
    return named | {f"all {CELLS} cells in full, 1 seed": plan(seeds=1)}


def _planned(config: StudyConfig, study: SimulatedStudy, done: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    return planned_jobs(
        config, study.searches, lambda job_id: JobState(state="done" if job_id in done else "queued"), done.get
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of every plan")
    parser.add_argument("--rungs", nargs="+", default=[RUNGS], help="rungs of the race, as `--set race.rungs=` takes")
    options = parser.parse_args()
    print("| plan | cost in full trainings |", *(f"{short:g}, {longer:g} |" for short, longer in CORRELATIONS))
    print("|---|---:|" + "---|" * len(CORRELATIONS))
    for rungs in options.rungs:
        for name, config in plans(rungs).items():
            columns = [outcomes(config, correlations, options.studies) for correlations in CORRELATIONS]
            cost = columns[0][0].epochs / FULL.epochs
            texts = [f"finds {100 * found(each):.0f} %, loss {np.mean([r.loss for r in each]):.3f}" for each in columns]
            print(f"| {name} | {cost:.1f} |", " | ".join(texts), "|", flush=True)


if __name__ == "__main__":
    main()
