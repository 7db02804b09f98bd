"""What a study may conclude: `conclude` puts the parts of this room together."""

from dataclasses import dataclass

import pandas as pd

from analysis.conclusions.comparisons import SettingComparison
from analysis.conclusions.levels import Level
from analysis.conclusions.orders import OrderCheck
from analysis.conclusions.published import PublishedRow
from analysis.conclusions.recommendation import Recommendation
from analysis.conclusions.settings import SettingRow
from analysis.conclusions.super_networks import SuperNetworkGroup


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """Everything a study says about settings and cells; all of it from retrained networks."""

    settings: tuple[SettingRow, ...]
    """One row for each setting, in `setting_order`; never ranked."""
    level: Level | None
    """The level at which settings are compared: the longest at which all of them have all selected cells trained; None
    without a retrained cell."""
    left_out: dict[str, str]
    """Settings that are not compared, with the reason."""
    comparisons: tuple[SettingComparison, ...]
    """All pairs of compared settings."""
    recommendation: Recommendation | None
    """The recommended cell; None without a retrained cell."""
    orders: tuple[OrderCheck, ...]
    """Whether one-shot accuracy, rungs and other recipes order cells like the final training."""
    groups: tuple[SuperNetworkGroup, ...]
    """Super-networks that one-shot accuracy can compare: a panel of the report for each."""
    why_separate: str
    """Why the groups are not on one axis; empty for a single group."""
    levels: tuple[Level, ...]
    """All levels with a completed training, the longest last: `Level.protocol` describes each."""
    published: tuple[PublishedRow, ...]
    """Published results on the data set of the longest level."""
    verdict: tuple[str, ...]
    """Sentences of the first screen, the outcome first."""
    next_step: str
    """The command that would tell more, such as `pcdarts retrain STUDY`; empty if there is none."""


def conclude(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> Conclusions:
    """What the tables of a study show about its settings and cells."""
    raise NotImplementedError
