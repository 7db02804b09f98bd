"""Words of the report: numbers as text, the verdict, and where the results come from."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.page import Number
from analysis.statistics import SettingSummary, intervals_overlap, natural_key

MISSING = "–"


def number(value: Any, digits: int = 2) -> Number:
    """A number with thousands separators; a dash where it is missing or NaN."""
    if value is None or pd.isna(value):
        return Number(MISSING, math.nan)
    return Number(f"{value:,.{digits}f}", value)


def spread(mean: float, std: float) -> Number:
    """Mean and standard deviation; the mean alone where there is no deviation."""
    text = number(mean) if math.isnan(std) else f"{number(mean)} ± {number(std)}"
    return Number(text, mean, std)


def plain(value: Any) -> str:
    """A value as text; empty where it is missing."""
    return "" if value is None or pd.isna(value) else str(value)


def records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a frame as dictionaries."""
    return list(frame.to_dict("records"))


def verdict(summaries: Sequence[SettingSummary]) -> list[str]:
    """Up to three sentences: the best setting, how much the searches agree, and how far to trust it."""
    completed, failed, stopped = (sum(getattr(s, name) for s in summaries) for name in ("ended", "failed", "stopped"))
    ended = " and ".join(f"{n} {verb}" for n, verb in ((failed, "failed"), (stopped, "stopped early")) if n)
    if not summaries:
        return ["No search has ended yet."]
    if not completed:
        return [f"No search completed: {ended}."]
    best, *others = summaries
    accuracy, n = best.valid_accuracy, best.valid_accuracy.n
    cells_found = len({digest for s in summaries for digest in s.cells})
    agreement = (
        f"{_count(completed, 'completed search', 'completed searches')} found {_count(cells_found, 'distinct cell')}"
    )
    agreement += f"; {ended}." if ended else "."
    if n == 0:
        return [f"No completed search of any setting has a validation accuracy that is a number. {agreement}"]
    over = f"over {n} seeds (mean ± standard deviation)" if n > 1 else "with a single seed"
    name = f"Best setting: {best.setting}" if others else f"The only setting, {best.setting},"
    joint = ", with" if others else " has"
    sentences = [
        f"{name}{joint} a one-shot validation accuracy of {spread(accuracy.mean, accuracy.std)} % {over}.",
        agreement,
    ]
    caveat = _caveat(best, others)
    return [*sentences, caveat] if caveat else sentences


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


def _caveat(best: SettingSummary, others: Sequence[SettingSummary]) -> str:
    if best.valid_accuracy.n < 3:
        return f"Take this as preliminary: {best.setting} has fewer than 3 completed seeds, and seeds differ by chance."
    scored = [s for s in others if s.valid_accuracy.n]
    few = [s.setting for s in scored if s.valid_accuracy.n < 3]
    close = [s.setting for s in scored if intervals_overlap(best.valid_accuracy, s.valid_accuracy)]
    if few:
        have = "has" if len(few) == 1 else "have"
        return f"The comparison is preliminary: {_settings(few)} {have} fewer than 3 completed seeds."
    if close:
        return f"It is not told apart from {_settings(close)}: the 95 % intervals of the means overlap."
    return ""


def _settings(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{len(names)} other settings"


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one}" if n == 1 else f"{n} {many or one + 's'}"


def _distinct(values: Iterable[Any]) -> str:
    texts = {str(value) for value in values if not pd.isna(value)}
    return ", ".join(sorted(texts, key=natural_key)) or MISSING
