"""Agreement between the cells of a setting's seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.drawing import cell_svg
from analysis.drawing.cell_layout import layout
from analysis.drawing.rows import Row, heat_map
from analysis.sections.blocks import Block, Card, Figure, Number, ReportTable, Section, Text
from analysis.sections.cells import LEGEND, TYPES
from analysis.sections.study_data import StudyData
from analysis.sections.wording import number, parsed
from analysis.statistics.agreement import (
    CellAgreement,
    CellType,
    Consensus,
    chance_agreement,
    consensus,
    similarity_matrix,
    summarize_agreement,
)
from analysis.statistics.correlation import alpha_rank_correlation
from analysis.statistics.summaries import rank_searches
from pcdarts.genotype import Genotype
from pcdarts.spaces import SPACES, SpaceName

MAX_SETTINGS = 60
"""Settings whose seeds are compared."""
MAX_CELLS = 100
"""Searches of a setting whose cells are compared, the first by seed; the time is quadratic."""
MAX_SEEDS_SHOWN = 16
"""Rows of a similarity matrix."""


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


def section(data: StudyData) -> Section:
    """The agreement of every setting, and the cells of one of them in detail."""
    found = setting_cells(data.searches, data.order)
    blocks: list[Block] = [Text(text="No setting has cells from two seeds, so there is nothing to compare.")]
    several = [cells_of for cells_of in found if len(cells_of.genotypes) > 1 and cells_of.agreement is not None]
    if several:
        blocks = [agreement_table(found, alpha_agreement(data))]
        shown = next((each for each in several if each.setting == _recommended_setting(data)), several[0])
        blocks += similarity_figures(shown)
        card = consensus_card(shown)
        blocks += [LEGEND, card] if card else []
    return Section(id="agreement", title="Agreement between seeds", short="Agreement", blocks=tuple(blocks))


def alpha_agreement(data: StudyData) -> dict[str, float]:
    """Kendall's tau of alpha across the seeds of a setting, mean of the cell types, where alphas were recorded."""
    found = {}
    for setting, group in data.final_alphas.groupby("setting"):
        try:
            values = [
                alpha_rank_correlation(np.array([[list(edge) for edge in alpha] for alpha in group[name]], dtype=float))
                for name in ("alphas_normal", "alphas_reduce")
            ]
        except ValueError:  # alphas of different shapes have no common order
            continue
        found[str(setting)] = float(np.mean(values))
    return found


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


def agreement_table(found: Sequence[SettingCells], tau: Mapping[str, float]) -> ReportTable:
    """One row for each setting with two cells: its agreement next to what random cells exceed in 5 % of cases."""
    rows = [
        (
            cells_of.setting,
            str(cells_of.agreement.n),
            str(cells_of.agreement.distinct),
            *_measures(cells_of.agreement, cells_of.space),
            number(tau.get(cells_of.setting, math.nan)),
        )
        for cells_of in found
        if cells_of.agreement is not None and cells_of.agreement.n > 1
    ]
    return ReportTable(
        id="agreement",
        caption="Agreement between the cells of a setting's seeds, normal / reduction",
        headings=(
            "setting",
            "searches",
            "distinct cells",
            "similarity, normal / reduction",
            "chance up to, normal / reduction",
            "kappa, normal / reduction",
            "chance up to, normal / reduction (kappa)",
            "similarity up to isomorphism, normal / reduction",
            "tau of alpha",
        ),
        rows=tuple(rows),
        wide_columns=frozenset({"setting"}),
        note=(
            "Similarity: share of equal (node, input, operation) triples, mean over all pairs of seeds, 0 to 1. Kappa: "
            "Fleiss' kappa over the edges; 1 is full agreement. Chance up to: what as many independent random cells of "
            "the search space exceed in 5 % of cases; agreement below it can be chance. Up to "
            "isomorphism: with nodes matched as well as possible. Tau: Kendall's tau of the order of operations in "
            f"alpha, mean over edges and pairs of seeds. At most {MAX_CELLS} searches of a setting are compared."
        ),
    )


