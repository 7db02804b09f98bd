"""Cells in the report: drawings of the best ones, and the agreement between the cells of a setting's seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis.drawing import cell_svg as cells
from analysis.drawing.cell_layout import layout
from analysis.drawing.rows import Row, heat_map
from analysis.sections.blocks import Card, Figure, ReportTable
from analysis.sections.wording import number, parsed, row_dicts
from analysis.statistics.agreement import (
    RANDOM_CELLS,
    CellAgreement,
    CellType,
    Consensus,
    consensus,
    random_agreement,
    similarity_matrix,
    summarize_agreement,
)
from analysis.statistics.summaries import SettingSummary, final_jobs, rank_searches
from pcdarts.genotype import Genotype
from pcdarts.spaces import SPACES, SpaceName

MAX_CARDS = 12
"""Cells that are drawn; the tables list all."""
MAX_SETTINGS = 60
"""Settings whose seeds are compared, best first."""
MAX_CELLS = 100
"""Searches of a setting whose cells are compared, the first by seed; the time is quadratic."""
MAX_SEEDS_SHOWN = 16
"""Rows of a similarity matrix."""
TYPES: tuple[tuple[CellType, str], ...] = (("normal", "Normal cell"), ("reduce", "Reduction cell"))


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


def cell_cards(searches: pd.DataFrame, queue: pd.DataFrame) -> list[Card]:
    """The queued cells by rank or, if nothing is queued, the distinct cells of the searches, best first.

    Of the queue, the cells for full retraining; before there are any, those of the proxy stage.
    """
    if len(queue):
        final = final_jobs(queue)
        jobs = (final if len(final) else queue).sort_values(["rank", "job_id"])
        if not len(final):
            jobs = jobs.drop_duplicates("genotype_digest").assign(rank=lambda cells: range(1, len(cells) + 1))
        shown = row_dicts(jobs.head(MAX_CARDS))
        return [_card(f"Rank {job['rank']}", job, list(job["origins"])) for job in shown]
    found = rank_searches(searches).dropna(subset=["genotype", "genotype_digest"])
    best = found.drop_duplicates("genotype_digest").head(MAX_CARDS)
    shown = found[found["genotype_digest"].isin(best["genotype_digest"])]
    found_by = shown.groupby("genotype_digest")["search_id"].apply(list).to_dict()
    return [
        _card(f"Cell {place}", row, found_by[row["genotype_digest"]])
        for place, row in enumerate(row_dicts(best), start=1)
    ]


def setting_cells(searches: pd.DataFrame, summaries: Sequence[SettingSummary]) -> list[SettingCells]:
    """The cells of each setting with a result, at most MAX_SETTINGS, with their agreement."""
    by_setting = dict(list(rank_searches(searches).dropna(subset=["genotype"]).groupby("setting")))
    found = []
    for summary in summaries[:MAX_SETTINGS]:
        if summary.setting not in by_setting:
            continue
        rows = by_setting[summary.setting].sort_values(["seed", "search_id"]).head(MAX_CELLS)
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
                setting=summary.setting,
                seeds=seeds,
                genotypes=genotypes,
                agreement=agreement,
                space=spaces[0] if spaces else None,
            )
        )
    return found


def agreement_table(found: Sequence[SettingCells], tau: Mapping[str, float]) -> ReportTable:
    """One row for each setting: similarity, Fleiss' kappa, and Kendall's tau of alpha (NaN if unknown).

    The last rows give the same for random cells of each search space.
    """
    rows = [
        (
            cells_of.setting,
            str(cells_of.agreement.n),
            *_measures(cells_of.agreement, tau.get(cells_of.setting, math.nan)),
        )
        for cells_of in found
        if cells_of.agreement is not None
    ]
    compared = {cells_of.space for cells_of in found if cells_of.agreement is not None and cells_of.agreement.n > 1}
    rows += [
        (f"random cells of {space}", number(None), *_measures(random_agreement(space), math.nan))
        for space in SPACES
        if space in compared
    ]
    return ReportTable(
        id="agreement",
        caption="Agreement between the cells of a setting's seeds",
        headings=(
            "setting",
            "searches",
            "distinct cells",
            "similarity, normal",
            "similarity, reduction",
            "up to isomorphism, normal",
            "up to isomorphism, reduction",
            "kappa, normal",
            "kappa, reduction",
            "tau of alpha",
        ),
        rows=tuple(rows),
        note=(
            "Similarity: share of equal (node, input, operation) triples, mean over all pairs of seeds, 0 to 1. Up to "
            "isomorphism: with nodes matched as well as possible. Kappa: Fleiss' kappa over the edges; 1 is full "
            "agreement. The search space alone makes cells similar, so compare with the random cells of the space: "
            f"{RANDOM_CELLS} independent ones, not results of the study. Tau: Kendall's tau of the order of operations "
            f"in alpha, mean over edges and pairs of seeds. At most {MAX_CELLS} searches of a setting are compared."
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
        svg = cells.draw(placed, f"Consensus of the seeds of {cells_of.setting}, {name.lower()}", shares)
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


def _measures(agreement: CellAgreement, tau: float) -> tuple[str, ...]:
    measures = (
        agreement.similarity_normal,
        agreement.similarity_reduce,
        agreement.isomorphic_similarity_normal,
        agreement.isomorphic_similarity_reduce,
        agreement.kappa_normal,
        agreement.kappa_reduce,
        tau,
    )
    return (str(agreement.distinct), *(number(value, 3) for value in measures))


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


def _card(name: str, row: Mapping[Any, Any], origins: Sequence[str]) -> Card:
    more = f" and {len(origins) - 10:,} others" if len(origins) > 10 else ""
    facts = [
        ("found by", ", ".join(origins[:10]) + more),
        ("one-shot validation accuracy", f"{number(row['valid_accuracy'])} %"),
        ("parameters", number(row["network_parameters"], 0)),
        ("multiply-adds", number(row["network_macs"], 0)),
    ]
    facts += [("reason for this rank", row["reason"])] if "reason" in row else []
    figures, problem = [], ""
    try:
        genotype = Genotype.parse(row["genotype"])
    except ValueError as error:
        problem = str(error)
    else:
        for cell, kind in TYPES:
            placed = layout(getattr(genotype, cell), getattr(genotype, f"{cell}_concat"))
            figures.append(Figure(caption=kind, svg=Markup(cells.draw(placed, f"{kind} of {row['genotype_digest']}"))))
    return Card(
        title=f"{name}: {row['genotype_digest']}",
        facts=tuple(facts),
        figures=tuple(figures),
        problem=problem,
        code=row["genotype"],
    )
