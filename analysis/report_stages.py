"""The report's tables of the stages: what a cell reaches in its search, in short trainings, and in its final one.

Only validation accuracies choose the cells of the next stage; test accuracy is shown beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.agreement import rank_correlation
from analysis.bootstrap import Estimate
from analysis.page import Table
from analysis.report_text import estimate, number, spread
from analysis.statistics import final_jobs

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
    """Validation accuracy of the retraining for good."""
    test: float
    """Its test accuracy."""

    @property
    def proxy(self) -> float:
        """Mean of the proxies."""
        return float(np.mean(self.proxies)) if self.proxies else math.nan


def cell_stages(queue: pd.DataFrame, retrains: pd.DataFrame) -> list[CellStages]:
    """The queued cells by digest; of a job's completed attempts the last one counts."""
    done = retrains[retrains["status"] == "completed"].sort_values("attempt").drop_duplicates("job_id", keep="last")
    joined = queue.merge(done, on="job_id", how="left", suffixes=("", "_after")).sort_values("job_id")
    found = []
    for digest, jobs in joined.groupby("genotype_digest", sort=True):
        proxies, final = jobs[jobs["stage"] == "proxy"], final_jobs(jobs)
        final = final.dropna(subset=["valid_accuracy_after"]).tail(1).astype({"test_accuracy": float})
        found.append(
            CellStages(
                digest=str(digest),
                search=float(jobs["valid_accuracy"].astype(float).max()),
                proxies=tuple(proxies["valid_accuracy_after"].dropna().astype(float)),
                failed=int((proxies["state"] == "failed").sum()),
                retrained=float(final["valid_accuracy_after"].iloc[0]) if len(final) else math.nan,
                test=float(final["test_accuracy"].iloc[0]) if len(final) else math.nan,
            )
        )
    return found


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
        note="The cells are chosen by a lower confidence bound of the proxy mean, never by test accuracy.",
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


def correlations_table(entries: Sequence[tuple[str, str, int, Estimate]]) -> Table:
    """What `stage_correlations` found."""
    return Table(
        id="rank-correlation",
        caption="Does a stage rank the cells as the next one does? Spearman rank correlation of accuracies",
        headings=("of", "with", "cells", "correlation [95 %]"),
        rows=tuple((first, second, str(n), estimate(value)) for first, second, n, value in entries),
        text_columns=frozenset({"with"}),
        note=(
            "Percentile bootstrap over the cells; below 5 cells the interval is -1 to 1, which says nothing. Only the "
            "best cells of a stage reach the next: among these the correlation tends to be lower than among all."
        ),
    )
