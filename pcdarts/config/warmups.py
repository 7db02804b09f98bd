"""Warm-ups for another number of epochs.  Needs the standard library alone."""

from collections.abc import Mapping
from typing import Any

WARMUPS = ("warmup_epochs", "learning_rate_warmup_epochs")
"""Fields of a search or a retraining that count epochs at the start."""


def scaled_warmups(fields: Mapping[str, Any], epochs: int) -> dict[str, int]:
    """The warm-ups of a configuration that change if it is run for another number of epochs.

    For fewer epochs they keep their share.  For more they keep their length, as in the official code, where they are
    absolute numbers.
    """
    if epochs >= fields["epochs"]:
        return {}
    scaled = {
        name: min(round(fields[name] * epochs / fields["epochs"]), epochs - 1) for name in WARMUPS if fields.get(name)
    }
    return {name: value for name, value in scaled.items() if value != fields[name]}
