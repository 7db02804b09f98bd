"""Tables of the retrained cells: every retraining, means over seeds, by method, the proxy stage, and correlations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.sections.blocks import Number, ReportTable
from analysis.sections.wording import MISSING, counted, estimate, number, plain, row_dicts, shortened, spread
from analysis.statistics.retrained_cells import (
    AccuracyName,
    CellStages,
    StageCorrelation,
    chosen,
    completed,
    is_average,
    methods_of_cells,
    one_recipe,
    settings_of_cells,
    with_recipe,
)
from analysis.statistics.summaries import final_jobs

TITLES: dict[AccuracyName, str] = {
    "search": "search validation",
    "proxy": "proxy validation",
    "retrained": "retrained validation",
    "test": "test",
}
"""Names of the accuracies of a cell in the tables."""
AVERAGE = "(EMA): of the exponential moving average of the weights, which had the better validation accuracy."


def retrains_table(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> ReportTable:
    """One row for each full retraining, by rank: its last completed attempt, or else its last attempt."""
    queue, retrains = final_jobs(queue), with_recipe(chosen(final_jobs(retrains)))
    order = retrains.assign(completed=retrains["status"] == "completed").sort_values(["completed", "attempt"])
    attempts = {row["job_id"]: row for row in row_dicts(order)}  # the last of a job stays
    jobs = row_dicts(queue)
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
    return ReportTable(
        id="retrains",
        caption="Retrained cells (accuracies in percent)",
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
            "Best search validation: best one-shot accuracy among the searches that found the cell. Accuracies of "
            "different recipes are not comparable. Multiply-adds are for one image and count convolutions and linear "
            "layers." + (f" {AVERAGE}" if is_average(retrains).any() else "")
        ),
    )


def seeds_of_cells_table(retrains: pd.DataFrame) -> ReportTable:
    """One row for each cell and recipe, best validation accuracy of a recipe first.

    Empty if no cell was retrained with two seeds by one recipe.
    """
    done = completed(retrains)
    by_cell = done.groupby(["recipe", "genotype_digest"])
    groups = [(str(recipe), str(cell), rows) for (recipe, cell), rows in by_cell]
    if all(len(rows) < 2 for *_, rows in groups):
        groups = []
    groups.sort(key=lambda group: (group[0], -np.nan_to_num(group[2]["valid_accuracy"].mean()), group[1]))
    return ReportTable(
        id="retrained-seeds",
        caption="Retrained cells: means over retraining seeds (percent)",
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
        note="n: completed retrainings of the cell by the recipe, one per seed. std: sample standard deviation.",
    )


def methods_table(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> ReportTable:
    """One row for each search method: test accuracy of its cells after retraining by one recipe.

    Empty for fewer than two methods.
    """
    kept, _ = one_recipe(queue, retrains)
    methods = methods_of_cells(searches)
    cells: dict[str, list[float]] = {}
    for digest, accuracy in kept.groupby("genotype_digest")["test_accuracy"].mean().dropna().items():
        for method in methods.get(str(digest), ()):
            cells.setdefault(method, []).append(accuracy)
    if len(cells) < 2:
        cells = {}
    recipe = MISSING if kept.empty else kept["recipe"].iloc[0]
    return ReportTable(
        id="methods",
        caption="Search methods by test accuracy of their retrained cells (percent)",
        headings=("method", "cells", "test mean ± std"),
        rows=tuple(
            (method, str(len(values)), _mean_std(pd.Series(values))) for method, values in sorted(cells.items())
        ),
        note=(
            f"Recipe: {recipe}. A cell with several retrainings counts once, with their mean; a cell found by two "
            "methods counts for both. std: over cells. The retrained cells of a search are its best by validation "
            "accuracy; those of random search are the first ones."
        ),
    )


def proxies_table(cells: Sequence[CellStages], note: str) -> ReportTable:
    """One row for each cell of the proxy stage, best mean first; `note` as from `recipe_note`."""
    proxied = [cell for cell in cells if cell.proxy_jobs]
    proxied.sort(key=lambda cell: (not cell.proxies, -cell.proxy if cell.proxies else 0.0, cell.digest))
    return ReportTable(
        id="proxies",
        caption="Proxy stage: short retrainings that choose the cells for full retraining (percent)",
        headings=("cell", TITLES["search"], "proxy mean ± std", "trainings", "failed", TITLES["retrained"], "test"),
        rows=tuple(
            (
                cell.digest,
                number(cell.search),
                spread(cell.proxy, float(np.std(cell.proxies, ddof=1)) if len(cell.proxies) > 1 else math.nan),
                str(len(cell.proxies)),
                str(cell.failed),
                number(cell.retrained),
                number(cell.test),
            )
            for cell in proxied
        ),
        note=(
            "The queue ranks cells by the mean minus 1.645 standard errors of their proxy accuracies (not a 95 % "
            "bound), never by test accuracy." + note
        ),
    )


def correlations_table(found: Sequence[StageCorrelation], note: str) -> ReportTable:
    """One row for each pair of stages; `note` as from `recipe_note`."""
    return ReportTable(
        id="rank-correlation",
        caption="Do the stages rank cells alike? Spearman rank correlation of accuracies",
        headings=("of", "with", "cells", "correlation [95 %]"),
        rows=tuple((TITLES[c.first], TITLES[c.second], str(c.n), estimate(c.correlation)) for c in found),
        text_columns=frozenset({"with"}),
        note=(
            "Percentile bootstrap over cells. Below 6 cells the interval is [-1, 1] and carries no information; a "
            "perfect order has no interval. The correlation is undefined for a single cell and for equal accuracies. "
            "Only the best cells of a stage reach the next one, which tends to lower the correlation." + note
        ),
    )


def recipe_note(queue: pd.DataFrame, retrains: pd.DataFrame) -> str:
    """Which recipe the accuracies after retraining are of, where several were used; else empty."""
    kept, others = one_recipe(queue, retrains)
    if not others:
        return ""
    job = kept.iloc[0]
    return (
        f" Retrained and test accuracies are means over the seeds of one recipe: {job['dataset']}, {job['epochs']} "
        f"epochs, {job['layers']} cells and {job['channels']} channels. {counted(others, 'retraining')} by other "
        f"recipes {'is' if others == 1 else 'are'} left out."
    )


def _place(job: Mapping[Any, Any], result: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Sort key: rank, then the retrainings of a cell by recipe and seed."""
    rank = math.inf if pd.isna(job["rank"]) else job["rank"]
    return (rank, job["genotype_digest"], _recipe(job, result), result.get("seed", math.inf), job["job_id"])


def _recipe(job: Mapping[Any, Any], result: Mapping[Any, Any]) -> str:
    """Name of the recipe; only the epochs are known of a job that has not finished."""
    planned = job.get("epochs_planned")
    return result.get("recipe") or (MISSING if planned is None or pd.isna(planned) else f"{planned:.0f} epochs")


def _found_by(settings: Mapping[str, Sequence[str]], digest: str) -> str:
    names = settings.get(digest, [])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more or MISSING


def _mean_std(values: "pd.Series[float]") -> Number:
    return spread(float(values.mean()), float(values.std()))


def _marked(value: Number, averages: int, n: int = 1) -> Number:
    """The mean of n values, marked with how many of them are of averaged weights."""
    if not averages or value == MISSING:
        return value
    return Number(f"{value} ({'EMA' if averages == n else f'EMA in {averages} of {n}'})", *value.values)
