"""The cells of a setting's seeds, which are compared with each other."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from analysis.statistics.agreement import CellAgreement, summarize_agreement
from analysis.statistics.summaries import rank_searches
from pcdarts.genotype import Genotype
from pcdarts.spaces import SPACES, SpaceName

MAX_SETTINGS = 60
"""Settings whose seeds are compared."""
MAX_CELLS = 100
"""Searches of a setting whose cells are compared, the first by seed; the time is quadratic."""


@dataclass(frozen=True, kw_only=True)
class SettingCells:
    """The cells of the seeds of one setting."""

    setting: str
    """Name of the setting."""
    seeds: tuple[int, ...]
    """Seeds of the searches."""
    genotypes: tuple[Genotype, ...]
    """Their cells, in the same order, without those that cannot be parsed."""
    agreement: CellAgreement | None
    """Their agreement; None for cells of different sizes."""
    space: SpaceName | None
    """Their search space; None if an import does not know it."""


@lru_cache(maxsize=20_000)
def parsed(genotype: str | None) -> Genotype | None:
    """The genotype in a text; None if it cannot be parsed."""
    try:
        return Genotype.parse(genotype or "")
    except ValueError:
        return None


def setting_cells(searches: pd.DataFrame, settings: Iterable[str]) -> list[SettingCells]:
    """The cells of each setting with a result, at most MAX_SETTINGS, with their agreement."""
    by_setting = dict(list(rank_searches(searches).dropna(subset=["genotype"]).groupby("setting")))
    found = []
    for setting in [name for name in settings if name in by_setting][:MAX_SETTINGS]:
        rows = by_setting[setting].sort_values(["seed", "search_id"]).head(MAX_CELLS)
        pairs = [(int(seed), parsed(text)) for seed, text in zip(rows["seed"], rows["genotype"], strict=True)]
        read = [(seed, genotype) for seed, genotype in pairs if genotype is not None]
        if not read:
            continue
        seeds, genotypes = zip(*read, strict=True)
        sizes = {(len(g.normal), len(g.reduce)) for g in genotypes}
        agreement = summarize_agreement(genotypes) if len(sizes) == 1 else None
        spaces = [space for space in SPACES if set(rows["space"]) == {space}]
        found.append(
            SettingCells(
                setting=setting,
                seeds=seeds,
                genotypes=genotypes,
                agreement=agreement,
                space=spaces[0] if spaces else None,
            )
        )
    return found
