"""Retrained cells: the accuracies that count, and the settings that found them."""

from collections.abc import Mapping
from dataclasses import fields

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


def settings_of_cells(searches: pd.DataFrame) -> Mapping[str, list[str]]:
    """Digest of every cell to the settings of the searches that found it."""
    found = searches[searches["status"].isin(WITH_RESULT)].dropna(subset=["genotype_digest"])
    order = setting_order(searches)
    return {
        str(digest): sorted(map(str, settings.unique()), key=order.__getitem__)
        for digest, settings in found.groupby("genotype_digest")["setting"]
    }
