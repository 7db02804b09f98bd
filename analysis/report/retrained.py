"""The report's tables of the cells that were retrained in full: one by one, over their seeds, and by method."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.blocks import Number, Table
from analysis.report.stages import one_recipe
from analysis.report.wording import MISSING, number, plain, records, shortened, spread
from analysis.statistics.retrained_cells import (
    chosen,
    completed,
    is_average,
    methods_of_cells,
    settings_of_cells,
    with_recipe,
)
from analysis.statistics.summaries import final_jobs

AVERAGE = "(EMA): of the moving average of the weights, which the validation accuracy chose."


def retrains_table(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> Table:
    """One row a full retraining, by rank: its last completed attempt, or else its last."""
    queue, retrains = final_jobs(queue), with_recipe(chosen(final_jobs(retrains)))
    order = retrains.assign(completed=retrains["status"] == "completed").sort_values(["completed", "attempt"])
    attempts = {row["job_id"]: row for row in records(order)}  # the last of a job stays
    jobs = records(queue)
    known = {job["job_id"] for job in jobs}
    jobs += [{**row, "state": row["status"], "rank": None} for job, row in attempts.items() if job not in known]
    settings = settings_of_cells(searches)
    rows = []
    for job in sorted(jobs, key=lambda job: _place(job, attempts.get(job["job_id"], {}))):
        result = attempts.get(job["job_id"], {})
        size = result if not pd.isna(result.get("network_macs")) else job
        error = "" if job["state"] == "done" else plain(job.get("error")) or plain(result.get("error"))
        average = result.get("chosen_weights") == "ema"
        rows.append(
            (
                number(job["rank"], 0),
                job["genotype_digest"],
                _found_by(settings, job["genotype_digest"]),
                _recipe(job, result),
                number(result.get("seed"), 0),
                number(job.get("valid_accuracy") if job["job_id"] in known else None),
                _marked(number(result.get("valid_accuracy")), average),
                _marked(number(result.get("test_accuracy")), average),
                number(size["network_parameters"], 0),
                number(size["network_macs"], 0),
                f"{job['state']}: {shortened(error)}" if error else job["state"],
            )
        )
    return Table(
        id="retrains",
        caption="Retrained cells; accuracies in percent. Multiply-adds: convolutions + linear layers, one image",
        headings=(
            "rank",
            "cell",
            "found by",
            "recipe",
            "seed",
            "best search validation",
            "retrained validation",
            "test",
            "parameters",
            "multiply-adds",
            "state",
        ),
        rows=tuple(rows),
        text_columns=frozenset({"cell", "found by", "recipe", "state"}),
        note=(
            "Best search validation: the best one-shot accuracy of the searches that found the cell. Accuracies of two "
            "recipes do not compare." + (f" {AVERAGE}" if is_average(retrains).any() else "")
        ),
    )


def seeds_of_cells_table(retrains: pd.DataFrame) -> Table:
    """One row a cell and recipe: its retrainings over their seeds, the best validation accuracy of a recipe first.

    No rows where no cell was retrained with two seeds by one recipe.
    """
    done = completed(retrains)
    by_cell = done.groupby(["recipe", "genotype_digest"])
    groups = [(str(recipe), str(cell), rows) for (recipe, cell), rows in by_cell]
    if all(len(rows) < 2 for *_, rows in groups):
        groups = []
    groups.sort(key=lambda group: (group[0], -np.nan_to_num(group[2]["valid_accuracy"].mean()), group[1]))
    return Table(
        id="retrained-seeds",
        caption="Retrained cells over the seeds of their retrainings; percent",
        headings=("cell", "recipe", "n", "retrained validation mean ± std", "test mean ± std"),
        rows=tuple(
            (
                cell,
                recipe,
                str(len(rows)),
                *(
                    _marked(_mean_std(rows[name]), int(is_average(rows).sum()), len(rows))
                    for name in ("valid_accuracy", "test_accuracy")
                ),
            )
            for recipe, cell, rows in groups
        ),
        text_columns=frozenset({"recipe"}),
        note=(
            "n: completed retrainings of the cell by the recipe, which differ in their seed. Standard deviations are "
            "of the sample."
        ),
    )


def methods_table(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> Table:
    """One row a method of search: its cells' test accuracy after retraining by one recipe; none below two methods."""
    kept, _ = one_recipe(queue, retrains)
    methods = methods_of_cells(searches)
    cells: dict[str, list[float]] = {}
    for digest, accuracy in kept.groupby("genotype_digest")["test_accuracy"].mean().dropna().items():
        for method in methods.get(str(digest), ()):
            cells.setdefault(method, []).append(accuracy)
    if len(cells) < 2:
        cells = {}
    recipe = "" if kept.empty else f": {kept['recipe'].iloc[0]}"
    return Table(
        id="methods",
        caption="Methods of search by the test accuracy of their retrained cells; percent",
        headings=("method", "cells", "test mean ± std"),
        rows=tuple(
            (method, str(len(values)), _mean_std(pd.Series(values))) for method, values in sorted(cells.items())
        ),
        note=(
            f"One recipe{recipe}. A cell with several retrainings counts once, by their mean; one of two methods for "
            "both. Deviations are over the cells. Of searched cells the best by validation were retrained, of random "
            "cells the first."
        ),
    )


def _place(job: Mapping[Any, Any], result: Mapping[Any, Any]) -> tuple[Any, ...]:
    """By rank; the retrainings of a cell by recipe and seed."""
    rank = math.inf if pd.isna(job["rank"]) else job["rank"]
    return (rank, job["genotype_digest"], _recipe(job, result), result.get("seed", math.inf), job["job_id"])


def _recipe(job: Mapping[Any, Any], result: Mapping[Any, Any]) -> str:
    """Name of the recipe; of a job that has not ended only the epochs are known."""
    planned = job.get("epochs_planned")
    return result.get("recipe") or (MISSING if planned is None or pd.isna(planned) else f"{planned:.0f} epochs")


def _found_by(settings: Mapping[str, Sequence[str]], digest: str) -> str:
    names = settings.get(digest, [])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more or MISSING


def _mean_std(values: "pd.Series[float]") -> Number:
    return spread(float(values.mean()), float(values.std()))


def _marked(value: Number, averages: int, n: int = 1) -> Number:
    """The number, and how many of the n that it is the mean of are of averaged weights."""
    if not averages or value == MISSING:
        return value
    return Number(f"{value} ({'EMA' if averages == n else f'EMA in {averages} of {n}'})", *value.values)
