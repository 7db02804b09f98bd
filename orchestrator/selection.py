"""Which cells deserve retraining: pure functions on rows of the table `searches`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    valid_accuracy: float
    """Best validation accuracy of these searches, percent."""
    network_parameters: int
    """Weights at retraining size."""
    network_macs: int
    """Multiply-adds of an image at retraining size."""
    reason: str
    """Why it stands where it stands."""


def select(searches: Iterable[Mapping[str, Any]], selection: SelectionConfig) -> list[Candidate]:
    """The best distinct cells within the limits: highest validation accuracy first, ties by search id.

    Searches that a collapse rule stopped count; those that failed, or have no accuracy, are passed over.
    """
    rows = [row for row in searches if row["status"] != "failed" and row["valid_accuracy"] == row["valid_accuracy"]]
    rows.sort(key=lambda row: (-row["valid_accuracy"], row["search_id"]))
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["genotype_digest"], []).append(row)
    fitting = [group for group in groups.values() if _within(group[0], selection)]
    return [_candidate(group, len(rows)) for group in fitting[: selection.top]]


def _within(row: Mapping[str, Any], selection: SelectionConfig) -> bool:
    limits = ((row["network_parameters"], selection.max_parameters), (row["network_macs"], selection.max_macs))
    return all(not limit or size <= limit for size, limit in limits)


def _candidate(group: list[Mapping[str, Any]], completed: int) -> Candidate:
    best = group[0]
    return Candidate(
        genotype=best["genotype"],
        genotype_digest=best["genotype_digest"],
        origins=tuple(row["search_id"] for row in group),
        valid_accuracy=best["valid_accuracy"],
        network_parameters=best["network_parameters"],
        network_macs=best["network_macs"],
        reason=f"validation accuracy {best['valid_accuracy']:.2f} %, found by {len(group)} of {completed} searches",
    )
