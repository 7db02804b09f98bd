"""Retrained cells: the accuracies that count, and the names of their recipes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from analysis.statistics.summaries import WITH_RESULT, setting_order
from pcdarts.config import NOT_PROTOCOL, RetrainConfig

RECIPE_COLUMNS = [field.name for field in fields(RetrainConfig) if field.name not in NOT_PROTOCOL]
"""Columns that are equal in all retrainings by one recipe."""


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
    found = searches[searches["status"].isin(WITH_RESULT)].dropna(subset=["genotype_digest"])
    order = setting_order(searches)
    return {
        str(digest): sorted(map(str, settings.unique()), key=order.__getitem__)
        for digest, settings in found.groupby("genotype_digest")["setting"]
    }


def _short_name(recipe: "pd.Series[Any]") -> str:
    """Data set and epochs; the epochs of imported retrainings can be missing."""
    epochs = recipe["epochs"]
    return recipe["dataset"] if pd.isna(epochs) else f"{recipe['dataset']}, {int(epochs)} epochs"


def _details(first: pd.DataFrame, short: Mapping[Any, str], number: Any) -> str:
    """The fields in which a recipe differs from others with the same data set and epochs."""
    alike = first.loc[[other for other, name in short.items() if name == short[number]]]
    varied = [name for name in RECIPE_COLUMNS if alike[name].astype(str).nunique() > 1]
    return "".join(f", {name} {first.at[number, name]}" for name in varied)
