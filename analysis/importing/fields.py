"""Fields that an import can fill, and the conversion of a file's values to their types."""

import difflib
import json
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from analysis.records import DerivedNetwork
from analysis.tables import RETRAINS, SEARCHES, Column
from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.config.fields import kind_text
from pcdarts.results import RetrainResult, SearchResult

Unit = Literal["percent", "fraction"]
RETRAIN = "retrain."
"""Prefix of the fields of a retraining."""
ERRORS = {
    "valid_error": "valid_accuracy",
    f"{RETRAIN}valid_error": f"{RETRAIN}valid_accuracy",
    f"{RETRAIN}test_error": f"{RETRAIN}test_accuracy",
}
"""Fields that are stored as another one, 100 % minus their value."""


def _plain_columns(columns: Sequence[Column], *records: type) -> dict[str, Column]:
    names = {field.name for record in records for field in fields(record)} - {"genotype_digest", "test_correct"}
    return {c.name: c for c in columns if c.name in names and typing.get_origin(c.annotation) is not tuple}


FIELDS: dict[str, Column] = {
    **{column.name: column for column in SEARCHES.columns if column.name == "setting"},
    **_plain_columns(SEARCHES.columns, SearchConfig, SearchResult, DerivedNetwork),
    **{
        f"{RETRAIN}{name}": column
        for name, column in _plain_columns(RETRAINS.columns, RetrainConfig, RetrainResult).items()
    },
}
"""The columns of `searches` and `retrains` that an import can fill; those of `retrains` begin with `retrain.`."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the values of fields come from.  Fields without a source stay missing.  Raises ValueError for others."""

    columns: Mapping[str, str]
    """Column of the file, by field."""
    values: Mapping[str, Any]
    """Value that all rows share, by field; text is converted."""
    unit: Unit | None = None
    """Unit of accuracies and errors."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", _full_names(self.columns))
        object.__setattr__(self, "values", _full_names(self.values))
        both = [name for name in self.columns if name in self.values]
        if both:
            raise ValueError(f"{both[0]} has a column and a value, but must have one source; remove one")
        for error, accuracy in ERRORS.items():
            if error in self.columns and accuracy in self.columns:
                raise ValueError(f"{error} and {accuracy} both have a column, but are stored as one; remove one")

    def read(self, rows: Sequence[Mapping[str, Any]], file: str) -> list[dict[str, Any]]:
        """The values of all fields, for each row.  Raises ValueError that names the row, the column and the remedy."""
        known = column_names(rows)
        for name, column in self.columns.items():
            if column not in known:
                raise ValueError(f"{file} has no column {column!r} for {name}; its columns are {', '.join(known)}")
        shared = {name: _converted(name, value, f"--set {name}") for name, value in self.values.items()}
        found = [
            shared
            | {
                name: _converted(name, row.get(column), f"{file}, row {number}: column {column}")
                for name, column in self.columns.items()
            }
            for number, row in enumerate(rows, start=1)
        ]
        for name in filter(_is_percentage, self.columns):
            self._to_percent(name, found, file)
        return found

    def _to_percent(self, name: str, rows: Sequence[dict[str, Any]], file: str) -> None:
        """Convert one field of all rows to percent, and errors to accuracies."""
        column, values = self.columns[name], [row[name] for row in rows if row[name] is not None]
        if not values:
            return
        low, high = min(values), max(values)
        if self.unit is None:
            raise ValueError(
                f"{file}: the values of column {column} lie between {low:g} and {high:g}, but nothing says in which "
                "unit; give --unit percent or --unit fraction"
            )
        most = 100 if self.unit == "percent" else 1
        for number, row in enumerate(rows, start=1):
            if row[name] is not None and not 0 <= row[name] <= most:
                raise ValueError(
                    f"{file}, row {number}: column {column} is {row[name]:g}, but must be between 0 and {most} with "
                    f"--unit {self.unit}; correct it, or give the other unit"
                )
        if self.unit == "percent" and 0 < high <= 1 and name not in ERRORS:
            raise ValueError(
                f"{file}: no value of column {column} is above 1 %, the largest is {high:g}; give --unit fraction if "
                "they are fractions"
            )
        for row in rows:
            value = row.pop(name)
            percent = None if value is None else value * (100 / most)
            row[ERRORS.get(name, name)] = 100 - percent if name in ERRORS and percent is not None else percent


def column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all columns, in the order of their first rows."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _full_names(texts: Mapping[str, Any]) -> dict[str, Any]:
    """The same with full names of fields: what `retrains` alone has needs no prefix, as in test_accuracy."""
    full = {}
    for name, text in texts.items():
        found = name if name in FIELDS or name in ERRORS else RETRAIN + name
        if found not in FIELDS and found not in ERRORS:
            close = difflib.get_close_matches(name, [*FIELDS, *ERRORS], n=1)
            hint = f"did you mean {close[0]}?" if close else "`pcdarts columns` explains them"
            raise ValueError(f"{name} is no column of `searches`, nor `retrain.` and a column of `retrains`; {hint}")
        full[found] = text
    return full


def _is_percentage(name: str) -> bool:
    return name in ERRORS or name.rpartition(".")[2].removeprefix("ema_") in {
        *("train_accuracy", "valid_accuracy", "test_accuracy", "valid_top5", "test_top5"),
        *("discretized_accuracy", "discretized_accuracy_recalibrated", "random_cells_accuracy_recalibrated"),
    }


def _converted(name: str, value: Any, where: str) -> Any:
    """A value of a field's type; None if it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    column = FIELDS[ERRORS.get(name, name)]
    kind, text = column.annotation, (json.dumps(value) if isinstance(value, dict) else str(value)).strip()
    if text.lower() in {"", "nan", "na", "none", "null"} and "none" not in column.choices:
        return None
    for choice in column.choices or ((True, False) if kind is bool else ()):
        if text.lower() == str(choice).lower():
            return choice
    if not column.choices and kind is not bool:
        try:
            return _number(kind, text) if kind in (int, float) else text
        except ValueError:
            pass
    raise ValueError(f"{where} is {text[:60]!r}, but must be {kind_text(kind)}; correct it, or leave it empty")


def _number(kind: type, text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or (kind is int and not value.is_integer()):
        raise ValueError
    return kind(value)
