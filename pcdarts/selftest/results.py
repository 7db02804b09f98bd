"""Results of the parts of the self-test, and the JSON file that holds them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Verdict = Literal["pass", "fail", "slower than expected", "not run"]
Value = str | int | float | bool | None
Row = dict[str, Value]

FORMAT = 1
"""Version of the JSON file."""


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What a part of the self-test found.  Raises ValueError for an unknown verdict, and for one without a reason."""

    name: str
    """Short name, as in the command line."""
    title: str
    """What the part measures, in one line."""
    verdict: Verdict
    """pass, fail, slower than expected or not run."""
    reason: str
    """Why, in one sentence."""
    seconds: float = 0.0
    """Time that the part took; seconds."""
    tables: dict[str, list[Row]] = field(default_factory=dict)
    """Rows of numbers by the caption of their table; names of columns end in a unit."""
    costs: dict[str, float] = field(default_factory=dict)
    """Extrapolated cost of whole runs on this machine, by their description; hours."""

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"verdict is {self.verdict!r}, but must be one of {', '.join(get_args(Verdict))}")
        if not self.reason:
            raise ValueError("reason is empty, but must say why the verdict holds; add a sentence")


def to_json(machine: Mapping[str, Value], parts: Sequence[PartResult], *, finished: bool) -> bytes:
    """The file `selftest.json`: format, finished, machine, verdict, costs and parts.

    `finished` is false until the last part has ended, so that a run that was cut off can be told from a whole one.
    """
    content = {
        "format": FORMAT,
        "finished": finished,
        "machine": dict(machine),
        "verdict": overall(parts),
        "costs": costs(parts),
        "parts": [dataclasses.asdict(part) for part in parts],
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False).encode()


def from_dict(values: Mapping[str, Any]) -> PartResult:
    """A part's result from what `dataclasses.asdict` returned."""
    return PartResult(**values)


def overall(parts: Sequence[PartResult]) -> Verdict:
    """The worst verdict of the parts; `not run` only if none ran."""
    found = [part.verdict for part in parts]
    for verdict in ("fail", "slower than expected", "pass"):
        if verdict in found:
            return verdict
    return "not run"


def costs(parts: Sequence[PartResult]) -> dict[str, float]:
    """Extrapolated costs of all parts, hours."""
    return {name: hours for part in parts for name, hours in part.costs.items()}


def _finite(value: Any) -> Any:
    """The value with NaN and infinity as text: JSON has neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
