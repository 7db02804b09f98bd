"""Collapse rules: where they fired, and which of them could have fired at all."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.conclusions.sentences import counted
from analysis.sections.blocks import Block, ReportTable, Section, Text
from analysis.sections.wording import row_dicts
from analysis.statistics.summaries import WITH_RESULT, rule_fired, stopped_by_hand
from analysis.study_data import StudyData
from pcdarts.config import SearchConfig
from pcdarts.diagnostics.collapse import shortages
from pcdarts.diagnostics.early_stop import eigenvalue_shortage

RULES = {
    "nonfinite": "not finite",
    "eigenvalue": "eigenvalue",
    "skip": "skip connections",
    "frozen": "frozen cell",
}
"""The rules and their names in the table."""
Shortages = Mapping[str, str | None]
"""What the eigenvalue rule lacked in each search with epochs; None if it could fire."""


def section(data: StudyData) -> Section:
    """What the rules say of each setting."""
    ended = data.searches[data.searches["status"].isin(WITH_RESULT) & (data.searches["method"] != "random")]
    recorded = ended[ended["warnings"].notna() | (ended["status"] == "stopped")]
    unknown = ended.drop(recorded.index)
    lacking = eigenvalue_shortages(data.epochs)
    blocks: list[Block] = []
    if not len(ended):
        blocks.append(Text(text="No search with a super-network has a result, so there is nothing to check."))
    if len(recorded):
        groups = [(str(setting), row_dicts(rows)) for setting, rows in recorded.groupby("setting")]
        groups.sort(key=lambda group: data.order[group[0]])
        blocks += [Text(text=summary(recorded)), rules_table(groups, lacking)]
    if len(unknown):
        blocks.append(Text(text=unrecorded_text(unknown, lacking)))
    return Section(id="collapse", title="Collapse", blocks=tuple(blocks))


def eigenvalue_shortages(epochs: pd.DataFrame) -> Shortages:
    """What the eigenvalue rule lacked, by the eigenvalues that were measured with trained alpha."""
    trained = epochs[epochs["alpha_trained"].fillna(False).astype(bool)]
    measured = trained.dropna(subset=["dominant_eigenvalue"]).sort_values("epoch")
    found: dict[str, str | None] = {str(name): eigenvalue_shortage([]) for name in epochs["search_id"].unique()}
    for name, rows in measured.groupby("search_id"):
        at = rows["epoch"].astype(int).tolist()
        found[str(name)] = eigenvalue_shortage(at, rows["dominant_eigenvalue"].astype(float).tolist())
    return found


def summary(recorded: pd.DataFrame) -> str:
    """In how many searches a rule fired."""
    by_hand = int(stopped_by_hand(recorded).sum())
    stopped = int((recorded["status"] == "stopped").sum()) - by_hand
    fired = int(rule_fired(recorded).sum())
    searches = counted(len(recorded), "search", "searches")
    text = f"A rule fired in {fired} of {searches} and stopped {stopped or 'none'} of them."
    if not fired:
        text = f"No rule fired in {searches}. The table shows which rules could have fired."
    were = "search was" if by_hand == 1 else "searches were"
    return f"{text} {by_hand} {were} stopped by hand, not by a rule." if by_hand else text


def rules_table(groups: Sequence[tuple[str, list[dict[Any, Any]]]], lacking: Shortages) -> ReportTable:
    """One row for each setting with its searches: for each rule in how many it fired, or why it could not."""
    return ReportTable(
        id="collapse",
        caption="Collapse rules by setting",
        headings=("setting", "searches", *RULES.values()),
        rows=tuple(
            (setting, str(len(searches)), *(_state(rule, searches, lacking) for rule in RULES))
            for setting, searches in groups
        ),
        text_columns=frozenset(RULES.values()),
        wide_columns=frozenset({"setting", *RULES.values()}),
        note=(
            "A rule that could not fire says nothing about a search. Not finite: loss, alpha or beta is not finite. "
            "Eigenvalue: the dominant eigenvalue grew to more than 1.3 times its earlier average. Skip connections: "
            "the normal cell has more than `max_skip_connections`. Frozen cell: the cell did not change for "
            "`frozen_epochs`."
        ),
    )


def unrecorded_text(unknown: pd.DataFrame, lacking: Shortages) -> str:
    """Searches whose rules were not recorded, and what the eigenvalue rule would have done."""
    text = f"Collapse rules were not recorded for {counted(len(unknown), 'search', 'searches')}"
    named = set(unknown.loc[unknown["early_stop_epoch"].notna(), "search_id"])
    able = named | {name for name in unknown["search_id"] if lacking.get(name, "") is None}
    if not able:
        return f"{text}, and too few eigenvalues were measured for the eigenvalue rule."
    return f"{text}. By the measured eigenvalues, the eigenvalue rule would have stopped {len(named)} of {len(able)}."


def _state(rule: str, searches: Sequence[Mapping[Any, Any]], lacking: Shortages) -> str:
    """In how many searches of a setting a rule fired, that it was off, or why it could not fire."""
    fired = sum(f"{rule} rule: " in f"{row['stop_reason'] or ''} {row['warnings'] or ''}" for row in searches)
    if fired:
        return f"fired in {fired} of {len(searches)}"
    if searches[0][f"{rule}_rule"] == "off":
        return "off"
    reasons = [reason for row in searches if (reason := _shortage(rule, row, lacking)) is not None]
    if not reasons:
        return "did not fire"
    if len(reasons) < len(searches):
        return f"did not fire; could not in {len(reasons)} of {len(searches)}: {reasons[0]}"
    return f"could not fire: {reasons[0]}"


def _shortage(rule: str, search: Mapping[Any, Any], lacking: Shortages) -> str | None:
    """Why a rule could not fire in a search; None if it could."""
    if rule == "eigenvalue" and search["search_id"] in lacking:
        return lacking[search["search_id"]]
    known: dict[str, Any] = {}
    for field in dataclasses.fields(SearchConfig):
        value = search[field.name]
        if value is not None and not pd.isna(value):
            known[field.name] = int(value) if field.type is int else value  # with missing values, integers are floats
    try:
        return shortages(SearchConfig(**known)).get(rule)
    except (TypeError, ValueError):
        return "the configuration is not known"
