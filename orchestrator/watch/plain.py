"""Values of tables as JSON: short numbers, None for what is missing."""

import math
import re
from typing import Any

import numpy as np

DIGITS = 6
"""Significant digits of the numbers that are sent; the downloads have all."""


def plain(value: Any) -> Any:
    """A value of a table as JSON, numbers rounded to DIGITS significant digits."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return (float(f"{number:.{DIGITS}g}") if abs(number) < 1e9 else number) if math.isfinite(number) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return str(value) if value == value else None  # pd.NA and NaT are not equal to themselves


def whole(value: Any) -> int | None:
    """A whole number that a column with missing values holds as a float; None if it is missing."""
    return None if value is None or value != value else int(value)


def numbers(values: Any) -> list[float | None]:
    """Numbers as JSON."""
    return [plain(value) for value in np.asarray(values, float)]


def natural(text: str) -> list[tuple[int, float, str]]:
    """A sort key by which k=2 comes before k=16."""
    pieces = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(1, float(piece), "") if index % 2 else (0, 0.0, piece) for index, piece in enumerate(pieces)]
