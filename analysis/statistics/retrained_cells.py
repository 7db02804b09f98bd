"""Full retrainings: which accuracies count, and which of them are of one recipe."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from analysis.statistics.summaries import WITH_RESULT, final_jobs, setting_order
from pcdarts.config import NOT_PROTOCOL, RetrainConfig

RECIPE_COLUMNS = [field.name for field in fields(RetrainConfig) if field.name not in NOT_PROTOCOL]
"""Columns in which the jobs of one recipe are equal."""


def completed(retrains: pd.DataFrame) -> pd.DataFrame:
    """The last completed attempt of every full retraining, with `chosen` accuracies and the `recipe` by name."""
    ended = with_recipe(chosen(final_jobs(retrains)))
    done = ended[ended["status"] == "completed"].sort_values(["job_id", "attempt"])
    return done.drop_duplicates("job_id", keep="last")


def chosen(retrains: pd.DataFrame) -> pd.DataFrame:
    """The rows with the accuracies of the weights that validation chose, which can be their moving average."""
    average = is_average(retrains)
    accuracies = {
        name: retrains[name].mask(average, retrains[f"ema_{name}"]).astype(float)
        for name in ("valid_accuracy", "test_accuracy")
    }
    return retrains.assign(**accuracies)


def is_average(retrains: pd.DataFrame) -> "pd.Series[bool]":
    """Whether validation chose the moving average of the weights, row by row."""
    return retrains["chosen_weights"] == "ema"


def with_recipe(retrains: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `recipe`: data set and epochs, and what else tells apart recipes that share both."""
    group = retrains.groupby(RECIPE_COLUMNS, dropna=False).ngroup()
    first = retrains.assign(recipe=group).drop_duplicates("recipe").set_index("recipe")[RECIPE_COLUMNS]
    short = {number: f"{row['dataset']}, {row['epochs']} epochs" for number, row in first.iterrows()}
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


def _details(first: pd.DataFrame, short: Mapping[Any, str], number: Any) -> str:
    """The fields in which a recipe differs from those of equal data set and epochs."""
    alike = first.loc[[other for other, name in short.items() if name == short[number]]]
    varied = [name for name in RECIPE_COLUMNS if alike[name].astype(str).nunique() > 1]
    return "".join(f", {name} {first.at[number, name]}" for name in varied)
