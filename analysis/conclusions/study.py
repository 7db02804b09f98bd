"""What a study may conclude: `conclude` puts the parts of this room together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.conclusions import sentences
from analysis.conclusions.comparisons import SettingComparison, compare
from analysis.conclusions.levels import Level, levels, trainings
from analysis.conclusions.orders import OrderCheck, order_checks
from analysis.conclusions.published import PublishedRow, published_rows
from analysis.conclusions.recommendation import Recommendation, recommend
from analysis.conclusions.settings import (
    SettingRow,
    comparison_level,
    errors_by_search,
    found_cells,
    selected_cells,
    setting_row,
)
from analysis.conclusions.super_networks import SuperNetworkGroup, super_network_groups, why_separate
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.summaries import setting_order
from pcdarts.genotype import PUBLISHED


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """Everything a study says about settings and cells; all of it from retrained networks."""

    settings: tuple[SettingRow, ...]
    """One row for each setting, in `setting_order`; never ranked."""
    level: Level | None
    """The level at which settings are compared: the longest at which most of them have all selected cells trained; None
    without a retrained cell."""
    left_out: Mapping[str, str]
    """Settings with a result that are not compared, with the reason."""
    comparisons: tuple[SettingComparison, ...]
    """All pairs of compared settings."""
    recommendation: Recommendation | None
    """The recommended cell; None without a retrained cell that was validated."""
    orders: tuple[OrderCheck, ...]
    """Whether one-shot accuracy, size, rungs and other recipes order cells like the longest training."""
    groups: tuple[SuperNetworkGroup, ...]
    """Super-networks that one-shot accuracy can compare: a panel of the report for each."""
    why_separate: str
    """Why the groups are not on one axis; empty for a single group."""
    levels: tuple[Level, ...]
    """All levels with a completed training, the longest last; `Level.protocol` describes each."""
    published: tuple[PublishedRow, ...]
    """Published results on the data set of the recommended cell, or else of the comparison."""
    unfinished: int
    """Queued and running trainings: conclusions can change with them."""
    verdict: tuple[str, ...]
    """The conclusions, for the first screen: which setting, which cell and how sure, what restricts a comparison,
    random cells, orders, searches and trainings."""
    next_step: str
    """What to run to learn more, with commands in backticks; empty if nothing is open, or if searches were imported."""


def conclude(searches: pd.DataFrame, queue: pd.DataFrame, retrains: pd.DataFrame) -> Conclusions:
    """What the tables of a study show about its settings and cells."""
    done = trainings(retrains)
    found = found_cells(searches)
    all_levels = levels(done)
    at = comparison_level(found, queue, done, all_levels)
    at_level = done[done["level"] == at.level.number] if at.level else done.iloc[:0]
    comparisons = compare(errors_by_search(found, at_level), at.complete)
    selected = selected_cells(found, queue, done)
    gains = _gains(searches, comparisons)
    by_setting = dict(list(searches.groupby("setting")))
    rows = tuple(
        setting_row(by_setting[name], selected.get(name, set()), at_level, at.level, gains.get(name, Estimate()))
        for name in (setting_order(searches) if len(searches) else ())
    )
    recommendation = recommend(found, done, all_levels)
    orders = order_checks(found, done, at.level, all_levels)
    groups = super_network_groups(searches)
    unfinished = int(queue["state"].isin(["queued", "running"]).sum())
    ran_here = bool(found["device_name"].notna().any())  # imported logs cannot be continued
    outcome, *limits = sentences.settings_sentences(rows, at.level, at.left_out, comparisons)
    verdict = (
        outcome,
        sentences.given_cells(_errors_of_given_cells(found, done, all_levels), all_levels),
        " ".join(sentences.cell_sentences(recommendation, at.level)),
        " ".join(limits),
        sentences.baseline_sentence(rows, at.level, comparisons),
        *sentences.order_sentences(orders),
        sentences.searches_sentence(rows),
        sentences.failed_sentence(int((queue["state"] == "failed").sum())),
        sentences.unfinished_sentence(unfinished),
    )
    return Conclusions(
        settings=rows,
        level=at.level,
        left_out=at.left_out,
        comparisons=comparisons,
        recommendation=recommendation,
        orders=orders,
        groups=groups,
        why_separate=why_separate(groups),
        levels=all_levels,
        published=published_rows(recommendation.reported_at if recommendation else at.level, done),
        unfinished=unfinished,
        verdict=tuple(filter(None, verdict)),
        next_step=sentences.next_step(rows, at.level, comparisons, recommendation, unfinished) if ran_here else "",
    )


def _errors_of_given_cells(
    found: pd.DataFrame, done: pd.DataFrame, all_levels: Sequence[Level]
) -> dict[str, list[float]]:
    """Test errors at the longest level of cells that no search found, by their published names or else digests."""
    published = {genotype.digest: name for name, genotype in PUBLISHED.items()}
    rows = done[done["level"] == all_levels[-1].number] if all_levels else done
    rows = rows[~rows["genotype_digest"].isin(found["genotype_digest"])]
    errors = {str(digest): each.tolist() for digest, each in rows.groupby("genotype_digest")["test_error"]}
    return dict(sorted((published.get(digest, digest), each) for digest, each in errors.items()))


def _gains(searches: pd.DataFrame, comparisons: tuple[SettingComparison, ...]) -> dict[str, Estimate]:
    """Test error of random cells of the same space minus that of each setting, from their comparisons."""
    first = searches.drop_duplicates("setting").set_index("setting")[["method", "space"]].to_dict("index")
    gains = {}
    for each in comparisons:
        (one, other), difference = (first[each.first], first[each.second]), each.difference
        if str(one["space"]) != str(other["space"]) or (one["method"] == "random") == (other["method"] == "random"):
            continue
        if other["method"] == "random":
            gains[each.first] = difference
        else:
            gains[each.second] = Estimate(value=-difference.value, low=-difference.high, high=-difference.low)
    return gains
