"""Drawings of cells: the recommended one first."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from analysis.conclusions.sentences import other_origin
from analysis.drawing import cell_svg
from analysis.drawing.cell_layout import KINDS, layout
from analysis.sections.blocks import Block, Card, Figure, Legend, Section, Text
from analysis.sections.wording import MISSING, number, plain, row_dicts
from analysis.statistics.agreement import CellType
from analysis.statistics.summaries import rank_searches
from analysis.study_data import StudyData
from pcdarts.genotype import Genotype

LEGEND = Legend(entries=tuple((name, f"var(--cell-{kind})") for kind, name in KINDS.items()))
"""Names and CSS colors of the kinds of operations."""
MAX_CARDS = 12
"""Cells that are drawn; the tables list all."""
TYPES: tuple[tuple[CellType, str], ...] = (("normal", "Normal cell"), ("reduce", "Reduction cell"))


def section(data: StudyData) -> Section:
    """The cells of the final training or, before there is one, some cells of every setting."""
    cards = cell_cards(data)
    blocks: list[Block] = [LEGEND, *cards] if cards else [Text(text="No cell has been found yet.")]
    if len(cards) == MAX_CARDS:
        text = f"At most {len(cards)} cells are drawn; the tables of retrained networks and of all searches list all."
        blocks.append(Text(text=text, style="note"))
    return Section(id="cells", title="Cells", blocks=tuple(blocks))


def cell_cards(data: StudyData) -> list[Card]:
    """The recommended cell, then the other cells by their stage and rank in the queue.

    Without a queue, the cells of every setting in turn, in the order of its one-shot accuracies.
    """
    found = rank_searches(data.searches).dropna(subset=["genotype", "genotype_digest"])
    jobs = data.queue[data.queue["state"] != "dropped"]
    if len(jobs):
        final = jobs["stage"] != "rung"
        jobs = jobs.assign(late=final, rung=jobs["rung"].fillna(0)).sort_values(
            ["late", "rung", "rank", "job_id"], ascending=[False, False, True, True]
        )
        rows = row_dicts(jobs.drop_duplicates("genotype_digest"))
        origins = {row["genotype_digest"]: list(row["origins"]) for row in rows}
    else:
        turns = found.assign(turn=found.groupby("setting").cumcount(), place=found["setting"].map(data.order))
        rows = row_dicts(turns.sort_values(["turn", "place", "search_id"]).drop_duplicates("genotype_digest"))
        origins = found.groupby("genotype_digest")["search_id"].apply(list).to_dict()
    recommended = data.conclusions.recommendation.digest if data.conclusions.recommendation else ""
    rows.sort(key=lambda row: row["genotype_digest"] != recommended)
    return [
        _card(
            "Recommended cell" if row["genotype_digest"] == recommended else "Cell",
            row,
            origins[row["genotype_digest"]],
        )
        for row in rows[:MAX_CARDS]
    ]


def _card(name: str, row: Mapping[Any, Any], origins: Sequence[str]) -> Card:
    more = f" and {len(origins) - 10:,} others" if len(origins) > 10 else ""
    one_shot = number(row["valid_accuracy"])
    facts = [
        ("found by", ", ".join(origins[:10]) + more) if origins else ("origin", other_origin(row["genotype_digest"])),
        ("one-shot validation accuracy", one_shot if one_shot == MISSING else f"{one_shot} %"),
        ("parameters", number(row["network_parameters"], 0)),
        ("multiply-adds", number(row["network_macs"], 0)),
    ]
    facts += [("selected because", row["reason"])] if plain(row.get("reason")) else []
    figures, problem = [], ""
    try:
        genotype = Genotype.parse(row["genotype"])
    except ValueError as error:
        problem = str(error)
    else:
        for cell, kind in TYPES:
            placed = layout(getattr(genotype, cell), getattr(genotype, f"{cell}_concat"))
            svg = cell_svg.draw(placed, f"{kind} of {row['genotype_digest']}")
            figures.append(Figure(caption=kind, svg=Markup(svg)))
    return Card(
        title=f"{name} {row['genotype_digest']}",
        facts=tuple(facts),
        figures=tuple(figures),
        problem=problem,
        code=row["genotype"],
    )
