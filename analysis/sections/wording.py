"""Words of the report: numbers as text, and the verdict."""

import math
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from analysis.sections.blocks import Number
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.summaries import WITH_RESULT, SettingSummary, Summary, intervals_overlap
from pcdarts.genotype import Genotype

MISSING = "–"


def number(value: Any, digits: int = 2) -> Number:
    """A number with thousands separators; a dash if it is missing or NaN."""
    if value is None or pd.isna(value):
        return Number(MISSING, math.nan)
    text = f"{value:,.{digits}f}"
    return Number(text.removeprefix("-") if float(text.replace(",", "")) == 0 else text, value)


def spread(mean: float, std: float) -> Number:
    """Mean ± standard deviation; the mean alone if the deviation is NaN."""
    text = number(mean) if math.isnan(std) else f"{number(mean)} ± {number(std)}"
    return Number(text, mean, std)


def interval(low: float, high: float, digits: int = 2) -> Number:
    """An interval, such as [80.1, 81.3]; a dash if an end is NaN."""
    if math.isnan(low) or math.isnan(high):
        return Number(MISSING, math.nan, math.nan)
    return Number(f"[{number(low, digits)}, {number(high, digits)}]", low, high)


def interval_text(summary: Summary, digits: int = 2) -> Number:
    """Mean with its 95 % interval, such as 80.7 [80.1, 81.3]; the mean alone if there is no interval."""
    if math.isnan(summary.low):
        return number(summary.mean, digits)
    text = f"{number(summary.mean, digits)} {interval(summary.low, summary.high, digits)}"
    return Number(text, summary.mean, summary.low, summary.high)


@lru_cache(maxsize=20_000)
def parsed(genotype: str | None) -> Genotype | None:
    """The genotype in a text; None if it cannot be parsed."""
    try:
        return Genotype.parse(genotype or "")
    except ValueError:
        return None


def estimate(value: Estimate) -> Number:
    """A number with its 95 % interval, such as 0.67 [0.41, 0.90]."""
    limits = "" if math.isnan(value.low) else f" {interval(value.low, value.high, 2)}"
    return Number(f"{number(value.value, 2)}{limits}", value.value, value.low, value.high)


def p_text(value: float) -> Number:
    """A p-value; smaller ones than 0.0001 are not resolved."""
    return Number("< 0.0001", value) if value < 0.0001 else number(value, 4)


def plain(value: Any) -> str:
    """A value as text; empty if it is missing."""
    return "" if value is None or pd.isna(value) else str(value)


def shortened(error: str) -> str:
    """The beginning of an error message; the tables hold all of it."""
    return textwrap.shorten(error, 400, placeholder=" …")


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number with its noun, such as 1 search or 2 searches."""
    return f"{n:,} {singular}" if n == 1 else f"{n:,} {plural or singular + 's'}"


def row_dicts(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a frame as dictionaries."""
    return list(frame.to_dict("records"))


def verdict(summaries: Sequence[SettingSummary], searches: pd.DataFrame) -> list[str]:
    """The outcome in up to three sentences: best setting, agreement of its seeds on a cell, failures and collapses."""
    if not summaries:
        return ["No search has finished yet."]
    failures = _failures(summaries, searches)
    if not sum(s.ended for s in summaries):
        return ["No search has a result.", failures]
    best = summaries[0] if summaries[0].valid_accuracy.n else None
    first = "No search has a finite validation accuracy." if best is None else _best_setting(best, summaries[1:])
    return [first, _agreement(summaries, best, searches), failures]


