"""Which cells of a stage go on to the next one: pure functions on the results of their trainings."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.records import Candidate
from analysis.statistics.ranking import RankedCell, rank_cells

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Completed rows of the table `retrains` by the digest of their cell."""


def promote(
    cells: Sequence[Candidate],
    results: Results,
    *,
    stage: str,
    keep: int,
    settings: Mapping[str, Sequence[str]] | None = None,
) -> list[Candidate]:
    """The best `keep` cells of a stage, ranked as by `rank_cells`; ties go to fewer multiply-adds.

    With `settings`, which names those of every cell by its digest, the best cell of each of them is kept too: instead
    of the last of the others, or besides if there are more than `keep` settings.  A cell without a result is out.
    """
    by_digest = {cell.genotype.digest: cell for cell in sorted(cells, key=lambda cell: cell.network_macs)}
    ranking = rank(by_digest, results)
    leaders = _leaders(ranking, settings or {})
    others = [cell.digest for cell in ranking if cell.digest not in leaders]
    chosen = {*leaders, *others[: max(0, keep - len(leaders))]}
    promoted = []
    for place, ranked in enumerate(ranking, 1):
        if ranked.digest in chosen:
            reason = f"{stage}: place {place} of {len(ranking)}, {_value(ranked)}"
            if place > keep:
                reason += f"; kept as the best cell of {' and '.join(leaders[ranked.digest])}"
            promoted.append(replace(by_digest[ranked.digest], reason=reason))
    return promoted


def rank(digests: Mapping[str, Any], results: Results) -> list[RankedCell]:
    """The cells of a stage that have a result, the best first."""
    rows = {digest: results.get(digest, ()) for digest in digests}
    images = {row["validation_images"] for group in rows.values() for row in group}
    accuracies = {digest: [chosen_accuracy(row) for row in group] for digest, group in rows.items()}
    return rank_cells(accuracies, images.pop() if len(images) == 1 else None)


def chosen_accuracy(row: Mapping[str, Any]) -> float:
    """Validation accuracy of the weights that the test set is evaluated with, percent."""
    return float(row["ema_valid_accuracy" if row["chosen_weights"] == "ema" else "valid_accuracy"])


def _leaders(ranking: Sequence[RankedCell], settings: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The best cell of every setting, with these settings."""
    best = {setting: cell.digest for cell in reversed(ranking) for setting in settings.get(cell.digest, ())}
    leaders: dict[str, list[str]] = {}
    for setting, digest in sorted(best.items()):
        leaders.setdefault(digest, []).append(setting)
    return leaders


def _value(ranked: RankedCell) -> str:
    if ranked.trainings == 1:
        return f"{ranked.value:.2f} % (validation {ranked.mean:.2f} % - standard error {ranked.standard_error:.2f})"
    return (
        f"{ranked.value:.2f} % (mean validation {ranked.mean:.2f} % of {ranked.trainings} trainings - standard error "
        f"{ranked.standard_error:.2f})"
    )
