"""Whether one measure of cells orders them like another: one-shot against retrained, one recipe against another."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.conclusions.levels import Level
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.correlation import FEWEST_TO_CORRELATE, mean_spearman
from analysis.statistics.summaries import setting_order

Kind = Literal["one-shot", "size", "rung", "recipe"]
Judgement = Literal["yes", "partly", "weakly", "no", "unknown"]
"""Whether one measure orders cells like another, see `judge`."""
USEFUL = 0.5
"""Rank correlation from which a measure is useful to choose cells: it then orders two cells in three right."""


EACH_SETTING = "each setting"
"""Subject of the mean over settings."""
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
    """The setting, "each setting" for the mean over settings, or the level that is compared with the final training."""
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
        found = f"{self._found}{self.note}."
        if self.kind in _MEASURES:
            measure = _MEASURES[self.kind]
            if self.judgement == "unknown":
                return f"Whether {measure} ranks the retrained cells of {self.subject} is not known: {found}"
            says = _WITHIN[self.judgement].format(cells=f"the retrained cells of {self.subject}")
            return f"{measure[0].upper()}{measure[1:]} {says} by test accuracy: {found}"
        if self.judgement == "unknown":
            return f"Whether the order of cells survives from {self.subject} to {self.reference} is not known: {found}"
        return f"The order of cells {_BETWEEN[self.judgement]} from {self.subject} to {self.reference}: {found}"

    @property
    def _found(self) -> str:
        if self.subject == EACH_SETTING and not self.cells:
            return f"no setting has {FEWEST_TO_CORRELATE} retrained cells"
        if self.cells < FEWEST_TO_CORRELATE:
            return f"{self.cells} cell{'' if self.cells == 1 else 's'} with both, and {FEWEST_TO_CORRELATE} are needed"
        found = self.correlation
        if math.isnan(found.value):
            return "all values are equal"
        after = f" after {self.reference}" if self.kind in _MEASURES else ""
        interval = f"95 % interval [{found.low:.2f}, {found.high:.2f}]"
        return f"rank correlation {found.value:.2f}, {interval}, {self.cells} cells{after}"


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
    """Of every setting, first those with enough cells; before them the mean within settings if several have enough."""
    if level is None:
        return
    tested = _accuracies(done, level)
    measures: tuple[tuple[Kind, str], ...] = (("one-shot", "valid_accuracy"), ("size", "network_macs"))
    for kind, column in measures:
        means = found.groupby(["setting", "genotype_digest"])[column].mean().astype(float)
        checks, pairs = [], []
        for name in setting_order(found) if len(found) else ():
            values = means.loc[name]
            if not values.notna().any():
                continue
            both = _paired(values, tested)
            pair = both["value"].tolist(), both["tested"].tolist()
            note = f"; {len(both)} of {len(values)} cells were retrained" if len(both) < len(values) else ""
            checks.append(_check(kind, name, level.name, [pair], note=note))
            pairs += [pair] if len(both) >= FEWEST_TO_CORRELATE else []
        if len(checks) > 1 and len(pairs) != 1:
            note = f"; mean within {len(pairs)} settings" if pairs else ""
            yield _check(kind, EACH_SETTING, level.name, pairs, note=note)
        yield from sorted(checks, key=lambda check: check.cells < FEWEST_TO_CORRELATE)


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
        both = _paired(_accuracies(done, each), tested)
        yield _check(kind, each.name, final.name, [(both["value"].tolist(), both["tested"].tolist())], note=restricted)


def _accuracies(done: pd.DataFrame, level: Level) -> "pd.Series[float]":
    rows = done[done["level"] == level.number]
    return rows.groupby("genotype_digest")["test_accuracy"].mean()


def _paired(values: "pd.Series[float]", tested: "pd.Series[float]") -> pd.DataFrame:
    """Cells with both values, in columns `value` and `tested`."""
    return pd.concat([values.astype(float), tested], axis=1, join="inner", keys=["value", "tested"]).dropna()


def _check(
    kind: Kind, subject: str, reference: str, pairs: Sequence[tuple[list[float], list[float]]], *, note: str = ""
) -> OrderCheck:
    correlation = mean_spearman(pairs)
    return OrderCheck(
        kind=kind,
        subject=subject,
        reference=reference,
        cells=sum(len(first) for first, _ in pairs),
        correlation=correlation,
        judgement=judge(correlation),
        note=note,
    )