def _best_setting(best: SettingSummary, others: Sequence[SettingSummary]) -> str:
    accuracy = best.valid_accuracy
    tied = [s for s in others if math.isclose(s.valid_accuracy.mean, accuracy.mean, rel_tol=1e-9)]
    rest = [s for s in others if s not in tied]
    caveat = _caveat([best, *tied], rest)
    if tied:
        separator = ", " if len(tied) == 2 else " and "
        names = f"{best.setting}{separator}{_settings([s.setting for s in tied])}"
        mean = f"a mean one-shot validation accuracy of {number(accuracy.mean)} %"
        return f"Best settings: {names} are tied, with {mean}{caveat}."
    name = f"Best setting: {best.setting}, with" if others else f"The only setting, {best.setting}, has"
    if accuracy.n == 1:
        value = f"a one-shot validation accuracy of {number(accuracy.mean)} % from a single seed (no interval)"
        return f"{name} {value}{caveat}."
    interval = f"95 % confidence interval {number(accuracy.low)} to {number(accuracy.high)}"
    if math.isnan(accuracy.low):
        interval = "all equal"
    mean = f"a mean one-shot validation accuracy of {number(accuracy.mean)} % over {accuracy.n:,} seeds ({interval})"
    return f"{name} {mean}{caveat}."


def _agreement(summaries: Sequence[SettingSummary], best: SettingSummary | None, searches: pd.DataFrame) -> str:
    """How many seeds of the best setting found the same cell, and how many cells were found in total."""
    ended = sum(s.ended for s in summaries)
    cells = counted(len({digest for s in summaries for digest in s.cells}), "distinct cell")
    total = f"{counted(ended, 'search', 'searches')} found {cells}"
    if best is None or best.ended < 2:
        return f"{total}."
    found = searches[(searches["setting"] == best.setting) & searches["status"].isin(WITH_RESULT)]["genotype_digest"]
    counts = found.dropna().value_counts()
    most = int(counts.iloc[0]) if len(counts) else 0
    agree = f"{most:,} of the {best.ended:,} seeds of {best.setting} found the same cell"
    if most < 2:
        agree = f"No two of the {best.ended:,} seeds of {best.setting} found the same cell"
    elif most == best.ended:
        agree = f"All {best.ended:,} seeds of {best.setting} found the same cell"
    return f"{agree}." if len(summaries) == 1 and most == best.ended else f"{agree}; {total} in total."


def _failures(summaries: Sequence[SettingSummary], searches: pd.DataFrame) -> str:
    """How many searches failed, were stopped by a collapse rule, or triggered a collapse warning."""
    total = len(searches)
    failed, stopped = (sum(getattr(s, name) for s in summaries) for name in ("failed", "stopped"))
    completed = searches["status"] == "completed"
    warned = int((completed & (searches["warnings"].fillna("") != "")).sum())
    of = f"Of {counted(total, 'search', 'searches')}, {failed or 'none'} failed"
    ended = searches["status"].isin(WITH_RESULT)
    if not stopped and ended.any() and searches["warnings"][ended].isna().all():  # imported, or of code without rules
        named = int(searches["early_stop_epoch"].notna().sum())
        rule = f"; the eigenvalue rule would have stopped {named:,}" if named else ""
        return f"{of}; collapse rules were not recorded{rule}."
    if total == 1:
        if failed or stopped:
            return "The only search failed." if failed else "The only search was stopped by a collapse rule."
        return "It triggered a collapse warning." if warned else "It completed without a collapse warning."
    others = ("other" if warned < 2 else "others") if stopped else ""
    warnings = f"{warned or ('no' if stopped else 'none')} {others}".strip()
    were = "was" if stopped < 2 else "were"
    return f"{of}, {stopped or 'none'} {were} stopped by a collapse rule, and {warnings} triggered a collapse warning."


def _caveat(best: Sequence[SettingSummary], others: Sequence[SettingSummary]) -> str:
    """How far to trust the lead of the best setting, or of those that tie; ends their sentence."""
    if any(s.valid_accuracy.n < 3 for s in best):
        return "; results from fewer than 3 seeds are preliminary"
    scored = [s for s in others if s.valid_accuracy.n]
    few = [s.setting for s in scored if s.valid_accuracy.n < 3]
    close = [s.setting for s in scored if any(intervals_overlap(b.valid_accuracy, s.valid_accuracy) for b in best)]
    if few:
        have = "has" if len(few) == 1 else "have"
        return f"; the comparison is preliminary because {_settings(few)} {have} fewer than 3 seeds"
    if close:
        return f"; not significantly different from {_settings(close)} (the 95 % t intervals overlap)"
    return ""


def _settings(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{len(names)} other settings"
