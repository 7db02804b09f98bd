"""Which cells deserve retraining: pure functions on rows of the table `searches`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from orchestrator.config import SelectionConfig


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A distinct cell and the searches that found it."""

    genotype: str
    """The cells as the best of these searches found them."""
    genotype_digest: str
    """Equal for isomorphic cells."""
    origins: tuple[str, ...]
    """Searches that found it, the best first."""
    valid_accuracy: float | None
    """Best validation accuracy of these searches, percent; None for random cells."""
    network_parameters: int
    """Weights at retraining size."""
    network_macs: int
    """Multiply-adds of an image at retraining size."""
    reason: str
    """Why it stands where it stands."""


def select(searches: Iterable[Mapping[str, Any]], selection: SelectionConfig) -> list[Candidate]:
    """The best distinct cells within the limits: highest validation accuracy first, ties by search id.

    Random cells have no accuracy to be ranked by: as many places as the searched ones have come after these, and go to
    the first distinct ones in order of seed.  Searches that a collapse rule stopped count; those that failed, and those
    without a finite accuracy, are passed over.
    """
    ended = [row for row in searches if row["status"] != "failed"]
    random = [row for row in ended if row["method"] == "random"]
    random.sort(key=lambda row: (row["seed"], row["search_id"]))
    searched = [row for row in ended if row["valid_accuracy"] is not None and isfinite(row["valid_accuracy"])]
    searched.sort(key=lambda row: (-row["valid_accuracy"], row["search_id"]))
    best = _distinct(searched, selection)
    taken = {group[0]["genotype_digest"] for group in best}
    baseline = _distinct([row for row in random if row["genotype_digest"] not in taken], selection)
    return [
        *(_candidate(group, _searched_reason(group, len(searched))) for group in best),
        *(_candidate(group, f"random baseline, seed {group[0]['seed']}") for group in baseline),
    ]


def _distinct(rows: Iterable[Mapping[str, Any]], selection: SelectionConfig) -> list[list[Mapping[str, Any]]]:
    """The rows of the first `top` cells within the limits, isomorphic ones together."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["genotype_digest"], []).append(row)
    return [group for group in groups.values() if _within(group[0], selection)][: selection.top]


def _within(row: Mapping[str, Any], selection: SelectionConfig) -> bool:
    limits = ((row["network_parameters"], selection.max_parameters), (row["network_macs"], selection.max_macs))
    return all(not limit or size <= limit for size, limit in limits)


def _searched_reason(group: list[Mapping[str, Any]], searches: int) -> str:
    accuracy = group[0]["valid_accuracy"]
    return f"validation accuracy {accuracy:.2f} %, found by {len(group)} of {searches} searches"


def _candidate(group: list[Mapping[str, Any]], reason: str) -> Candidate:
    best = group[0]
    return Candidate(
        genotype=best["genotype"],
        genotype_digest=best["genotype_digest"],
        origins=tuple(row["search_id"] for row in group),
        valid_accuracy=best["valid_accuracy"],
        network_parameters=best["network_parameters"],
        network_macs=best["network_macs"],
        reason=reason,
    )
