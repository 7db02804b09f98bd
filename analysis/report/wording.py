"""Words of the report: numbers as text, the verdict, and where the results come from."""

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.report.blocks import Number
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.summaries import WITH_RESULT, SettingSummary, Summary, intervals_overlap
from pcdarts.genotype import Genotype

MISSING = "–"


def number(value: Any, digits: int = 2) -> Number:
    """A number with thousands separators; a dash where it is missing or NaN."""
    if value is None or pd.isna(value):
        return Number(MISSING, math.nan)
    text = f"{value:,.{digits}f}"
    return Number(text.removeprefix("-") if float(text.replace(",", "")) == 0 else text, value)


def spread(mean: float, std: float) -> Number:
    """Mean and standard deviation; the mean alone where there is no deviation."""
    text = number(mean) if math.isnan(std) else f"{number(mean)} ± {number(std)}"
    return Number(text, mean, std)


def interval(low: float, high: float, digits: int = 2) -> Number:
    """An interval, such as [80.1, 81.3]; a dash where there is none."""
    if math.isnan(low) or math.isnan(high):
        return Number(MISSING, math.nan, math.nan)
    return Number(f"[{number(low, digits)}, {number(high, digits)}]", low, high)


def interval_text(summary: Summary, digits: int = 2) -> Number:
    """Mean with its 95 % interval, such as 80.7 [80.1, 81.3]; the mean alone where there is none."""
    if math.isnan(summary.low):
        return number(summary.mean, digits)
    text = f"{number(summary.mean, digits)} {interval(summary.low, summary.high, digits)}"
    return Number(text, summary.mean, summary.low, summary.high)


@lru_cache(maxsize=20_000)
def parsed(genotype: str | None) -> Genotype | None:
    """The cells that a text names; None where it cannot be read."""
    try:
        return Genotype.parse(genotype or "")
    except ValueError:
        return None


def estimate(value: Estimate) -> Number:
    """A number with its 95 % interval, such as 0.67 [0.41, 0.90]."""
    limits = "" if math.isnan(value.low) else f" {interval(value.low, value.high, 2)}"
    return Number(f"{number(value.value, 2)}{limits}", value.value, value.low, value.high)


def p_text(value: float) -> Number:
    """A p-value; no smaller one is told apart from 0.0001."""
    return Number("< 0.0001", value) if value < 0.0001 else number(value, 4)


def plain(value: Any) -> str:
    """A value as text; empty where it is missing."""
    return "" if value is None or pd.isna(value) else str(value)


