"""Which super-networks can be compared by one-shot accuracy: those that differ in nothing but the seed.

Super-networks of another k, side operation, stride, edge normalization, length, space or method differ in size, in what
they train and for how long: their one-shot accuracies differ for these reasons, whatever their cells are worth.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.statistics.summaries import SETTING_COLUMNS, WITH_RESULT, setting_order

NO_EFFECT = frozenset(
    {
        "threads",
        "device",
        "implementation",
        "channels_last",
        "compile",
        "cuda_graphs",
        "validate_every",
        "eigenvalue_every",
        "eigenvalue_batch",
    }
)
"""Columns that change a one-shot accuracy by rounding at most."""


@dataclass(frozen=True, kw_only=True)
class SuperNetworkGroup:
    """Searches whose super-networks are equal in everything but the seed."""

    settings: tuple[str, ...]
    """Their settings, in `setting_order`; one, unless settings differ only in what does not change the network."""
    searches: int
    """Searches with a result."""
    values: tuple[str, ...]
    """The values in which this group differs from others, such as "k = 4"."""


def super_network_groups(searches: pd.DataFrame) -> tuple[SuperNetworkGroup, ...]:
    """Searches with a one-shot accuracy, grouped by equal super-networks, in `setting_order`.

    Random cells have no super-network and are left out.
    """
    found = searches[searches["status"].isin(WITH_RESULT) & searches["valid_accuracy"].notna()]
    if not len(found):
        return ()
    columns = [name for name in SETTING_COLUMNS if name not in NO_EFFECT]
    groups: dict[str, list[str]] = {}
    rows = found.groupby("setting")[columns].first()
    for name in setting_order(found):
        groups.setdefault(str(rows.loc[name].map(str).to_dict()), []).append(name)
    varied = [name for name in columns if rows[name].map(str).nunique() > 1]
    counts = found["setting"].value_counts()
    return tuple(
        SuperNetworkGroup(
            settings=tuple(names),
            searches=int(counts[names].sum()),
            values=tuple(f"{column} = {_text(rows.loc[names[0], column])}" for column in varied),
        )
        for names in groups.values()
    )


def why_separate(groups: tuple[SuperNetworkGroup, ...]) -> str:
    """Why the one-shot accuracies of the groups are not on one axis; empty for a single group."""
    if len(groups) < 2:
        return ""
    names = [value.partition(" = ")[0] for value in groups[0].values]
    return (
        f"The super-networks differ in {_listed(names)}, so their one-shot accuracies differ whatever the cells are "
        "worth: they are not on one axis. Retrained cells compare settings."
    )


def _text(value: Any) -> str:
    return "missing" if pd.isna(value) else str(value)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
