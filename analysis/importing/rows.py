"""Rows of a CSV or JSON file, as dictionaries with the values of the file."""

import csv
import json
from pathlib import Path
from typing import Any, Literal

Format = Literal["csv", "json"]


def read_rows(path: Path, kind: Format, *, delimiter: str = ",") -> list[dict[str, Any]]:
    """The rows of a CSV file with a header, of a JSON list of objects, or of a file with one JSON object per line.

    Empty texts become None.  Raises ValueError that names the row, counted from 1 without the header.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"{path} cannot be read: {reason}; give a {kind.upper()} file") from None
    rows = _csv_rows(path, text, delimiter) if kind == "csv" else _json_rows(path, text)
    if not rows:
        raise ValueError(f"{path} has no rows, but must have at least one")
    return [{name: None if value == "" else value for name, value in row.items()} for row in rows]


def _csv_rows(path: Path, text: str, delimiter: str) -> list[dict[str, Any]]:
    if len(delimiter) != 1:
        raise ValueError(f"the delimiter is {delimiter!r}, but must be one character, such as ;")
    try:
        header, *lines = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)) or [[]]
    except csv.Error as error:
        raise ValueError(f"{path} is not valid CSV: {error}") from None
    if len(set(header)) < len(header):
        raise ValueError(f"{path} names a column twice: {', '.join(header)}; rename one")
    rows = []
    for number, values in enumerate((line for line in lines if line), start=1):
        if len(values) != len(header):
            raise ValueError(
                f"{path}, row {number} has {len(values)} values, but the header names {len(header)} columns; quote "
                'values that contain the delimiter, as in "Genotype(...)", or give another --delimiter'
            )
        rows.append({name.strip(): value.strip() for name, value in zip(header, values, strict=True)})
    return rows


def _json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(t) for t in text.splitlines() if t]
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not valid JSON: {error}; it must hold a list of objects, or one object per line"
        ) from None
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{path}, row {number} is {str(row)[:40]!r}, but must be an object with named values")
    return list(found)