def similarity_figures(cells_of: SettingCells) -> list[Figure]:
    """Similarity of each pair of seeds of a setting, one heat map per cell type; empty for fewer than two seeds."""
    if len(cells_of.genotypes) < 2 or cells_of.agreement is None:
        return []
    seeds, genotypes = cells_of.seeds[:MAX_SEEDS_SHOWN], cells_of.genotypes[:MAX_SEEDS_SHOWN]
    figures = []
    for cell, name in TYPES:
        matrix = similarity_matrix(genotypes, cell)
        rows = [
            Row(name=f"seed {seed}", values=tuple(map(float, line))) for seed, line in zip(seeds, matrix, strict=True)
        ]
        svg = heat_map(
            rows,
            list(map(str, seeds)),
            f"Similarity of the seeds of {cells_of.setting}, {name.lower()}",
            "seed",
            low=0.0,
            high=1.0,
            cell=(34.0, 24.0),
            numbers=True,
        )
        beyond = f" (the first {MAX_SEEDS_SHOWN} seeds)" if len(cells_of.seeds) > MAX_SEEDS_SHOWN else ""
        caption = f"{name}: similarity of each pair of seeds of {cells_of.setting}{beyond}."
        figures.append(Figure(caption=caption, svg=Markup(svg), half=True))
    return figures


def consensus_card(cells_of: SettingCells) -> Card | None:
    """The consensus cell of a setting with the share of seeds on each edge; None for fewer than two seeds."""
    if len(cells_of.genotypes) < 2 or cells_of.agreement is None:
        return None
    found = consensus(cells_of.genotypes)
    figures = []
    for cell, name in TYPES:
        pairs, concat = getattr(found.genotype, cell), getattr(found.genotype, f"{cell}_concat")
        kept = found.normal if cell == "normal" else found.reduce
        placed = layout(pairs, concat)
        shares = [(edge.edge_share, edge.operation_share) for edge in kept]
        svg = cell_svg.draw(placed, f"Consensus of the seeds of {cells_of.setting}, {name.lower()}", shares)
        figures.append(Figure(caption=name, svg=Markup(svg), table=_consensus_table(found, cell, name)))
    return Card(
        title=f"Consensus cell of the {found.n} seeds of {cells_of.setting}",
        facts=(
            ("percentage on an edge", "share of seeds that keep the edge, with any operation"),
            ("filled part of a label", "share of seeds that keep the edge with this operation"),
            ("definition", "the two most frequent edges into each node; possibly a cell that no seed found"),
        ),
        figures=tuple(figures),
        code=str(found.genotype),
    )


def _recommended_setting(data: StudyData) -> str:
    """Setting of a search that found the recommended cell; empty without one."""
    cell = data.conclusions.recommendation
    found = data.searches[data.searches["genotype_digest"] == (cell.digest if cell else "")]["setting"]
    return str(found.iloc[0]) if len(found) else ""


def _measures(found: CellAgreement, space: SpaceName | None) -> tuple[str, ...]:
    chance = chance_agreement(space, found.n) if space else None
    return (
        _pair(found.similarity_normal, found.similarity_reduce),
        _pair(chance.similarity_normal, chance.similarity_reduce) if chance else number(None),
        _pair(found.kappa_normal, found.kappa_reduce),
        _pair(chance.kappa_normal, chance.kappa_reduce) if chance else number(None),
        _pair(found.isomorphic_similarity_normal, found.isomorphic_similarity_reduce),
    )


def _pair(first: float, second: float) -> Number:
    return Number(f"{number(first)} / {number(second)}", first, second)


def _consensus_table(found: Consensus, cell: CellType, name: str) -> ReportTable:
    return ReportTable(
        id=f"consensus-{cell}",
        caption=f"{name}: share of {found.n} seeds, percent",
        headings=("edge", "operation", "keep the edge", "with this operation"),
        rows=tuple(
            (
                f"{edge.source} → {edge.target}",
                edge.operation,
                number(100 * edge.edge_share, 0),
                number(100 * edge.operation_share, 0),
            )
            for edge in (found.normal if cell == "normal" else found.reduce)
        ),
        text_columns=frozenset({"operation"}),
    )
