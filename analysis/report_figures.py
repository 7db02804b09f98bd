"""Figures of the report: charts over seeds and epochs, and the best cells drawn with what is known about them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis import cells
from analysis.figures import COLOURS, Line, Strip, line_chart, strip_plot
from analysis.page import Card, Figure
from analysis.report_text import number, records
from analysis.statistics import SettingSummary, natural_key, rank_searches
from pcdarts.genotype import Genotype

MAX_CARDS = 12
"""Cells that are drawn; the tables name all."""


def series_numbers(searches: pd.DataFrame) -> dict[str, int]:
    """The colour of every setting, in the natural order of their names."""
    return {name: index for index, name in enumerate(sorted(searches["setting"].unique(), key=natural_key))}


def legend(searches: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Names and CSS colours of the settings."""
    return tuple((name, f"var(--series-{n % len(COLOURS)})") for name, n in series_numbers(searches).items())


def accuracy_figure(searches: pd.DataFrame, summaries: Sequence[SettingSummary]) -> Markup:
    """Validation accuracy of every seed, by setting."""
    series, strips = series_numbers(searches), []
    completed = rank_searches(searches)
    for summary in summaries:
        rows = records(completed[completed["setting"] == summary.setting])
        points = tuple((f"{summary.setting}, seed {row['seed']}", row["valid_accuracy"]) for row in rows)
        strips.append(
            Strip(name=summary.setting, points=points, summary=summary.valid_accuracy, series=series[summary.setting])
        )
    return Markup(strip_plot(strips, "Validation accuracy of every seed by setting", "one-shot validation accuracy, %"))


def epoch_figures(searches: pd.DataFrame, epochs: pd.DataFrame) -> tuple[Markup, Markup]:
    """Validation accuracy and alpha entropy of every search over its epochs."""
    series, settings = series_numbers(searches), dict(zip(searches["search_id"], searches["setting"], strict=True))
    accuracy: list[Line] = []
    entropy: list[Line] = []
    frozen: set[int] = set()  # epochs before alpha is trained, of every search that got that far
    for name, rows in epochs.sort_values("epoch").groupby("search_id"):
        colour = series.get(settings.get(name, ""), 7)
        trained = rows["alpha_trained"].astype(bool)
        frozen |= {int((~trained).sum())} if trained.any() else set()
        for chart, column, dashed in (
            (accuracy, "valid_accuracy", False),
            (entropy, "alpha_entropy_normal", False),
            (entropy, "alpha_entropy_reduce", True),
        ):
            points = tuple(zip(rows["epoch"].astype(float), rows[column].astype(float), strict=True))
            chart.append(Line(label=f"{name}, {column}", points=points, series=colour, dashed=dashed))
    shaded = frozen.pop() if len(frozen) == 1 else 0
    return (
        Markup(line_chart(accuracy, "Validation accuracy over epochs", "one-shot validation accuracy, %", shaded)),
        Markup(line_chart(entropy, "Alpha entropy over epochs", "mean entropy of softmax(alpha), nats", shaded)),
    )


def cell_cards(searches: pd.DataFrame, queue: pd.DataFrame) -> list[Card]:
    """The queued cells by rank; where nothing is queued, the distinct cells of the completed searches, best first."""
    if len(queue):
        jobs = records(queue.sort_values(["rank", "job_id"]).head(MAX_CARDS))
        return [_card(f"Rank {job['rank']}", job, list(job["origins"])) for job in jobs]
    completed = rank_searches(searches).dropna(subset=["genotype", "genotype_digest"])
    best = completed.drop_duplicates("genotype_digest").head(MAX_CARDS)
    found_by = completed.groupby("genotype_digest")["search_id"].apply(list).to_dict()
    return [
        _card(f"Cell {place}", row, found_by[row["genotype_digest"]])
        for place, row in enumerate(records(best), start=1)
    ]


def _card(name: str, row: Mapping[Any, Any], origins: Sequence[str]) -> Card:
    facts = [
        ("found by", ", ".join(origins)),
        ("one-shot validation accuracy", f"{number(row['valid_accuracy'])} %"),
        ("parameters", number(row["network_parameters"], 0)),
        ("multiply-adds, convolutions + linear layers", number(row["network_macs"], 0)),
    ]
    facts += [("why this rank", row["reason"])] if "reason" in row else []
    figures, problem = [], ""
    try:
        genotype = Genotype.parse(row["genotype"])
    except ValueError as error:
        problem = str(error)
    else:
        for kind, cell, concat in (
            ("Normal cell", genotype.normal, genotype.normal_concat),
            ("Reduction cell", genotype.reduce, genotype.reduce_concat),
        ):
            drawing = cells.draw(cells.layout(cell, concat), f"{kind} of {row['genotype_digest']}")
            figures.append(Figure(caption=kind, svg=Markup(drawing)))
    return Card(
        title=f"{name}: {row['genotype_digest']}",
        facts=tuple(facts),
        figures=tuple(figures),
        problem=problem,
        code=row["genotype"],
    )
