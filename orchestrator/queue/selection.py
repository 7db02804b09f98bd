"""Which cells deserve retraining: pure functions on rows of the table `searches` and on proxy accuracies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, sqrt
from statistics import fmean
from typing import Any

from analysis.records import Candidate
from orchestrator.config import SelectionConfig
from pcdarts.genotype import Genotype

CONFIDENCE = 1.645
"""Standard errors below the mean at which cells are ranked.  This is a ranking rule, not a 95 % bound for the best
cells: s is estimated from few trainings, and these cells were picked among many."""


def select(searches: Iterable[Mapping[str, Any]], selection: SelectionConfig) -> list[Candidate]:
    """The best distinct cells within the limits.

    Cells are ranked by their validation accuracy less 1.645 standard errors: mean - 1.645 s / sqrt(n), over the n
    searches that found the cell, with s the standard deviation between searches of one setting (`spread`).  Cells
    found more often rank higher at equal means.  Cells that a collapse rule warned about in every search that found
    them come last, because their accuracy is misleading.  Ties are broken by multiply-adds, fewer first, then by search
    id.

    Random cells have no accuracy to rank by: the first distinct ones in order of seed come after the searched cells, as
    many at most.  Searches that a collapse rule stopped count; those that failed or have no finite accuracy do not.
    """
    ended = [row for row in searches if row["status"] != "failed"]
    random = [row for row in ended if row["method"] == "random"]
    random.sort(key=lambda row: (row["seed"], row["search_id"]))
    searched = [row for row in ended if row["valid_accuracy"] is not None and isfinite(row["valid_accuracy"])]
    searched.sort(key=lambda row: (-row["valid_accuracy"], row["search_id"]))
    deviation = spread(searched)
    groups = _grouped(searched)
    groups.sort(key=lambda g: (_warned(g), -lower_bound(g, deviation), g[0]["network_macs"], g[0]["search_id"]))
    best = _within_limits(groups, selection)
    taken = {group[0]["genotype_digest"] for group in best}
    baseline = _within_limits(_grouped([row for row in random if row["genotype_digest"] not in taken]), selection)
    return [
        *(_candidate(group, _searched_reason(group, len(searched), deviation)) for group in best),
        *(_candidate(group, f"random baseline, seed {group[0]['seed']}") for group in baseline),
    ]


def rerank(
    candidates: Sequence[Candidate], accuracies: Mapping[str, Sequence[float]], *, seeds: int, top: int
) -> list[Candidate]:
    """The best candidates by their proxy retrainings; `accuracies` maps digests to validation accuracies in percent.

    Cells are ranked by mean - 1.645 s / sqrt(n) over the n of `seeds` trainings that succeeded, with s the standard
    deviation between trainings of one cell, pooled over the cells.  Ties are broken by multiply-adds, fewer first, then
    by the given order.  Cells without a result come last.  Random cells are ranked among themselves and come after the
    others, as many at most.
    """
    deviation = pooled_deviation(accuracies.values())

    def key(candidate: Candidate) -> tuple[float, int]:
        values = accuracies.get(candidate.genotype.digest)
        return (-_bound(values, deviation), candidate.network_macs) if values else (inf, 0)

    searched = [candidate for candidate in candidates if candidate.valid_accuracy is not None]
    random = [candidate for candidate in candidates if candidate.valid_accuracy is None]
    before = {c.genotype.digest: f"place {n} of {len(searched)} by the searches" for n, c in enumerate(searched, 1)}
    chosen = []
    for candidate in [*sorted(searched, key=key)[:top], *sorted(random, key=key)[:top]]:
        reason = _proxy_reason(accuracies.get(candidate.genotype.digest, ()), seeds, deviation)
        origin = before.get(candidate.genotype.digest, candidate.reason)
        chosen.append(replace(candidate, reason=f"{reason}; {origin}"))
    return chosen


def spread(searched: Iterable[Mapping[str, Any]]) -> float:
    """Standard deviation of the validation accuracy between searches of one setting, pooled over settings; percent.

    0 if no setting was searched twice.
    """
    settings: dict[str, list[float]] = {}
    for row in searched:
        settings.setdefault(row.get("setting") or "", []).append(row["valid_accuracy"])
    return pooled_deviation(settings.values())


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation of values about the means of their groups; 0 if no group has two."""
    groups = [group for group in groups if group]
    squares = sum((x - fmean(group)) ** 2 for group in groups for x in group)
    freedom = sum(len(group) - 1 for group in groups)
    return sqrt(squares / freedom) if freedom else 0.0


def lower_bound(group: Sequence[Mapping[str, Any]], deviation: float) -> float:
    """Mean - 1.645 s / sqrt(n) of the validation accuracy of the searches that found a cell; percent."""
    return _bound([row["valid_accuracy"] for row in group], deviation)


def _bound(values: Sequence[float], deviation: float) -> float:
    return fmean(values) - CONFIDENCE * deviation / sqrt(len(values))


def _warned(group: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all searches that found a cell ran on after a warning; one that a rule stops returns an earlier cell."""
    return all(row.get("warnings") and row["status"] != "stopped" for row in group)


def _grouped(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Isomorphic cells together, in the order of the rows."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["genotype_digest"], []).append(row)
    return list(groups.values())


def _within_limits(groups: list[list[Mapping[str, Any]]], selection: SelectionConfig) -> list[list[Mapping[str, Any]]]:
    return [group for group in groups if _within(group[0], selection)][: selection.top]


def _within(row: Mapping[str, Any], selection: SelectionConfig) -> bool:
    limits = ((row["network_parameters"], selection.max_parameters), (row["network_macs"], selection.max_macs))
    return all(not limit or size <= limit for size, limit in limits)


def _searched_reason(group: list[Mapping[str, Any]], searches: int, deviation: float) -> str:
    accuracy, bound = fmean(row["valid_accuracy"] for row in group), lower_bound(group, deviation)
    mean = "mean validation accuracy" if len(group) > 1 else "validation accuracy"
    text = f"{mean} {accuracy:.2f} %{_ranked_by(bound, deviation)}, found by {len(group)} of {searches} searches"
    return f"{text}; demoted, because a collapse rule fired" if _warned(group) else text


def _proxy_reason(values: Sequence[float], seeds: int, deviation: float) -> str:
    if not values:
        return "no proxy retraining succeeded"
    bound = _ranked_by(_bound(values, deviation), deviation)
    return f"proxy validation accuracy {fmean(values):.2f} %{bound}, mean of {len(values)} of {seeds} trainings"


def _ranked_by(bound: float, deviation: float) -> str:
    """Empty if the deviation is 0, without repeats or if all are equal: the mean alone ranks then."""
    return f", ranked by {bound:.2f} % (mean - {CONFIDENCE} standard errors)" if deviation else ""


def _candidate(group: list[Mapping[str, Any]], reason: str) -> Candidate:
    best = group[0]
    return Candidate(
        genotype=Genotype.parse(best["genotype"]),
        origins=tuple(row["search_id"] for row in group),
        valid_accuracy=best["valid_accuracy"],
        network_parameters=best["network_parameters"],
        network_macs=best["network_macs"],
        reason=reason,
    )
