"""Accuracies of a cell in each stage: its search, its proxy retrainings and its full retrainings by one recipe.

Only validation accuracies choose the cells of the next stage.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.statistics.bootstrap import Estimate
from analysis.statistics.correlation import rank_correlation
from analysis.statistics.summaries import WITH_RESULT, final_jobs, setting_order
from pcdarts.config import NOT_PROTOCOL, RetrainConfig

RECIPE_COLUMNS = [field.name for field in fields(RetrainConfig) if field.name not in NOT_PROTOCOL]
"""Columns that are equal in all retrainings by one recipe."""

AccuracyName = Literal["search", "proxy", "retrained", "test"]
"""An accuracy of a cell, a field of CellStages."""
PAIRS: tuple[tuple[AccuracyName, AccuracyName], ...] = (
    ("search", "proxy"),
    ("search", "retrained"),
    ("search", "test"),
    ("proxy", "retrained"),
    ("proxy", "test"),
)
"""Which of them are correlated."""


@dataclass(frozen=True, kw_only=True)
class CellStages:
    """Accuracies of a cell, percent; NaN where a stage has none."""

    digest: str
    """Digest of the cell, equal for isomorphic cells."""
    search: float
    """Best one-shot validation accuracy of the searches that found it."""
    proxies: tuple[float, ...]
    """Validation accuracies of its completed proxy retrainings."""
    proxy_jobs: int
    """Its proxy jobs, finished or not."""
    failed: int
    """Proxy jobs that failed for good."""
    retrained: float
    """Validation accuracy of the full retrainings by one recipe, mean over their seeds."""
    test: float
    """Test accuracy of these retrainings, mean over their seeds."""

    @property
    def proxy(self) -> float:
        """Mean of the proxies."""
        return float(np.mean(self.proxies)) if self.proxies else math.nan


@dataclass(frozen=True, kw_only=True)
class StageCorrelation:
    """Rank correlation of two accuracies over the cells that have both."""

    first: AccuracyName
    """The earlier stage."""
    second: AccuracyName
    """The later stage."""
    n: int
    """Cells that have both accuracies."""
    correlation: Estimate
    """Spearman's rank correlation."""


def completed(retrains: pd.DataFrame) -> pd.DataFrame:
    """The last completed attempt of each full retraining, with `chosen` accuracies and the name of the `recipe`."""
    ended = with_recipe(chosen(final_jobs(retrains)))
    done = ended[ended["status"] == "completed"].sort_values(["job_id", "attempt"])
    return done.drop_duplicates("job_id", keep="last")


def chosen(retrains: pd.DataFrame) -> pd.DataFrame:
    """The rows with the accuracies of the weights chosen by validation accuracy, possibly their moving average."""
    average = is_average(retrains)
    accuracies = {
        name: retrains[name].mask(average, retrains[f"ema_{name}"]).astype(float)
        for name in ("valid_accuracy", "test_accuracy")
    }
    return retrains.assign(**accuracies)


def is_average(retrains: pd.DataFrame) -> "pd.Series[bool]":
    """Whether the moving average of the weights was chosen, for each row."""
    return retrains["chosen_weights"] == "ema"


