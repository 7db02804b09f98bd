"""Words of the report: numbers as text."""

import math
import textwrap
from typing import Any

import pandas as pd

from analysis.sections.blocks import Number
from analysis.statistics.bootstrap import Estimate
from analysis.statistics.summaries import Summary

MISSING = "–"


def number(value: Any, digits: int = 2) -> Number:
    """A number with thousands separators; a dash if it is missing or NaN."""
    if value is None or pd.isna(value):
        return Number(MISSING, math.nan)
    text = f"{value:,.{digits}f}"
    return Number(text.removeprefix("-") if float(text.replace(",", "")) == 0 else text, value)


def millions(count: float | None) -> Number:
    """A count in millions with three digits or more; a dash if it is missing or NaN."""
    if count is None or pd.isna(count):
        return number(None)
    return number(count / 1e6, 0 if count >= 1e8 else 1 if count >= 1e7 else 2)


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


def row_dicts(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a frame as dictionaries."""
    return list(frame.to_dict("records"))


def duration(seconds: float) -> str:
    """A time in its largest unit of which there are at least two."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"
