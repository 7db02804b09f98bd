"""Whether one measure of cells orders them like another: one-shot against retrained, one recipe against another."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.conclusions.levels import Level
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.correlation import FEWEST_TO_CORRELATE, spearman
from analysis.statistics.summaries import setting_order

Kind = Literal["one-shot", "size", "rung", "recipe"]
Judgement = Literal["yes", "partly", "weakly", "no", "unknown"]
"""Whether one measure orders cells like another, see `judge`."""
USEFUL = 0.5
"""Rank correlation from which a measure is useful to choose cells: it then orders two cells in three right."""


_MEASURES = {"one-shot": "one-shot accuracy", "size": "the number of multiply-adds"}
_WITHIN: Mapping[Judgement, str] = {
    "yes": "ranks {cells}",
    "partly": "is related to the rank of {cells}",
    "weakly": "is only weakly related to the rank of {cells}",
    "no": "does not rank {cells}",
}
_BETWEEN: Mapping[Judgement, str] = {
    "yes": "survives",
    "partly": "survives in part",
    "weakly": "hardly survives",
    "no": "does not survive",
}


@dataclass(frozen=True, kw_only=True)
class OrderCheck:
    """Rank correlation between two measures of the same cells."""

    kind: Kind
    """one-shot, size: one-shot accuracy or multiply-adds against the retrained accuracy of a setting's cells; rung: a
    rung of the race against the final training; recipe: another recipe against the final training."""
    subject: str
    """The setting, or the level that is compared with the final training."""
    reference: str
    """The level it is compared with."""
    cells: int
    """Cells with both values."""
    correlation: Estimate
    """Spearman's rank correlation with its 95 % interval; NaN below 6 cells, or if a measure is constant."""
    judgement: Judgement
    """What the interval says."""
    note: str = ""
    """What restricts the conclusion, such as that only some cells were retrained."""

    @property
    def sentence(self) -> str:
        """The conclusion in one sentence."""
        found = f"({self._found}{self.note})"
        if self.kind in _MEASURES:
            measure = _MEASURES[self.kind]
            if self.judgement == "unknown":
                return f"Whether {measure} ranks the retrained cells of {self.subject} is not known {found}."
            says = _WITHIN[self.judgement].format(cells=f"the retrained cells of {self.subject}")
            return f"{measure[0].upper()}{measure[1:]} {says} by test accuracy after {self.reference} {found}."
        if self.judgement == "unknown":
            return f"Whether the order of cells survives from {self.subject} to {self.reference} is not known {found}."
        return f"The order of cells {_BETWEEN[self.judgement]} from {self.subject} to {self.reference} {found}."

    @property
    def _found(self) -> str:
        if self.cells < FEWEST_TO_CORRELATE:
            return f"{self.cells} cell{'' if self.cells == 1 else 's'} with both, and {FEWEST_TO_CORRELATE} are needed"
        if math.isnan(self.correlation.value):
            return "all values are equal"
        low, high = self.correlation.low, self.correlation.high
        return f"rank correlation {self.correlation.value:.2f} [{low:.2f}, {high:.2f}], {self.cells} cells"


def judge(correlation: Estimate) -> Judgement:
    """What the interval of a rank correlation says about the order of cells.

    yes: above USEFUL as a whole; partly: above 0; weakly: above 0 and below USEFUL; no: below USEFUL, and it contains 0
    or is below it; unknown: it contains both 0 and USEFUL, or there is none.
    """
    if math.isnan(correlation.low):
        return "unknown"
    if correlation.low >= USEFUL:
        return "yes"
    if correlation.low > 0:
        return "partly" if correlation.high >= USEFUL else "weakly"
    return "no" if correlation.high < USEFUL else "unknown"


def order_checks(
    found: pd.DataFrame, done: pd.DataFrame, level: Level | None, levels: Sequence[Level]
) -> tuple[OrderCheck, ...]:
    """One-shot accuracy and size against test accuracy at the level of the comparison; levels against the final one."""
    return (*_within_settings(found, done, level), *_between_levels(done, levels))


def _within_settings(found: pd.DataFrame, done: pd.DataFrame, level: Level | None) -> Iterator[OrderCheck]:
    if level is None:
        return
    tested = _accuracies(done, level)
    for name in setting_order(found):
        rows = found[found["setting"] == name]
        cells = rows.groupby("genotype_digest")[["valid_accuracy", "network_macs"]].mean()
        share = f"{int(cells.index.isin(tested.index).sum())} of {len(cells)}"
        restricted = "" if cells.index.isin(tested.index).all() else f"; only {share} cells were retrained"
        if cells["valid_accuracy"].notna().any():
            yield _check("one-shot", name, level, cells["valid_accuracy"], tested, note=restricted)
        if cells["network_macs"].nunique() > 1:
            yield _check("size", name, level, cells["network_macs"], tested, note=restricted)


def _between_levels(done: pd.DataFrame, levels: Sequence[Level]) -> Iterator[OrderCheck]:
    final = next((each for each in reversed(levels) if each.stage == "final"), None)
    if final is None:
        return
    tested = _accuracies(done, final)
    for each in levels:
        if each is final or each.stage == "published":
            continue
        kind: Kind = "rung" if each.stage == "rung" else "recipe"
        restricted = "; only the best of the rung went on" if kind == "rung" and each.cells > final.cells else ""
        yield _check(kind, each.name, final, _accuracies(done, each), tested, note=restricted)


def _accuracies(done: pd.DataFrame, level: Level) -> "pd.Series[float]":
    rows = done[done["level"] == level.number]
    return rows.groupby("genotype_digest")["test_accuracy"].mean()


def _check(
    kind: Kind,
    subject: str,
    reference: Level,
    values: "pd.Series[float]",
    tested: "pd.Series[float]",
    *,
    note: str = "",
) -> OrderCheck:
    both = pd.concat([values.astype(float), tested], axis=1, join="inner", keys=["value", "tested"]).dropna()
    correlation = spearman(both["value"].tolist(), both["tested"].tolist())
    return OrderCheck(
        kind=kind,
        subject=subject,
        reference=reference.name,
        cells=len(both),
        correlation=correlation,
        judgement=judge(correlation),
        note=note,
    )
