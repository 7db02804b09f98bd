"""The report's tables of the stages: what a cell reaches in its search, in short trainings, and in its final one.

Only validation accuracies choose the cells of the next stage; test accuracy is shown beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.report.blocks import Table
from analysis.report.wording import estimate, number, spread
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.correlation import rank_correlation
from analysis.statistics.retrained_cells import completed

STAGES = {
    "search": "search validation",
    "proxy": "proxy validation",
    "retrained": "retrained validation",
    "test": "test",
}
"""Accuracies of a cell, fields of CellStages, with their names in the tables."""
PAIRS = (("search", "proxy"), ("search", "retrained"), ("search", "test"), ("proxy", "retrained"), ("proxy", "test"))
"""Which of them are correlated."""


@dataclass(frozen=True, kw_only=True)
class CellStages:
    """Accuracies of a cell, percent; NaN where a stage has none."""

    digest: str
    """Equal for isomorphic cells."""
    search: float
    """Best one-shot validation accuracy of the searches that found it."""
    proxies: tuple[float, ...]
    """Validation accuracies of the proxy trainings that succeeded."""
    failed: int
    """Proxy jobs that were given up."""
    retrained: float
    """Validation accuracy of the full retrainings by one recipe, mean over their seeds."""
    test: float
    """Their test accuracy."""

    @property
    def proxy(self) -> float:
        """Mean of the proxies."""
        return float(np.mean(self.proxies)) if self.proxies else math.nan


def cell_stages(queue: pd.DataFrame, retrains: pd.DataFrame) -> list[CellStages]:
    """The queued cells by digest; of a job's completed attempts the last one counts.  See `one_recipe`."""
    done = _completed(queue, retrains)
    joined = queue.merge(done, on="job_id", how="left", suffixes=("", "_after")).sort_values("job_id")
    kept, _ = one_recipe(queue, retrains)
    final = kept.groupby("genotype_digest")[["valid_accuracy", "test_accuracy"]].mean()
    found = []
    for digest, jobs in joined.groupby("genotype_digest", sort=True):
        proxies = jobs[jobs["stage"] == "proxy"]
        found.append(
            CellStages(
                digest=str(digest),
                search=float(jobs["valid_accuracy"].astype(float).max()),
                proxies=tuple(proxies["valid_accuracy_after"].dropna().astype(float)),
                failed=int((proxies["state"] == "failed").sum()),
                retrained=float(final["valid_accuracy"].get(digest, math.nan)),
                test=float(final["test_accuracy"].get(digest, math.nan)),
            )
        )
    return found


def one_recipe(queue: pd.DataFrame, retrains: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The completed final jobs of the recipe that most cells were retrained by, and how many there are of others.

    Accuracies of two recipes, or data sets, rank no cells.  Of equally many cells the first recipe counts, by name.
    """
    done = completed(retrains)
    done = done[done["job_id"].isin(queue["job_id"])].dropna(subset=["valid_accuracy", "test_accuracy"], how="all")
    kept = done[done["recipe"] == done.groupby("recipe")["genotype_digest"].nunique().idxmax()] if len(done) else done
    return kept, len(done) - len(kept)


def recipe_note(queue: pd.DataFrame, retrains: pd.DataFrame) -> str:
    """Which recipe the final accuracies are of, where there are several; else nothing."""
    kept, others = one_recipe(queue, retrains)
    if not others:
        return ""
    job = kept.iloc[0]
    return (
        f" Retrained and test accuracies are of one recipe, {job['dataset']} with {job['epochs']} epochs, "
        f"{job['layers']} cells and {job['channels']} channels, means over its seeds; {number(others, 0)} "
        f"retraining{'s' * (others > 1)} by other recipes {'are' if others > 1 else 'is'} left out."
    )


def _completed(queue: pd.DataFrame, retrains: pd.DataFrame) -> pd.DataFrame:
    """The last completed attempt of every queued job."""
    done = retrains[(retrains["status"] == "completed") & retrains["job_id"].isin(queue["job_id"])]
    return done.sort_values("attempt").drop_duplicates("job_id", keep="last")


def proxies_table(queue: pd.DataFrame, retrains: pd.DataFrame) -> Table:
    """One row a cell of the proxy stage, the best by the mean of its trainings first."""
    proxied = set(queue["genotype_digest"][queue["stage"] == "proxy"])
    cells = [cell for cell in cell_stages(queue, retrains) if cell.digest in proxied]
    cells.sort(key=lambda cell: (not cell.proxies, -cell.proxy if cell.proxies else 0.0, cell.digest))
    return Table(
        id="proxies",
        caption="Proxy stage: short trainings of the best cells, which choose those that are retrained; percent",
        headings=("cell", STAGES["search"], "proxy mean ± std", "trainings", "failed", STAGES["retrained"], "test"),
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
            for cell in cells
        ),
        note=(
            "Ranked by mean - 1.645 standard errors of their proxies, which is no 95 % bound; never by test accuracy."
            + recipe_note(queue, retrains)
        ),
    )


def stage_correlations(
    cells: Sequence[CellStages], generator: np.random.Generator
) -> list[tuple[str, str, int, Estimate]]:
    """Rank correlations between the stages: names of both, cells that have both accuracies, correlation.

    Pairs of stages that no cell has are left out.
    """
    found = []
    for first, second in PAIRS:
        pairs = [(getattr(cell, first), getattr(cell, second)) for cell in cells]
        pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if pairs:
            a, b = zip(*pairs, strict=True)
            found.append((STAGES[first], STAGES[second], len(pairs), rank_correlation(a, b, generator)))
    return found


def correlations_table(entries: Sequence[tuple[str, str, int, Estimate]], note: str = "") -> Table:
    """What `stage_correlations` found, with a note as of `recipe_note`."""
    return Table(
        id="rank-correlation",
        caption="Does a stage rank the cells as the next one does? Spearman rank correlation of accuracies",
        headings=("of", "with", "cells", "correlation [95 %]"),
        rows=tuple((first, second, str(n), estimate(value)) for first, second, n, value in entries),
        text_columns=frozenset({"with"}),
        note=(
            "Percentile bootstrap over the cells; below 6 cells the interval is -1 to 1, which says nothing, and in "
            "a perfect order there is none. No correlation is defined of one cell or of equal accuracies. Only the "
            "best cells of a stage reach the next: among these the correlation tends to be lower than among all." + note
        ),
    )
