"""Which cells of the searches are retrained: a pure function on rows of the table `searches`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest
from math import isfinite
from statistics import fmean
from typing import Any

from analysis.records import Candidate
from analysis.statistics.summaries import WITH_RESULT
from orchestrator.config import SelectionConfig
from pcdarts.genotype import Genotype
from pcdarts.results import STOPPED_BY_HAND

Row = Mapping[str, Any]


def select(searches: Iterable[Row], selection: SelectionConfig) -> list[Candidate]:
    """The first `selection.top` distinct cells of every setting that are within the limits, one per setting in turn.

    Settings are never compared here: one-shot accuracies of different super-networks say nothing about their cells.
    Within a setting, cells that a collapse rule warned about in every search that found them come last, and cells that
    more searches found come first.  One-shot accuracy then only breaks ties, because nothing better is known; the next
    ties go to fewer multiply-adds and the lower search id.  Random cells have no accuracy: they come in order of seed.

    A cell that several settings found is one candidate, which counts for each.  Searches that were stopped early
    count; those that failed or have no finite accuracy do not.
    """
    rows = sorted((row for row in searches if _has_result(row)), key=lambda row: (row["seed"], row["search_id"]))
    by_setting = _grouped(rows, "setting")
    chosen = [_of_setting(setting, by_setting[setting], selection) for setting in sorted(by_setting)]
    cells: dict[str, Candidate] = {}
    for cell in (cell for turn in zip_longest(*chosen) for cell in turn if cell is not None):
        digest = cell.genotype.digest
        cells[digest] = _merged(cells[digest], cell) if digest in cells else cell
    return list(cells.values())


def settings_of_cells(searches: Iterable[Row]) -> dict[str, list[str]]:
    """The settings of the searches that found each cell, by its digest; sorted."""
    groups = _grouped((row for row in searches if _has_result(row)), "genotype_digest")
    return {digest: sorted({row.get("setting") or "" for row in group}) for digest, group in groups.items()}


def _of_setting(setting: str, rows: list[Row], selection: SelectionConfig) -> list[Candidate]:
    """The chosen cells of a setting."""
    groups = sorted(_grouped(rows, "genotype_digest").values(), key=_order)
    within = [group for group in groups if _within(group[0], selection)]
    return [
        _candidate(group, f"{setting}: {_reason(group, place, len(groups), len(rows))}".removeprefix(": "))
        for place, group in enumerate(within[: selection.top], 1)
    ]


def _order(group: list[Row]) -> tuple[Any, ...]:
    """Sort key of the searches of a setting that found a cell."""
    first = group[0]
    if _is_random(first):
        return (first["seed"], first["search_id"])
    return (_warned(group), -len(group), -_one_shot(group), first["network_macs"], first["search_id"])


def _reason(group: list[Row], place: int, cells: int, searches: int) -> str:
    text = f"place {place} of {cells}"
    if _is_random(group[0]):
        return f"{text}, random cell of seed {group[0]['seed']}"
    text += (
        f", found by {len(group)} of {searches} searches, ties broken by one-shot accuracy ({_one_shot(group):.2f} %)"
    )
    return f"{text}; after the others, because a collapse rule fired" if _warned(group) else text


def _candidate(group: list[Row], reason: str) -> Candidate:
    accuracies = [row["valid_accuracy"] for row in group if not _is_random(row)]
    return Candidate(
        genotype=Genotype.parse(group[0]["genotype"]),
        origins=tuple(row["search_id"] for row in group),
        valid_accuracy=max(accuracies, default=None),
        network_parameters=group[0]["network_parameters"],
        network_macs=group[0]["network_macs"],
        reason=reason,
    )


def _merged(cell: Candidate, other: Candidate) -> Candidate:
    """A cell that was chosen for two settings."""
    accuracies = [each.valid_accuracy for each in (cell, other) if each.valid_accuracy is not None]
    return replace(
        cell,
        origins=(*cell.origins, *other.origins),
        valid_accuracy=max(accuracies, default=None),
        reason=f"{cell.reason}; {other.reason}",
    )


def _has_result(row: Row) -> bool:
    accuracy = row["valid_accuracy"]
    return row["status"] in WITH_RESULT and (_is_random(row) or (accuracy is not None and isfinite(accuracy)))


def _is_random(row: Row) -> bool:
    return row["method"] == "random"


def _one_shot(group: list[Row]) -> float:
    """Mean one-shot accuracy of the searches that found a cell, percent."""
    return fmean(row["valid_accuracy"] for row in group)


def _warned(group: list[Row]) -> bool:
    """Whether all searches that found a cell ran on after a warning; one that a rule stops returns an earlier cell."""
    by_rule = [row["status"] == "stopped" and row.get("stop_reason") != STOPPED_BY_HAND for row in group]
    return all(row.get("warnings") and not stopped for row, stopped in zip(group, by_rule, strict=True))


def _grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    """Rows by their value in a column, in their order; isomorphic cells have one digest."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get(name) or "", []).append(row)
    return groups


def _within(row: Row, selection: SelectionConfig) -> bool:
    limits = ((row["network_parameters"], selection.max_parameters), (row["network_macs"], selection.max_macs))
    return all(not limit or size <= limit for size, limit in limits)
