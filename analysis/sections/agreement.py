"""Agreement between the cells of a setting's seeds."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from analysis.drawing import cell_svg
from analysis.drawing.cell_layout import layout
from analysis.figures.heat_maps import MAX_SEEDS
from analysis.sections.blocks import Block, Card, Figure, Number, ReportTable, Section, Text
from analysis.sections.cells import LEGEND, TYPES
from analysis.sections.charts import charts
from analysis.sections.wording import number
from analysis.statistics.agreement import CellAgreement, CellType, Consensus, chance_agreement, consensus
from analysis.statistics.correlation import alpha_rank_correlation
from analysis.statistics.seed_cells import MAX_CELLS, SettingCells
from analysis.study_data import StudyData
from pcdarts.spaces import SpaceName


def section(data: StudyData) -> Section:
    """The agreement of every setting, and the cells of one of them in detail."""
    found, shown = data.seed_cells, data.compared_cells
    blocks: list[Block] = [Text(text="No setting has cells from two seeds, so there is nothing to compare.")]
    if shown is not None:
        blocks = [agreement_table(found, alpha_agreement(data))]
        beyond = f" (the first {MAX_SEEDS} seeds)" if len(shown.seeds) > MAX_SEEDS else ""
        caption = f"similarity of each pair of seeds of {shown.setting}{beyond}."
        blocks += charts("similarity", data, lambda cell, _: f"{cell.capitalize()}: {caption}")
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