def shortened(error: str) -> str:
    """The beginning of an error; the tables hold all of it."""
    return textwrap.shorten(error, 400, placeholder=" …")


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a frame as dictionaries."""
    return list(frame.to_dict("records"))


def verdict(summaries: Sequence[SettingSummary], searches: pd.DataFrame) -> list[str]:
    """Three sentences: the best setting with its interval, how many seeds agree on a cell, collapses and failures."""
    if not summaries:
        return ["No search has ended yet."]
    troubles = _troubles(summaries, searches)
    if not sum(s.ended for s in summaries):
        return ["No search has a result.", troubles]
    best, *others = summaries
    if not best.valid_accuracy.n:
        first = "No search of any setting has a validation accuracy that is a number."
        return [first, _agreement(summaries, None, searches), troubles]
    accuracy = best.valid_accuracy
    tied = [s for s in others if math.isclose(s.valid_accuracy.mean, accuracy.mean, rel_tol=1e-9)]
    if tied:
        rest = [s for s in others if s not in tied]
        separator = ", " if len(tied) == 2 else " and "
        names = f"{best.setting}{separator}{_settings([s.setting for s in tied])}"
        first = f"Best settings: {names} tie, with a mean one-shot validation accuracy of {number(accuracy.mean)} %"
        return [f"{first}{_caveat([best, *tied], rest)}.", _agreement(summaries, best, searches), troubles]
    name = f"Best setting: {best.setting}, with" if others else f"The only setting, {best.setting}, has"
    over = f"on average over {accuracy.n:,} seeds" if accuracy.n > 1 else "with a single seed, so without an interval"
    interval = f" (95 % interval {number(accuracy.low)} to {number(accuracy.high)})"
    if math.isnan(accuracy.low):
        interval = ", all with the same value" if accuracy.n > 1 else ""
    caveat = _caveat([best], others)
    first = f"{name} a one-shot validation accuracy of {number(accuracy.mean)} % {over}{interval}{caveat}."
    return [first, _agreement(summaries, best, searches), troubles]


def provenance(searches: pd.DataFrame, retrains: pd.DataFrame) -> list[tuple[str, str]]:
    """Seeds, versions, devices and times of a study; several values stand side by side."""
    facts = [("seeds", _distinct(searches["seed"])), ("data set", _distinct(searches["dataset"]))]
    both = {c: pd.concat([searches[c], retrains[c]]) for c in searches.columns.intersection(retrains.columns)}
    for label, column in (
        ("git revision", "git_revision"),
        ("Python", "python_version"),
        ("PyTorch", "torch_version"),
        ("Ray", "ray_version"),
        ("device", "device_name"),
    ):
        facts.append((label, _distinct(both[column])))
    started, finished = both["started_at"].dropna(), both["finished_at"].dropna()
    facts.append(("first start", str(min(started, default=MISSING))))
    facts.append(("last end", str(max(finished, default=MISSING))))
    return facts


def _agreement(summaries: Sequence[SettingSummary], best: SettingSummary | None, searches: pd.DataFrame) -> str:
    """How many seeds of the best setting found the same cell, and how many cells there are in all."""
    ended = sum(s.ended for s in summaries)
    cells = _count(len({digest for s in summaries for digest in s.cells}), "distinct cell")
    every = f"{_count(ended, 'search', 'searches')} found {cells}"
    if best is None or best.ended < 2:
        return f"{every}."
    found = searches[(searches["setting"] == best.setting) & searches["status"].isin(WITH_RESULT)]["genotype_digest"]
    counts = found.dropna().value_counts()
    most = int(counts.iloc[0]) if len(counts) else 0
    agree = f"{most:,} of the {best.ended:,} seeds of {best.setting} agree on a cell"
    if most < 2:
        agree = f"No two of the {best.ended:,} seeds of {best.setting} agree on a cell"
    elif most == best.ended:
        agree = f"All {best.ended:,} seeds of {best.setting} agree on one cell"
    return f"{agree}." if len(summaries) == 1 and most == best.ended else f"{agree}; in all, {every}."


def _troubles(summaries: Sequence[SettingSummary], searches: pd.DataFrame) -> str:
    """Collapses, stopped or warned of, and failures."""
    total = len(searches)
    failed, stopped = (sum(getattr(s, name) for s in summaries) for name in ("failed", "stopped"))
    completed = searches["status"] == "completed"
    warned = int((completed & (searches["warnings"].fillna("") != "")).sum())
    of = f"Of {_count(total, 'search', 'searches')}"
    named = int(searches["early_stop_epoch"].notna().sum())
    ended = searches["status"].isin(WITH_RESULT)
    if not stopped and ended.any() and searches["warnings"][ended].isna().all():  # imported, or of code without rules
        later = f"; the eigenvalue rule would have stopped {named:,}" if named else ""
        return f"{of}, {failed or 'none'} failed; collapse rules were not recorded{later}."
    if total == 1:
        if failed or stopped:
            return "The only search failed." if failed else "The only search was stopped by a collapse rule."
        return "A collapse rule warned." if warned else "It did not fail, and no collapse rule warned."
    collapses = f"{stopped or 'none'} {'was' if stopped < 2 else 'were'} stopped by a collapse rule"
    warnings = (
        f"{warned} more had warnings of one" if warned else f"{'no other' if stopped else 'none'} had a warning of one"
    )
    return f"{of}, {failed or 'none'} failed, {collapses}, and {warnings}."


def _caveat(best: Sequence[SettingSummary], others: Sequence[SettingSummary]) -> str:
    """How far to trust the lead of the best setting, or of those that tie; to be added to their sentence."""
    if any(s.valid_accuracy.n < 3 for s in best):
        return "; fewer than 3 seeds are preliminary, as seeds differ by chance"
    scored = [s for s in others if s.valid_accuracy.n]
    few = [s.setting for s in scored if s.valid_accuracy.n < 3]
    close = [s.setting for s in scored if any(intervals_overlap(b.valid_accuracy, s.valid_accuracy) for b in best)]
    if few:
        have = "has" if len(few) == 1 else "have"
        return f"; the comparison is preliminary, as {_settings(few)} {have} fewer than 3 seeds"
    if close:
        name = "it is" if len(best) == 1 else "they are"
        return f"; {name} not told apart from {_settings(close)}, as t intervals of the means overlap"
    return ""


def _settings(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{len(names)} other settings"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one}" if n == 1 else f"{n:,} {many or one + 's'}"


def _distinct(values: "pd.Series[Any]") -> str:
    return ", ".join(map(str, sorted(values.dropna().unique()))) or MISSING