def with_recipe(retrains: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `recipe`: data set and epochs, and the other fields in which such recipes differ."""
    group = retrains.groupby(RECIPE_COLUMNS, dropna=False).ngroup()
    first = retrains.assign(recipe=group).drop_duplicates("recipe").set_index("recipe")[RECIPE_COLUMNS]
    short = {number: _short_name(row) for number, row in first.iterrows()}
    shared = Counter(short.values())
    names = {number: name + _details(first, short, number) * (shared[name] > 1) for number, name in short.items()}
    return retrains.assign(recipe=group.map(names).astype(object))


def settings_of_cells(searches: pd.DataFrame) -> Mapping[str, list[str]]:
    """Digest of every cell to the settings of the searches that found it."""
    order = setting_order(searches)
    return {digest: sorted(found, key=order.__getitem__) for digest, found in _by_cell(searches, "setting").items()}


def methods_of_cells(searches: pd.DataFrame) -> Mapping[str, list[str]]:
    """Digest of every cell to the search methods that found it."""
    return _by_cell(searches, "method")


def _by_cell(searches: pd.DataFrame, column: str) -> dict[str, list[str]]:
    found = searches[searches["status"].isin(WITH_RESULT)].dropna(subset=["genotype_digest", column])
    return {
        str(digest): sorted(map(str, values.unique())) for digest, values in found.groupby("genotype_digest")[column]
    }


def cell_stages(queue: pd.DataFrame, retrains: pd.DataFrame) -> list[CellStages]:
    """The queued cells, sorted by digest.  The last completed attempt of a job counts; see `one_recipe`."""
    done = retrains[(retrains["status"] == "completed") & retrains["job_id"].isin(queue["job_id"])]
    done = done.sort_values("attempt").drop_duplicates("job_id", keep="last")
    joined = queue.merge(done, on="job_id", how="left", suffixes=("", "_after")).sort_values("job_id")
    kept, _ = one_recipe(queue, retrains)
    final = kept.groupby("genotype_digest")[["valid_accuracy", "test_accuracy"]].mean()
    found = []
    for digest, jobs in joined.groupby("genotype_digest", sort=True):
        proxies = jobs[jobs["stage"] == "rung"]
        proxies = proxies[proxies["rung"] == proxies["rung"].max()]
        found.append(
            CellStages(
                digest=str(digest),
                search=float(jobs["valid_accuracy"].astype(float).max()),
                proxies=tuple(proxies["valid_accuracy_after"].dropna().astype(float)),
                proxy_jobs=len(proxies),
                failed=int((proxies["state"] == "failed").sum()),
                retrained=float(final["valid_accuracy"].get(digest, math.nan)),
                test=float(final["test_accuracy"].get(digest, math.nan)),
            )
        )
    return found


def one_recipe(queue: pd.DataFrame, retrains: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The completed full retrainings by the recipe that retrained most cells, and the number of retrainings by others.

    Accuracies of different recipes or data sets do not rank cells.  Ties go to the first recipe by name.
    """
    done = completed(retrains)
    done = done[done["job_id"].isin(queue["job_id"])].dropna(subset=["valid_accuracy", "test_accuracy"], how="all")
    kept = done[done["recipe"] == done.groupby("recipe")["genotype_digest"].nunique().idxmax()] if len(done) else done
    return kept, len(done) - len(kept)


def stage_correlations(cells: Sequence[CellStages], generator: np.random.Generator) -> list[StageCorrelation]:
    """Rank correlations between the stages; pairs of stages that no cell has are left out."""
    found = []
    for first, second in PAIRS:
        pairs = [(getattr(cell, first), getattr(cell, second)) for cell in cells]
        pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if pairs:
            values, others = zip(*pairs, strict=True)
            correlation = rank_correlation(values, others, generator)
            found.append(StageCorrelation(first=first, second=second, n=len(pairs), correlation=correlation))
    return found


def _short_name(recipe: "pd.Series[Any]") -> str:
    """Data set and epochs; the epochs of imported retrainings can be missing."""
    epochs = recipe["epochs"]
    return recipe["dataset"] if pd.isna(epochs) else f"{recipe['dataset']}, {int(epochs)} epochs"


def _details(first: pd.DataFrame, short: Mapping[Any, str], number: Any) -> str:
    """The fields in which a recipe differs from others with the same data set and epochs."""
    alike = first.loc[[other for other, name in short.items() if name == short[number]]]
    varied = [name for name in RECIPE_COLUMNS if alike[name].astype(str).nunique() > 1]
    return "".join(f", {name} {first.at[number, name]}" for name in varied)
