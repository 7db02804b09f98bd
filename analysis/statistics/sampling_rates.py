"""Norms and entropies of the searches by sampling rate, other swept fields being equal."""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from analysis.statistics.summaries import SETTING_COLUMNS, Summary, rank_searches, summarize


class Measure(NamedTuple):
    """A measure of a search that is compared between sampling rates."""

    column: str
    """Name of the column of `searches`, or weight_norm_growth."""
    name: str
    """Name in the report."""
    digits: int
    """Digits after the decimal point."""


MEASURES = (
    Measure("weight_norm_growth", "growth of the weight norm", 1),
    Measure("alpha_norm", "norm of alpha", 3),
    Measure("alpha_entropy_normal", "alpha entropy (nats), normal cell", 4),
    Measure("alpha_entropy_reduce", "alpha entropy (nats), reduction cell", 4),
    Measure("train_valid_gap", "train-validation gap (points)", 2),
)
"""What is compared."""
MAX_GROUPS = 12
"""Groups of searches that are shown, each with its sampling rates."""


@dataclass(frozen=True, kw_only=True)
class RateSummary:
    """The searches of one sampling rate, other swept fields being equal."""

    others: str
    """The other swept fields, such as space=s2; empty where only k was swept."""
    k: int
    """Partial channel connection: C / k channels are sampled."""
    sampling_rate: float
    """Share of the channels that are sampled."""
    n: int
    """Searches with a result."""
    measures: dict[str, Summary]
    """Column to its summary over the seeds."""


def rate_summaries(searches: pd.DataFrame, epochs: pd.DataFrame) -> list[RateSummary]:
    """Summaries by sampling rate, of the groups in which there are several; methods that do not train are left out."""
    first = epochs[epochs["epoch"] == 0].drop_duplicates("search_id").set_index("search_id")["weight_norm"]
    ranked = rank_searches(searches)
    grown = ranked["weight_norm"].astype(float) - ranked["search_id"].map(first).astype(float)
    ranked = ranked.assign(weight_norm_growth=grown)
    columns = [measure.column for measure in MEASURES]
    known = ranked[ranked["k"].notna() & ranked[columns].notna().any(axis=1)]
    others = [column for column in SETTING_COLUMNS if column != "k"]
    known = known[known.groupby(others, dropna=False)["k"].transform("nunique") > 1]
    varied = [column for column in others if known[column].nunique(dropna=False) > 1]
    groups = [((), known)] if not varied else list(known.groupby(varied, dropna=False))[:MAX_GROUPS]
    found: list[RateSummary] = []
    for values, group in groups:
        name = ", ".join(f"{column}={value}" for column, value in zip(varied, values, strict=True))
        for (k, rate), rows in group.groupby(["k", "sampling_rate"]):
            measures = {column: summarize(rows[column]) for column in columns}
            found.append(RateSummary(others=name, k=int(k), sampling_rate=rate, n=len(rows), measures=measures))
    return found


def measured(found: list[RateSummary]) -> list[Measure]:
    """The measures that some search has."""
    return [measure for measure in MEASURES if any(summary.measures[measure.column].n for summary in found)]
