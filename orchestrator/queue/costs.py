"""What the retraining of a study costs, in trainings and epochs, and what its race saves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any

from analysis.records import Stage
from cluster.wording import counted
from orchestrator.config import StudyConfig
from pcdarts.config import NOT_PROTOCOL, outcome_fields


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """The trainings of a stage."""

    name: str
    """Name of the stage, such as `rung 1`."""
    stage: Stage
    """Kind of the stage."""
    dataset: str
    """Data set that is trained on."""
    cells: int
    """Distinct cells."""
    seeds: int
    """Trainings of each cell."""
    epochs: int
    """Epochs of each training."""

    @property
    def trainings(self) -> int:
        """Trainings of the stage."""
        return self.cells * self.seeds

    @property
    def total_epochs(self) -> int:
        """Epochs of all trainings."""
        return self.trainings * self.epochs

    def __str__(self) -> str:
        return (
            f"{self.name}: {counted(self.cells, 'cell')} x {counted(self.seeds, 'seed')} x "
            f"{counted(self.epochs, 'epoch')} on {self.dataset}"
        )


def stage_costs(study: StudyConfig, cells: int, settings: int) -> list[StageCost]:
    """The stages of a study that retrains `cells` cells of `settings` settings; trainings are upper limits."""
    costs = []
    rungs = study.race.rungs
    for stage in study.stages():
        cells += len(study.final.cells) if stage.stage == "final" else 0
        limit = study.final.published if stage.stage == "published" else cells
        costs.append(
            StageCost(
                name=stage.name,
                stage=stage.stage,
                dataset=stage.recipe.dataset,
                cells=min(cells, limit),
                seeds=stage.seeds,
                epochs=stage.recipe.epochs,
            )
        )
        if stage.rung is not None:
            keep = rungs[stage.rung - 1].keep
            cells = min(cells, keep if stage.rung == len(rungs) else max(keep, settings))
    return costs


def most_cells(study: StudyConfig) -> dict[str, int]:
    """How many cells of every setting are selected at most: one for each search, and `selection.top`."""
    searches: dict[str, int] = {}
    for search in study.searches():
        setting = study.setting(search)
        searches[setting] = searches.get(setting, 0) + 1
    return {setting: min(number, study.selection.top) for setting, number in searches.items()}


def race_plan(study: StudyConfig, cells: int) -> list[str]:
    """What the race is about to train, and how much that is of training all selected cells in full; lines of text."""
    costs = stage_costs(study, cells, len(most_cells(study)))
    counts = [cost for cost in costs if cost.stage in ("rung", "final")]
    planned, full = sum(cost.total_epochs for cost in counts), _full_epochs(study, cells)
    lines = [f"Race of {counted(cells, 'cell')}, at most:", *(f"  {cost}" for cost in counts)]
    trainings = counted(sum(cost.trainings for cost in counts), "training")
    if _comparable(study):
        share = f"{planned / full:.0%} of the {full:,} epochs of training all of them in full"
    else:
        share = f"all of them in full take {full:,} epochs, of a recipe that differs from the race's"
    return [*lines, f"  {trainings}, {planned:,} epochs: {share}"]


def race_savings(study: StudyConfig, cells: int, retrains: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the race saved against training all selected cells in full; lines of text, none without full trainings.

    `retrains` holds the completed rows of the jobs that the study needs.  The time of training all cells is estimated
    from the mean time of the full trainings.
    """
    rows = list(retrains)
    race = [row for row in rows if row["stage"] == "rung"]
    final = [row for row in rows if row["stage"] == "final"]
    if not race or not final:
        return []
    lines = []
    if _comparable(study):
        epochs = sum(row["epochs_trained"] for row in race + final)
        full = _full_epochs(study, cells)
        lines.append(f"Race and full trainings took {epochs:,} epochs; all selected cells in full take {full:,}.")
    seconds = [row["seconds"] for row in race + final]
    if all(each is not None for each in seconds):
        estimate = fmean(row["seconds"] for row in final) * cells * study.final.seeds
        lines.append(
            f"Measured: {_span(sum(seconds))} of training, of which the race took {_span(sum(seconds[: len(race)]))}; "
            f"all selected cells in full take about {_span(estimate)}."
        )
    return lines


def _full_epochs(study: StudyConfig, cells: int) -> int:
    """Epochs of training cells in full."""
    return cells * study.final.seeds * study.retrain.epochs


def _comparable(study: StudyConfig) -> bool:
    """Whether an epoch of the race is the same work as one of the full training."""
    other = {*NOT_PROTOCOL, "epochs", "learning_rate_warmup_epochs"}
    race, full = (outcome_fields(recipe) for recipe in (study.race.recipe, study.retrain))
    return all(race[name] == full[name] for name in race if name not in other)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))
